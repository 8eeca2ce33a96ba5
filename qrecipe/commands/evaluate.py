"""``qrecipe evaluate``: the AP of a run, of a saved student, or of the real-valued model, on any split."""

from __future__ import annotations

from typing import Any

from ..evaluate import Evaluation
from ..experiment.detector import score
from ..experiment.events import Listener
from ..experiment.target import Target, open_target
from ..experiment.workspace import Workspace
from ..train.denormals import flushed_denormals


def evaluate(target: Target, split: str, listener: Listener) -> tuple[Evaluation, list[dict[str, Any]]]:
    """The twelve COCO numbers, per-class AP, and the detections.

    Raises:
        QRecipeError: the data, the model or the student has something wrong with it.
    """
    workspace = Workspace(target.recipe, (split,), listener)
    _ = workspace.data  # what is wrong with it is said before a model is built
    with flushed_denormals():
        return score(open_target(target, workspace), workspace, split)
