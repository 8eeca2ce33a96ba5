"""``qrecipe evaluate``: the AP of a run, of a saved student, or of the real-valued model, on any split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation import Evaluation
from ..experiment.detector import score
from ..experiment.events import Listener, nobody
from ..experiment.target import find_target, open_target
from ..experiment.workspace import Workspace
from ..recipe.definition import Recipe
from ..run.layout import Which
from ..train.denormals import flushed_denormals


@dataclass(frozen=True)
class Evaluated:
    """title: what was evaluated, for the user. detections: COCO results, one mapping each."""

    title: str
    split: str
    evaluation: Evaluation
    detections: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "split": self.split,
            "evaluation": self.evaluation.to_dict(),
            "detections": list(self.detections),
        }


def evaluate(
    target: Recipe | Path | str,
    split: str = "val",
    *,
    model: Which | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Evaluated:
    """The twelve COCO numbers, AP per class, and the detections of a model on a split.

    Args:
        target: a run folder, a student's folder, an exported ``.onnx`` file, or a recipe.
        model: of a run ``trained`` (default), ``control`` or ``calibrated``; of any target ``real``, or ``off``, a
            student with its quantizers off.
        overrides: such as ``data.val.images=FOLDER``; of what was trained only ``data`` can be set.
        random_weights: leave a recipe's weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        QRecipeError: the target, the data or the model has something wrong with it.
    """
    found = find_target(target, model, overrides, random_weights)
    workspace = Workspace(found.recipe, (split,), listener, cache=cache)
    _ = workspace.data  # what is wrong with it is said before a model is built
    with flushed_denormals():
        evaluation, results = score(open_target(found, workspace), workspace, split)
    return Evaluated(found.title, split, evaluation, tuple(results))
