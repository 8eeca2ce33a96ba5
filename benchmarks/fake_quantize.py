"""How much a fake quantizer costs: identity, plain tensor code, torch's own, ours; forward and backward, in one run.

    python benchmarks/fake_quantize.py [--threads 1] [--repeats 15]

Compare the columns of one run, never two runs: machines are noisy, ratios less so. Medians, after a warm-up; on one
thread of the processor's time. torch's has a whole zero point, the others a real one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from qrecipe.quantizers import Grid
from qrecipe.quantizers.kernels import native, reference
from qrecipe.quantizers.kernels.affine import affine_plain
from qrecipe.quantizers.kernels.fused import along

SCALE, OFFSET, GRID, FACTOR = 0.2, 0.4, Grid(4), 0.01
Quantize = Callable[[Tensor, Tensor, Tensor, int | None], Tensor]


def identity(x: Tensor, scale: Tensor, offset: Tensor, axis: int | None) -> Tensor:
    """The least that a module in the graph can cost: one read and one write each way."""
    return x * 1.0


def plain(x: Tensor, scale: Tensor, offset: Tensor, axis: int | None) -> Tensor:
    scale, zero_point = affine_plain(scale, offset, False, FACTOR)
    return reference.fake_quantize(x, along(scale, x, axis), along(zero_point, x, axis), GRID, False)


def learnable(x: Tensor, scale: Tensor, offset: Tensor, axis: int | None) -> Tensor:
    """torch's; its second parameter is a zero point, and of the same size."""
    if axis is None:
        return torch._fake_quantize_learnable_per_tensor_affine(x, scale, offset, GRID.lo, GRID.hi, FACTOR)
    return torch._fake_quantize_learnable_per_channel_affine(x, scale, offset, axis, GRID.lo, GRID.hi, FACTOR)


def ours(x: Tensor, scale: Tensor, offset: Tensor, axis: int | None) -> Tensor:
    return native.fake_quantize(x, scale, offset, native.Rounding(GRID, "real", axis, FACTOR))


WAYS: dict[str, Quantize] = {"identity": identity, "plain": plain, "torch": learnable, "ours": ours}

# name: a tensor, how many scales, and along which dimension
CASES: dict[str, tuple[Callable[[], Tensor], int, int | None]] = {
    "feature map (2, 256, 80, 80), per tensor": (lambda: torch.randn(2, 256, 80, 80), 1, None),
    "probabilities (2, 8, 100, 850), per head": (lambda: torch.rand(2, 8, 100, 850), 8, 1),
    "keys (2, 8, 850, 32) transposed, per head": (lambda: torch.randn(2, 850, 8, 32).transpose(1, 2), 8, 1),
    "weight (512, 512, 3, 3), per channel": (lambda: torch.randn(512, 512, 3, 3), 512, 0),
    "queries (2, 100, 256), per tensor": (lambda: torch.randn(2, 100, 256), 1, None),
    "a few values (1, 64), per tensor": (lambda: torch.randn(1, 64), 1, None),
}


def now() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def measure(way: Quantize, x: Tensor, size: int, axis: int | None, repeats: int) -> tuple[float, float]:
    """Median milliseconds (without gradients, forward and backward)."""
    leaves = [
        x.detach().requires_grad_(),
        torch.full((size,), SCALE, requires_grad=True),
        torch.full((size,), OFFSET, requires_grad=True),
    ]
    gradient = torch.randn_like(x)

    def both() -> None:
        result = way(leaves[0], leaves[1], leaves[2], axis)
        torch.autograd.grad(result, leaves, gradient, allow_unused=True)

    def forward() -> None:
        with torch.no_grad():
            way(leaves[0], leaves[1], leaves[2], axis)

    return median(forward, repeats), median(both, repeats)


def median(run: Callable[[], None], repeats: int) -> float:
    for _ in range(3):
        run()
    taken = []
    for _ in range(repeats):
        start = now()
        run()
        taken.append(now() - start)
    return statistics.median(taken) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a fake quantizer, in milliseconds.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    start = now()
    measure(ours, torch.randn(64, 1024), 1, None, 1)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s); compiling took {now() - start:.1f} s")
    print(f"{'':44}{'forward':>40}{'forward + backward':>48}")
    print(f"{'milliseconds':44}" + "".join(f"{name:>10}" for name in WAYS) + "".join(f"{name:>12}" for name in WAYS))
    for name, (make, size, axis) in CASES.items():
        x = make()
        times = [measure(way, x, size, axis, arguments.repeats) for way in WAYS.values()]
        forward = "".join(f"{ms:10.2f}" for ms, _ in times)
        both = "".join(f"{ms:12.2f}" for _, ms in times)
        print(f"{name:44}{forward}{both}   plain / ours {times[1][1] / times[3][1]:.1f}")


if __name__ == "__main__":
    main()
