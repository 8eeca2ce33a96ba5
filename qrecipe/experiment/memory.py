"""What a run says where its memory runs out: which key holds less, and by how much."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..out_of_memory import enough_memory
from ..recipe.definition import Recipe, ReconstructSpec
from ..train.smaller_step import LATER, smaller_batch, smaller_whole


def enough_for(phase: str, recipe: Recipe) -> AbstractContextManager[None]:
    """Around the work of a phase. Raises: OutOfMemoryError: in place of what else says that memory ran out."""
    spec = recipe.quantize
    parts = {"calibration": ("calibration", spec.calibration), "reconstruction": ("reconstruct", spec.reconstruct)}
    key, part = parts.get(phase, ("", None))
    if part is None:
        return enough_memory(phase, smaller_batch(recipe.train))
    if isinstance(part, ReconstructSpec) and part.iterations is None:
        return enough_memory(phase, smaller_whole(part.whole.batch_size))
    half = f"quantize.{key}.batch_size: {-(-part.batch_size // 2)} and batches: {2 * part.batches}"
    return enough_memory(phase, f"{LATER}; another run with {half} holds about half")
