"""Which sizes a graph serves: a model that branches on one of its input's was followed on one side of the branch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._sympy.numbers import int_oo

from ..graph.inputs import image_shape, like_images
from .diagnosis import Refused
from .own_code import answered

STRIDE = 256
"""Pixels; sizes up to it may be refused by convolutions and pooling alone."""
BEYOND = 64
"""Pixels beyond a bound at which the model itself is asked."""
GRIDS = (32, 64, 128)
"""And the next size on each of these: a model may take no others."""
LARGEST = 8192
"""Pixels; a bound above this is not asked about."""
SMALL = 64
"""Pixels that the other side has then."""


def refuse_bounds(
    program: torch.export.ExportedProgram,
    example: Mapping[str, Tensor],
    run: Callable[[dict[str, Tensor]], Any],
    largest: int | None,
) -> None:
    """Look at the heights and widths that a graph serves. A bound beyond which the model fails is its own: a table that
    ends, an assertion.

    Args:
        run: calls the model itself, with inputs of other sizes than the example's.
        largest: what no side of an image is above; None where any may come.

    Raises:
        Refused: beyond a bound that images may pass, or below one that is more than a network's own stride, the model
            goes another way.
    """
    for side, lower, upper in _bounds(program, example):
        asked = [] if lower <= STRIDE + 1 else _below(lower)
        if upper is not None and (largest is None or largest > upper):
            asked += _above(upper)
        for size in asked:
            if any(_runs(run, inputs) for inputs in _of_size(example, side, size)):
                served = f"sizes from {lower}" + ("" if upper is None else f" to {upper}")
                raise Refused("bound", None, (f"its {side}: {served} go one way",))


def _above(upper: int) -> list[int]:
    sizes = {upper + BEYOND, *((upper // grid + 1) * grid for grid in GRIDS)}
    return sorted(size for size in sizes if size <= LARGEST)


def _below(lower: int) -> list[int]:
    return sorted({lower - 1 - BEYOND, *((lower - 1) // grid * grid for grid in GRIDS)}, reverse=True)


def _bounds(
    program: torch.export.ExportedProgram, example: Mapping[str, Tensor]
) -> Iterator[tuple[str, int, int | None]]:
    """Sides of the images that have an upper bound, or a lower one above ``STRIDE``: lower, upper (None: none)."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    images = like_images(example)
    for name, value in zip(sorted(example), map(values.get, program.graph_signature.user_inputs), strict=True):
        if name not in images or not isinstance(value, Tensor):
            continue
        sizes: list[Any] = list(value.shape[-2:])  # numbers or torch's symbols
        for side, size in zip(("height", "width"), sizes, strict=True):
            found = program.range_constraints.get(size.node.expr) if isinstance(size, torch.SymInt) else None
            if found is None:
                continue
            upper = None if found.upper == int_oo else int(found.upper)
            if upper is not None or found.lower > STRIDE + 1:
                yield side, int(found.lower), upper


def _runs(run: Callable[[dict[str, Tensor]], Any], inputs: dict[str, Tensor]) -> bool:
    with torch.no_grad():
        return answered(lambda: (run(inputs),)) is not None


def _of_size(example: Mapping[str, Tensor], side: str, asked: int) -> Iterator[dict[str, Tensor]]:
    """The inputs with images of ones, one side as asked for, and the other small, then as it is."""
    own = image_shape(example)[-2:]
    images = like_images(example)
    for other in dict.fromkeys((tuple(min(size, SMALL) for size in own), tuple(own))):
        size = (asked, other[1]) if side == "height" else (other[0], asked)
        yield {
            name: value.new_ones((*value.shape[:-2], *size)) if name in images else value
            for name, value in example.items()
        }
