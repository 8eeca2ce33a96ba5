"""Runs a student operation by operation, and shows each weight's quantizer what its weight multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, fx

from ..quantizers import Quantizer
from ..quantizers.calibration.moment import PLACES, PLACES_PER_IMAGE, conv_columns, linear_columns
from ..structure.operands import OPERATORS
from .batch_interpreter import BatchInterpreter
from .deployable import Deployable


class WeightInputsRun(BatchInterpreter[Quantizer]):
    """Only convolutions and linear layers whose weight's quantizer wants it are watched, no transposed convolutions."""

    def __init__(self, deployable: Deployable) -> None:
        super().__init__(deployable, _watching(deployable))

    def visit(self, node: fx.Node, of: Quantizer, operands: tuple[Any, ...]) -> None:
        x, weight, *_ = operands
        for columns in columns_of(OPERATORS[node.target], x, tuple(weight.shape[2:]), operands[3:]):
            of.watch(columns)


def _watching(deployable: Deployable) -> dict[fx.Node, Quantizer]:
    """The operations to watch, each with the quantizer of its weight."""
    found = {}
    for node in deployable.graph.nodes:
        if node.op != "call_function" or OPERATORS.get(node.target) not in ("conv", "linear"):
            continue
        weight = node.args[1]
        if isinstance(weight, fx.Node) and weight.op == "call_module":
            quantizer = deployable.root.get_submodule(str(weight.target))
            if isinstance(quantizer, Quantizer) and quantizer.watches_inputs:
                found[node] = quantizer
    return found


def columns_of(operator: str, x: Tensor, kernel: tuple[int, ...], options: Sequence[Any]) -> Iterator[Tensor]:
    """What an operation's weight multiplies, (groups, K, places) a piece: a convolution's patches image by image, as
    they take many times its memory.

    Args:
        operator: ``linear`` or ``conv``. x: its input. kernel: the weight's shape behind its channels.
        options: of a convolution, what follows its bias: stride, padding, dilation, groups, as many as are given.
    """
    if operator == "linear":
        yield linear_columns(x)
        return
    stride, padding, dilation, groups = (*options, *_DEFAULTS[len(options) :])
    flat = len(kernel) == 1  # along one axis: an image of one row
    if flat:
        x, kernel = x.unsqueeze(-2), (1, *kernel)
    ways = _pair(stride, 1, flat), padding if isinstance(padding, str) else _pair(padding, 0, flat)
    limit = max(PLACES // max(len(x), 1), PLACES_PER_IMAGE)
    for image in x:
        yield conv_columns(image, kernel, *ways, _pair(dilation, 1, flat), groups, limit)


_DEFAULTS: tuple[Any, ...] = (1, 0, 1, 1)
"""Stride, padding, dilation, groups."""


def _pair(given: int | Sequence[int], across: int, flat: bool) -> tuple[int, int]:
    """(vertical, horizontal) of one number or two; along one axis the vertical one is ``across``."""
    values = [given] if isinstance(given, int) else list(given)
    return (across if flat else values[0], values[-1])
