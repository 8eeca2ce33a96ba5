"""How a new recipe trains: values that worked in this package's own runs, by the size of the model."""

from __future__ import annotations

from dataclasses import dataclass

SMALL = 5_000_000
"""Parameters. Below it, the values of a 0.5 M-parameter DEIMv2; above it, those usual for DETRs."""


@dataclass(frozen=True)
class Training:
    """Learning rates and epochs. backbone: the backbone's own learning rate; None is the same. origin: where from."""

    batch: int
    lr: float
    backbone: float | None
    clip: float
    epochs: int
    teacher_lr: float
    teacher_epochs: int
    origin: str


DEMO = Training(16, 5e-4, None, 1.0, 4, 1.5e-3, 12, "as in the quickstart recipe")
LITTLE = Training(16, 3e-4, None, 0.1, 12, 6e-4, 24, "these worked for a DEIMv2 of 0.5 M parameters on 205 images")
LARGE = Training(8, 1e-4, 1e-5, 0.1, 12, 1e-4, 24, "usual for fine-tuning DETRs; not tried on yours")


def training_for(is_demo: bool, parameters: int) -> Training:
    """The row of a model."""
    if is_demo:
        return DEMO
    return LITTLE if parameters < SMALL else LARGE
