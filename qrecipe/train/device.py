"""Where training runs: device and mixed precision."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..errors import TrainError


def make_accelerator(precision: str) -> Accelerator:
    """Device and mixed precision, as ``accelerate`` finds them.

    Raises:
        TrainError: it was launched with several processes.
    """
    # accelerate keeps the first precision of a process and refuses another one. Its process group stays.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=precision)
    if accelerator.num_processes > 1:
        raise TrainError(
            f"{accelerator.num_processes} processes were launched, and training runs in one",
            remedy="start qrecipe without a launcher",
        )
    return accelerator
