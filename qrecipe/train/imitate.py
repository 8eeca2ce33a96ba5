"""Trains a student without labels: the whole network at once, against the real-valued model."""

from __future__ import annotations

from ..recipe.definition import OptimizerSpec, ScheduleSpec, StageSpec, TrainSpec, WholeSpec
from ..reconstruct import Imitation
from .events import TrainingListener, nobody
from .protocols import Loader
from .records import FitResult, Records
from .trainer import Trainer

CLIP = 1.0
"""Of the gradient's norm."""
WARM_UP = 20
"""Steps until the learning rate is whole."""


def imitate(
    module: Imitation,
    loader: Loader,
    spec: WholeSpec,
    records: Records,
    *,
    seed: int = 0,
    resume: bool = False,
    listener: TrainingListener = nobody,
) -> FitResult:
    """Take about ``spec.steps`` optimizer steps in whole epochs, at least one; afterwards the student has the last
    one's weights.

    Args:
        loader: of unlabelled images, in another order in each epoch. The rest is as of :class:`Trainer`.

    Raises: as :meth:`Trainer.fit`.
    """
    epochs = max(1, round(spec.steps / len(loader))) if len(loader) else 1
    train = TrainSpec(
        stages=(StageSpec("reconstruction", epochs),),
        batch_size=spec.batch_size,
        optimizer=OptimizerSpec(lr=spec.lr, weight_decay=0.0, lr_quantizer=spec.lr_quantizer),
        schedule=ScheduleSpec("cosine", warmup=WARM_UP, final=0.01),
        clip_norm=CLIP,
        keep=1,
    )
    return Trainer(module, loader, train, records, seed=seed, listener=listener).fit(resume)
