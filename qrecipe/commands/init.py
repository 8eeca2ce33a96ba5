"""``qrecipe init``: look at a model and at data, and write a commented recipe that fits both."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ModelError, RecipeErrors, RunError, TrainError
from ..experiment.binding import bound
from ..experiment.events import Listener, Noted, nobody
from ..experiment.workspace import Workspace
from ..models.loading.build import Built
from ..planning import Plan
from ..recipe import load_recipe, recipe_from_mapping
from ..recipe.definition import SPLITS
from ..run.checkpoint import WEIGHTS
from ..run.files import require_free, write_synced
from ..run.layout import MODELS, RUNS
from .starter.data import StarterData, starter_data
from .starter.model import StarterModel, placed, starter_model
from .starter.text import captured_values, data_values, distilled_values, filled, input_text, model_text, said, scalar

OTHER = "choose another --output"


@dataclass(frozen=True)
class Started:
    """What was written. tuning: the recipe of the fine-tuning that comes first, where the model does not know the
    data's categories yet; fresh: why it does not. next: commands and what they do, in the order in which to type them.
    """

    recipe: Path
    tuning: Path | None
    fresh: str
    plan: Plan
    next: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the plan: ``plan.to_dict()`` has that."""
        return {
            "recipe": str(self.recipe),
            "tuning": None if self.tuning is None else str(self.tuning),
            "fresh": self.fresh,
            "next": [list(step) for step in self.next],
        }


def init(
    model: str,
    data: str | None = None,
    output: Path | str | None = None,
    *,
    splits: Mapping[str, str] = MappingProxyType({}),
    teacher: str | None = None,
    bits: tuple[int, int, int] = (4, 4, 8),
    size: tuple[int, int] | None = None,
    cache: bool = True,
    listener: Listener = nobody,
) -> Started:
    """Write a recipe, and where the model does not know the data's categories yet, one that teaches it first.

    Nothing is written unless the recipes are valid and bind, no file is ever overwritten, and none is half there.

    Args:
        model, data, teacher: what the options of ``qrecipe init`` take. splits: ``IMAGES:ANNOTATIONS`` by name, over
            those of the data, or all of them. bits: of weights, activations, attention.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.
        output: the recipe; by default it is named after model and data, here. size: (height, width) of the input.

    Raises:
        RunError: a file is there already, or its folder is not.
        QRecipeError: whatever the model or the data has wrong with it.
    """
    chosen, found = starter_model(model), starter_data(data, splits)
    other = None if teacher is None else starter_model(teacher, "--teacher")
    file = Path(f"{chosen.name}_{found.name}.yaml") if output is None else Path(output)
    tuning = file.with_name(f"{file.stem}_teacher{file.suffix}")
    require_free(file, OTHER)
    _require_name(file)
    workspace = _workspace(chosen, found, size, listener, cache)
    built = _built(workspace, chosen)
    fresh = _fresh(chosen, found, built)
    if fresh:
        require_free(tuning, OTHER)
    tuned = f"--set {shlex.quote(_weights(chosen, RUNS / tuning.stem / MODELS['trained'] / WEIGHTS))}"
    values = {
        "file": said(file.name),
        "tuning": said(tuning.name),
        "extends": scalar(file.name),
        "fresh": said(fresh),
        "tuned": said(tuned),
        "origin": _origin(built, size, listener),
        **dict(zip(("weight", "activation", "attention"), bits, strict=True)),
        "bits": "-".join(map(str, bits)),
        "eight": min(bits) >= 8,
        **_found(workspace, chosen, other, found, file.absolute().parent),
    }
    names = {file: "student.txt"} | ({tuning: "tuning.txt"} if fresh else {})
    texts, plan = _bound_texts(names, values, "" if other is None else "another teacher may have others", workspace)
    _write(texts)
    split = "val" if values["untested"] else "test"
    commands = _next(file, tuning if fresh else None, fresh, tuned, split)
    return Started(file, tuning if fresh else None, fresh, plan, tuple(commands))


def _require_name(file: Path) -> None:
    """Raises: RunError: a recipe in a file of this name has no name."""
    try:
        recipe_from_mapping({"version": 1, "model": {"architecture": "demo"}, "name": file.stem})
    except RecipeErrors as error:
        what = f"a recipe is named after its file, and {scalar(file.stem)} is no name"
        raise RunError(what, where=str(file), remedy="no leading dot and no backslash") from error


def _found(
    workspace: Workspace, model: StarterModel, teacher: StarterModel | None, data: StarterData, base: Path
) -> dict[str, Any]:
    """What the template says of the model, the teacher and the data, for a recipe in the folder ``base``."""
    built = workspace.built
    return {
        "title": said(f"{model.typed} on {data.name}"),
        "model": model_text(placed(model.section, base)),
        "teacher": model_text(placed(teacher.section, base)) if teacher else "",
        "source": "the teacher above" if teacher else "the model itself, real-valued",
        "input": input_text(built.input, built.family.default_input),
        **captured_values(workspace),
        **data_values(data.section(base), [name for _, name in sorted(workspace.categories)]),
    }


def _workspace(
    model: StarterModel, data: StarterData, size: tuple[int, int] | None, listener: Listener, cache: bool
) -> Workspace:
    """The model and the data with a recipe that quantizes nothing."""
    section = placed(model.section, None) | ({"input": {"size": list(size)}} if size else {})
    draft = recipe_from_mapping({"version": 1, "model": section, "data": data.section(None)}, "draft")
    return Workspace(draft, tuple(data.splits or SPLITS), listener, cache=cache)


