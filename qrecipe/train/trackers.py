"""Experiment trackers, as accelerate has them: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker


class Tracker(Protocol):
    """accelerate's ``GeneralTracker``. In the first process alone does it do anything."""

    def store_init_configuration(self, values: dict[str, Any]) -> None: ...

    def log(self, values: dict[str, Any], step: int | None = None) -> None: ...

    def finish(self) -> None: ...


def open_tracker(name: str, folder: Path, step: int, kept: MutableMapping[str, str]) -> Tracker:
    """A tracker that is ready to be told of ``step``.

    Args:
        name: a row of ``OPENERS``. folder: the run's. step: what is known of it and of later ones is told again.
        kept: what finds the run again when it is resumed, by tracker; written into.
    """
    return OPENERS[name](folder, step, kept)


def _tensorboard(folder: Path, step: int, kept: MutableMapping[str, str]) -> Tracker:
    tracker = TensorBoardTracker("tensorboard", folder, purge_step=step)
    tracker.start()
    kept.setdefault("tensorboard", "tensorboard")
    return tracker  # type: ignore[no-any-return]


def _wandb(folder: Path, step: int, kept: MutableMapping[str, str]) -> Tracker:
    key = kept.setdefault("wandb", uuid.uuid4().hex)
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    tracker = WandBTracker(project, name=folder.name, id=key, resume="allow", dir=str(folder))
    tracker.start()
    return tracker  # type: ignore[no-any-return]


def _mlflow(folder: Path, step: int, kept: MutableMapping[str, str]) -> Tracker:
    tracker = MLflowTracker(_PROJECT, run_id=kept.get("mlflow"), run_name=folder.name)
    tracker.start()
    kept["mlflow"] = tracker.tracker.info.run_id
    return tracker  # type: ignore[no-any-return]


_PROJECT = "qrecipe"
OPENERS: dict[str, Callable[[Path, int, MutableMapping[str, str]], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""A row per name of ``recipe.tracker_table``."""
