"""``qrecipe inspect``: what the model of a recipe, a run or a student is made of, real-valued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..experiment.events import Listener
from ..experiment.target import find_target
from ..experiment.workspace import Workspace
from ..plan import Anatomy, anatomy
from ..student import make_plan, plan_size, real_valued


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
    path: Path,
    listener: Listener,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    image_size: tuple[int, int] | None = None,
) -> Inspection:
    """Build, capture and describe a model. What its recipe quantizes or distils is not read, only its roles.

    Args:
        path: a recipe, a run folder or a student's folder. overrides, random_weights: as ``find_target`` takes them.
        image_size: (height, width) at which costs are counted.

    Raises:
        QRecipeError: there is no such target, or its model cannot be built or captured.
    """
    recipe = real_valued(find_target(path, "real", overrides, random_weights, data=False).recipe)
    workspace = Workspace(recipe, ("train",), listener, placeholder=True)
    source, built = workspace.source, workspace.built
    captured = source.captured.copy()
    plan = make_plan(source, recipe, captured, image_size or plan_size(source.input))
    return Inspection(
        name=recipe.name,
        model=type(built.model).__name__,
        family=source.family.name,
        input=asdict(source.input),
        classes=source.family.classes,
        scores=source.family.scores,
        anatomy=anatomy(captured, plan),
        notes=(*built.messages, *source.family.notes),
    )
