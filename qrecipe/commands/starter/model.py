"""The model of a new recipe: from what was typed to the recipe's section."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...models.families import architectures
from ...models.loading.factories import factory_parameters
from ...models.loading.stored import stored_architecture
from ...models.loading.weight_files import PICKLES
from ...models.model_place import ModelPlace
from ...recipe.definition import WeightsSource
from ...recipe.files import at_home
from ...suggestions import hint

LABELS_ARGUMENTS = ("num_labels", "num_classes", "n_labels", "n_classes", "nb_classes", "number_of_classes", "classes")
"""Under what names a factory may be given the number of labels."""

DULL = ("build", "model", "models", "main", "factory", "detector", "__init__")
"""File names that say nothing: the folder's is taken instead."""

_FACTORY = re.compile(r"(.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_HUB = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
FORMS = (
    f"demo; an architecture ({', '.join(architectures())}); org/name or org/name@revision of the hub; a folder with "
    "config.json and model.safetensors; path/to/file.py:function; package.module:function"
)


@dataclass(frozen=True)
class StarterModel:
    """A model as a recipe names it.

    typed: what the user wrote. name: for files. section: the keys under ``model``, paths as they were typed.
    labels: the number of labels that a factory makes by itself; None where it does not say, or is none.
    random: nothing fills it.
    """

    typed: str
    name: str
    section: Mapping[str, Any]
    labels: int | None = None
    random: bool = False


def starter_model(typed: str, option: str = "--model") -> StarterModel:
    """Tell the forms of a model apart.

    Args:
        option: what it was typed behind, for messages.

    Raises:
        ModelError: it is none of them, or what it names is not there.
    """
    where = f"{option} {typed}"
    place = ModelPlace(lambda path, what, remedy=None: ModelError(what, where=where, remedy=remedy))
    if typed == "demo":
        return StarterModel(typed, "demo", {"architecture": "demo", "weights": {"builtin": "demo"}})
    if typed in architectures():
        return StarterModel(typed, typed, {"architecture": typed}, random=True)
    if found := _FACTORY.fullmatch(typed):
        return _factory(typed, found[1], found[2], place)
    path = Path(at_home(typed))
    if path.is_dir():
        return _stored(typed, path.absolute().name, {"folder": path}, place)
    if path.suffix == ".py":
        what = "the function is missing" if path.is_file() else "no such file, and the function is missing"
        raise ModelError(what, where=where, remedy=f"write {path}:FUNCTION; it returns the detector, a torch.nn.Module")
    if path.suffix in (".safetensors", *PICKLES):
        what, remedy = "weights alone do not say what to build", f"name what builds the model: {FORMS}"
        raise ModelError(what, where=where, remedy=remedy)
    if (named := _HUB.fullmatch(typed)) and not typed.startswith("."):
        return _hub(typed, named[1], named[2], place)
    remedy = hint(typed, ["demo", *architectures()]) + FORMS
    raise ModelError("there is no such folder, and it is no other kind of model", where=where, remedy=remedy)


def placed(value: Any, base: Path | None, dollar: str = "$") -> Any:
    """A section with its paths as a recipe in the folder ``base`` names them: from there if they were typed relative,
    else as they were typed. Without a base every path is absolute.
    """
    if isinstance(value, Mapping):
        return {key: placed(own, base, dollar) for key, own in value.items()}
    if not isinstance(value, Path):
        return value
    whole = value.is_absolute() or base is None
    return (str(value.absolute()) if whole else os.path.relpath(value.absolute(), base)).replace("$", dollar)


def plain_name(text: str) -> str:
    """A name as a file may have it everywhere: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-") or "model"


def _hub(typed: str, name: str, revision: str | None, place: ModelPlace) -> StarterModel:
    try:
        weights = {"hub": name, **({"revision": revision} if revision else {})}
        return _stored(typed, name.rpartition("/")[2], weights, place)
    except ModelError as problem:
        if "cannot be downloaded" not in problem.what:
            raise
        remedy = (
            f"there is no folder {name} here either. Where there is a network: "
            f"`hf download {name}{f' --revision {revision}' if revision else ''} --local-dir FOLDER`, then name FOLDER"
        )
        raise ModelError(problem.what, where=problem.where, remedy=remedy) from problem


def _stored(typed: str, name: str, weights: Mapping[str, Any], place: ModelPlace) -> StarterModel:
    named: dict[str, Any] = {key: own.absolute() if isinstance(own, Path) else own for key, own in weights.items()}
    architecture, config = stored_architecture(WeightsSource(**named), place)
    return StarterModel(typed, plain_name(name), {"architecture": architecture, "config": config, "weights": weights})


def _factory(typed: str, source: str, function: str, place: ModelPlace) -> StarterModel:
    is_file = source.endswith(".py")
    parts = Path(at_home(source)).absolute().with_suffix("").parts[-2:] if is_file else source.split(".")[-2:]
    name = next((part for part in reversed(parts) if part not in DULL), parts[-1])
    named = Path(at_home(f"{source}:{function}")) if is_file else typed
    parameters = factory_parameters(str(named.absolute() if isinstance(named, Path) else named), place)
    argument = next((key for key in LABELS_ARGUMENTS if key in parameters and _counts(parameters[key])), None)
    others = [
        key
        for key, own in parameters.items()
        if key != argument and own.default is own.empty and own.kind not in (own.VAR_POSITIONAL, own.VAR_KEYWORD)
    ]
    if others:
        what = f"the factory needs {', '.join(others)}, which a new recipe cannot know"
        raise ModelError(what, where=f"--model {typed}", remedy="give them defaults, or write a factory that does")
    if argument is None:
        return StarterModel(typed, plain_name(name), {"factory": named})
    default = parameters[argument].default
    labels = default if isinstance(default, int) else None
    return StarterModel(typed, plain_name(name), {"factory": named, "labels_argument": argument}, labels)


def _counts(parameter: inspect.Parameter) -> bool:
    """Whether a parameter may be a number of labels: by its default, or else its annotation, or else its name."""
    if isinstance(parameter.default, bool) or parameter.kind is parameter.POSITIONAL_ONLY:
        return False
    if parameter.default is not parameter.empty and parameter.default is not None:
        return isinstance(parameter.default, int)
    return parameter.annotation in (parameter.empty, int, "int", "int | None", "Optional[int]")
