"""What to change where the memory of a training step runs out."""

from __future__ import annotations

from ..processes import count
from ..recipe.definition import TrainSpec

LATER = "go on with --resume once other programs leave more"
_IMAGES = f"{LATER}; another run with smaller images (model.input) holds less"


def smaller_step(spec: TrainSpec) -> str:
    """The knobs of a training step."""
    if spec.checkpointing:
        return smaller_batch(spec)
    return f"{smaller_batch(spec)}; --set train.checkpointing=true, also with --resume, holds less and takes longer"


def smaller_whole(size: int) -> str:
    """Those of a step of the whole network's reconstruction. size: of its batches; another one is another run."""
    if size == 1:
        return _IMAGES
    return f"{LATER}; another run with quantize.reconstruct.whole.batch_size: {-(-size // 2)} holds about half"


def smaller_batch(spec: TrainSpec) -> str:
    """Those of whatever takes a batch, and by how much. Parts of a step have the gradients of the whole, so the run may
    go on in parts."""
    size = spec.batch_size
    parts = next((n for n in range(2, size + 1) if size % n == 0 and size // n >= count()), None)
    if parts is None:
        return _IMAGES
    share = "half" if parts == 2 else f"1/{parts}"
    keys = f"--set train.batch_size={size // parts} --set train.accumulate={spec.accumulate * parts}"
    return f"{LATER}; or at once with --resume {keys}, which holds about {share} and has the same gradients"