def _built(workspace: Workspace, model: StarterModel) -> Built:
    _ = workspace.data  # what is wrong with it is said first, and not under the model's name
    text = f"building {model.typed}, then capturing it: seconds for a small one, minutes for a large one"
    workspace.listener(Noted("model", text, progress=True))
    if model.random:
        workspace.listener(Noted("model", "its weights are random; a folder or a hub id brings trained ones"))
    try:
        return workspace.built
    except ModelError as problem:
        remedy = problem.remedy
        if "cannot be mapped" in problem.what and "labels_argument" not in model.section:
            remedy = "give the factory a parameter num_labels, the number of classes of its head: it is told the data's"
        raise ModelError(problem.what, where=f"--model {model.typed}", remedy=remedy) from problem


def _origin(built: Built, size: tuple[int, int] | None, listener: Listener) -> str:
    """Where the input's size and values are from, as the recipe tells it; a size that is a guess is told at once."""
    values = "values stay in 0..1" if built.input.mean is None else "values are normalised with mean and std"
    if size is not None:
        return f"the size that you named; {values}"
    if built.processor is not None:
        return f"as {built.processor.name} beside the weights says; {values}"
    if built.input.size is not None:
        height, width = built.input.size
        listener(Noted("input", f"images are resized to {height}x{width}, the default of this kind of model"))
        listener(Noted("input", "if yours was trained at another size, start again with --input-size HxW"))
    return f"the default of this kind of model; if yours was trained at another size, write that one; {values}"


def _fresh(model: StarterModel, data: StarterData, built: Built) -> str:
    """Why the model cannot know the data's categories; "" where it may."""
    needed = built.label_map.classes
    if model.random:
        return "its weights are random"
    if "builtin" in model.section.get("weights", {}) and data.splits is not None:
        return "it was trained on synthetic shapes"
    if model.labels is not None and model.labels != needed:
        return f"its factory makes {model.labels} classes unless told otherwise, so a head of {needed} starts afresh"
    return "its class head starts afresh" if built.fresh else ""


def _weights(model: StarterModel, file: Path) -> str:
    """The override that puts a file of weights in the place of those that the model's section names."""
    path = str(file) if re.fullmatch(r"[\w./-]+", str(file)) else scalar(str(file))
    return f"model.weights={{file: {path}}}" if model.section.get("weights") else f"model.weights.file={path}"


def _bound_texts(
    templates: Mapping[Path, str], values: Mapping[str, Any], others: str, workspace: Workspace
) -> tuple[dict[Path, str], Plan]:
    """The recipes' texts, once they bind, and the plan of the first. others: why a teacher's queries are not the
    student's; a model in which they turn out not to be is distilled otherwise."""
    draft = workspace.recipe
    values = {**values, **distilled_values(workspace.original, draft, others)}
    texts = {file: filled(template, values) for file, template in templates.items()}
    try:
        plan, *_ = [_bound(file, texts, workspace) for file in texts]
    except TrainError as problem:
        if others or problem.where != "distill.targets":
            raise
        workspace.recipe = draft
        others = "this model has not the same ones in training and in evaluation"
        return _bound_texts(templates, values, others, workspace)
    return texts, plan


def _bound(file: Path, texts: Mapping[Path, str], workspace: Workspace) -> Plan:
    """Load and bind what is to be written, with the capture that is there.

    Raises:
        AssertionError: it is no recipe, or says something else than was meant: a fault of ours.
        QRecipeError: the model or its teacher does not fit it.
    """
    draft = workspace.recipe
    try:
        recipe = load_recipe(file, unwritten=texts)
    except RecipeErrors as errors:
        raise AssertionError(f"the recipe that init wrote is not valid:\n{errors}") from errors
    for key in ("factory", "weights", "config"):
        assert getattr(recipe.model, key) == getattr(draft.model, key), key
    assert recipe.data.train == draft.data.train
    assert workspace.built.family.input(recipe.model.input) == workspace.built.input
    workspace.recipe = recipe
    return bound(workspace)


def _write(texts: Mapping[Path, str]) -> None:
    """All of the files or none: each is whole before it has its name, and takes none that is taken."""
    with ExitStack() as undo:
        for file, text in texts.items():
            whole = file.with_name(f".{file.name}.{os.getpid()}.tmp")
            try:
                write_synced(whole, text.encode())
                _name(whole, file)
            except OSError as error:
                raise RunError(f"cannot be written: {error.strerror or error}", where=str(file)) from error
            finally:
                whole.unlink(missing_ok=True)
            undo.callback(file.unlink, missing_ok=True)
        undo.pop_all()


def _name(whole: Path, file: Path) -> None:
    try:
        file.hardlink_to(whole)
    except OSError:  # the name is taken, or the file system has no links
        require_free(file, OTHER)
        whole.rename(file)


def _next(file: Path, tuning: Path | None, fresh: str, tuned: str, split: str) -> Iterator[tuple[str, str]]:
    recipe, run = shlex.quote(str(file)), str(RUNS / file.stem)
    yield f"qrecipe plan {recipe}", "what is quantized, why, and what it saves"
    if tuning is None:
        yield f"qrecipe apply {recipe} --set train.epochs=1 --output {shlex.quote(run + '_try')}", "a first short run"
        yield f"qrecipe apply {recipe}", "calibrate, train, evaluate"
    else:
        yield f"qrecipe apply {shlex.quote(str(tuning))}", f"step 1, real-valued: {fresh}"
        yield f"qrecipe apply {recipe} {tuned}", "step 2: quantize what step 1 made"
    yield f"qrecipe evaluate {shlex.quote(run)} --split {split}", "COCO AP, category by category"
    yield f"qrecipe predict {shlex.quote(run)} IMAGE", "boxes drawn into a picture of yours"
