"""``qrecipe inspect``: what the model of a recipe, a run or a student is made of, real-valued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..experiment.events import Listener, nobody
from ..experiment.target import find_target
from ..experiment.workspace import Workspace
from ..planning import Anatomy, anatomy
from ..recipe.definition import Recipe
from ..student import make_plan, real_valued


@dataclass(frozen=True)
class Inspection:
    """A model, and how it is fed and read.

    model: its class. family: a row of the table of families. input: the prepared image, as the family reads it.
    classes: of its class head. scores: softmax or sigmoid. notes: what the family leaves out, and how it was built.
    """

    name: str
    model: str
    family: str
    input: dict[str, Any]
    classes: int
    scores: str
    anatomy: Anatomy
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the anatomy's keys beside the others."""
        data = asdict(self)
        return {**{key: value for key, value in data.items() if key != "anatomy"}, **self.anatomy.to_dict()}


def inspect(
    target: Recipe | Path | str,
    *,
    image_size: tuple[int, int] | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Inspection:
    """Build, capture and describe a model. What its recipe quantizes or distils is not read, only its roles.

    Args:
        target: a recipe, a run folder or a student's folder.
        image_size: (height, width) at which costs are counted.
        overrides, random_weights: as ``qrecipe.evaluate`` takes them.

    Raises:
        QRecipeError: there is no such target, or its model cannot be built or captured.
    """
    recipe = real_valued(find_target(target, "real", overrides, random_weights, data=False).recipe)
    workspace = Workspace(recipe, ("train",), listener, placeholder=True, cache=cache)
    original, built = workspace.original, workspace.built
    structure = original.structure(recipe.model.roles)
    plan = make_plan(original, recipe, image_size)
    return Inspection(
        name=recipe.name,
        model=type(built.model).__name__,
        family=original.family.name,
        input=asdict(original.input),
        classes=original.family.classes,
        scores=original.family.scores,
        anatomy=anatomy(original.captured.root, structure, plan),
        notes=(*built.messages, *original.family.notes),
    )
