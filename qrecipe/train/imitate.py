"""Trains a student without labels: the whole network at once, against the real-valued model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from ..recipe.definition import OptimizerSpec, ReconstructSpec, ScheduleSpec, StageSpec, TrainSpec
from ..reconstruct import Imitation
from ..student import Student
from .events import TrainingListener, nobody
from .protocols import Loader
from .records import FitResult, Records
from .smaller_step import smaller_whole
from .trainer import Trainer

CLIP = 1.0
"""Of the gradient's norm."""
WARM_UP = 20
"""Steps until the learning rate is whole."""


def imitate(
    module: Imitation,
    loader: Loader,
    spec: ReconstructSpec,
    records: Records,
    *,
    seed: int = 0,
    resume: bool = False,
    listener: TrainingListener = nobody,
) -> FitResult:
    """Take about ``spec.whole.steps`` optimizer steps in whole epochs, at least one; afterwards the student has the
    last one's weights. Behind blocks, which leave weights on their grids, the scales of all weights stay.

    Args:
        loader: of unlabelled images, in another order in each epoch. The rest is as of :class:`Trainer`.

    Raises: as :meth:`Trainer.fit`.
    """
    whole = spec.whole
    epochs = max(1, round(whole.steps / len(loader))) if len(loader) else 1
    train = TrainSpec(
        stages=(StageSpec("reconstruction", epochs),),
        batch_size=whole.batch_size,
        optimizer=OptimizerSpec(lr=whole.lr, weight_decay=0.0, lr_quantizer=whole.lr_quantizer),
        schedule=ScheduleSpec("cosine", warmup=WARM_UP, final=0.01),
        clip_norm=CLIP,
        keep=1,
    )
    smaller = smaller_whole(whole.batch_size)
    with nullcontext() if spec.iterations is None else fixed_weight_scales(module.student):
        return Trainer(module, loader, train, records, seed=seed, listener=listener, smaller=smaller).fit(resume)


@contextmanager
def fixed_weight_scales(student: Student) -> Iterator[None]:
    """Scales and zero points of weights are not trained inside.

    Of a weight on its grid the straight-through gradient of the scale, round(w / s) - w / s (Esser et al., LSQ, arXiv
    1902.08153, equation 3), is 0, whatever the scale does to the layer, so that the optimizer begins with noise; with
    them the network got worse (docs/results.md).
    """
    of_weights = [one for one in student.quantizers.values() if one.operand.is_weight]
    trained = [value for one in of_weights for value in one.parameters() if value.requires_grad]
    try:
        for value in trained:
            value.requires_grad_(False)
        yield
    finally:
        for value in trained:
            value.requires_grad_(True)
