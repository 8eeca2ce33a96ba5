"""Where training runs: device, mixed precision, and how many processes share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

from .. import launched
from ..processes import gathered
from ..termination import hear_once


def make_accelerator(precision: str) -> Accelerator:
    """Device and mixed precision, as ``accelerate`` finds them."""
    # accelerate keeps the first precision of a process and refuses another one. Its process group stays.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision)


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that a launcher started are one run. Without a launcher nothing changes."""
    if launched.processes() == 1 or dist.is_initialized():
        yield
        return
    PartialState()  # the backend and the device of this process; gloo without an accelerator
    hear_once()
    try:
        yield
        gathered(None)
        dist.destroy_process_group()  # after an error it could wait for a process that is gone
    finally:
        hear_once(False)
