"""The two fused kernels, compiled once per dtype and device, and whether they can be had at all.

Forward and backward of a fake quantizer over rows (R, N), each one pass over memory. One form serves both kinds of
zero point: x_q = clip(round(x / scale + before) + after, lo, hi), with the zero point before the rounding (real) or
after it (integer).
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list

from .grid import Grid

log = logging.getLogger(__name__)

Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]

DTYPES = (torch.float32, torch.bfloat16)
DEVICES = ("cpu", "cuda")
# Compiled on this shape first: the code must not depend on the shape that happens to come first (a small one would be
# compiled without threads, a square one as square).
EXAMPLE = (64, 4096)


def forward_rows(x: Tensor, scale: Tensor, zero_point: Tensor, grid: Tensor) -> Tensor:
    """x_hat (R, N) in x's dtype. x: (R, N); scale, zero_point: (R,) float32; grid: see :func:`grid_tensor`."""
    scale = scale[:, None]
    zero_point = zero_point[:, None]
    lo, hi, real = grid[0], grid[1], grid[2]
    before = zero_point * real
    quantized = torch.clamp(torch.round(x.float() / scale + before) + (zero_point - before), lo, hi)
    return (scale * (quantized - zero_point)).to(x.dtype)


def backward_rows(
    gradient: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor, grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (R, N), and of scale and zero point per row, (R,) each; straight through the rounding.

    Inside the range: 1, x_q - zero_point - x / scale, 0. Outside: 0, x_q - zero_point, -scale.
    """
    scale = scale[:, None]
    zero_point = zero_point[:, None]
    lo, hi, real = grid[0], grid[1], grid[2]
    before = zero_point * real
    wide = gradient.float()
    ratio = x.float() / scale
    rounded = torch.round(ratio + before) + (zero_point - before)
    inside = (rounded >= lo) & (rounded <= hi)
    slope = torch.clamp(rounded, lo, hi) - zero_point - torch.where(inside, ratio, 0.0)
    outside = torch.where(inside, 0.0, wide)
    to_x = torch.where(inside, wide, 0.0).to(gradient.dtype)
    return to_x, (wide * slope).sum(1), -(scale * outside).sum(1)


# division_rounding: the GPU divides as in eager mode. dynamic_threads: torch.set_num_threads counts at each call.
# No precompiled headers, and one compiling process: for two kernels they cost more than they save.
_OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {
    "eager_numerics.division_rounding": True,
    "cpp.dynamic_threads": True,
    "cpp_cache_precompile_headers": False,
    "compile_threads": 1,
}


@lru_cache(maxsize=1)
def compiled_kernels() -> tuple[Forward, Backward]:
    """Nothing is compiled yet: that happens at the first call of each."""
    return (
        torch.compile(forward_rows, dynamic=True, options=dict(_OPTIONS)),
        torch.compile(backward_rows, dynamic=True, options=dict(_OPTIONS)),
    )


@lru_cache(maxsize=64)
def grid_tensor(grid: Grid, integer: bool, device: torch.device) -> Tensor:
    """(lo, hi, real) as the kernels take them: tensors, so that no width is compiled in. real is 1 or 0."""
    with torch.inference_mode(False):
        return torch.tensor([grid.lo, grid.hi, 0 if integer else 1], dtype=torch.float32, device=device)


@lru_cache(maxsize=1)
def log_fallback(reason: str) -> None:
    log.warning("fake quantizers run as plain tensor code, several times slower: %s", reason)


def _ready(backward: bool, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether one kernel is compiled, on the example; anew where torch has dropped it, as a strict export does."""
    compiled = warmed(backward, dtype, device)
    if compiled and not _count(backward):
        warmed.cache_clear()
        compiled = warmed(backward, dtype, device)
    return compiled is not None


def _count(backward: bool) -> int:
    """How many versions of a kernel torch holds: none where it compiles nothing (TORCHDYNAMO_DISABLE=1)."""
    return len(_debug_get_cache_entry_list((backward_rows if backward else forward_rows).__code__))


@lru_cache(maxsize=32)
def warmed(backward: bool, dtype: torch.dtype, device: torch.device) -> int | None:
    """Compile one kernel on the example; how many torch holds then. None, logged once, where that is impossible."""
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        log_fallback("no C++ compiler was found (set CXX, or install g++)")
        return None
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # the compiler's own, at its first import
            x = torch.ones(EXAMPLE, dtype=dtype, device=device)
            row = torch.ones(EXAMPLE[0], dtype=torch.float32, device=device)
            grid = grid_tensor(Grid(8), True, device)
            forward_kernel, backward_kernel = compiled_kernels()
            if backward:
                backward_kernel(x, x.clone(), row, row.clone(), grid)
            else:
                forward_kernel(x, row, row.clone(), grid)
    except (RuntimeError, ImportError, OSError, subprocess.SubprocessError) as error:
        log_fallback(f"compiling failed: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}")
        return None
    return _count(backward)


def forward_kernel(dtype: torch.dtype, device: torch.device) -> Forward | None:
    """The compiled :func:`forward_rows`, or None where there is none."""
    return compiled_kernels()[0] if _ready(False, dtype, device) else None


def backward_kernel(dtype: torch.dtype, device: torch.device) -> Backward | None:
    """The compiled :func:`backward_rows`, or None where there is none."""
    return compiled_kernels()[1] if _ready(True, dtype, device) else None
