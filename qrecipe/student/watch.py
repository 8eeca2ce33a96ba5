"""Runs a student operation by operation, and shows each weight's quantizer what its weight multiplies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from ..graph.graph_model import reading
from ..quantizers import Quantizer
from ..quantizers.calibration.moment import PLACES, PLACES_PER_IMAGE, conv_columns, linear_columns
from ..structure.operands import OPERATORS
from .deployable import Deployable


class WatchedRun(fx.Interpreter):
    """The evaluation graph of a student, run once for each batch; one value at a time is kept no longer than needed.

    Only convolutions and linear layers whose weight's quantizer wants it are watched. Transposed convolutions are not.
    """

    def __init__(self, deployable: Deployable) -> None:
        super().__init__(deployable.root, graph=deployable.graph)
        self._inputs = deployable.inputs
        self._watching = dict(_weights(deployable))

    def over(self, inputs: Mapping[str, Tensor]) -> Any:
        """Run on one batch; what the graph gives, flat."""
        with reading(inputs):
            return self.run(*(inputs[name] for name in self._inputs))

    def run_node(self, n: fx.Node) -> Any:
        quantizer = self._watching.get(n)
        if quantizer is not None:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            _show(quantizer, OPERATORS[n.target], arguments)
        return super().run_node(n)


def _weights(deployable: Deployable) -> list[tuple[fx.Node, Quantizer]]:
    """The operations to watch, each with the quantizer of its weight."""
    found = []
    for node in deployable.graph.nodes:
        if node.op != "call_function" or OPERATORS.get(node.target) not in ("conv", "linear"):
            continue
        weight = node.args[1]
        if isinstance(weight, fx.Node) and weight.op == "call_module":
            quantizer = deployable.root.get_submodule(str(weight.target))
            if isinstance(quantizer, Quantizer) and quantizer.watches_inputs:
                found.append((node, quantizer))
    return found


def _show(quantizer: Quantizer, operator: str, arguments: tuple[Any, ...]) -> None:
    """Hand an operation's input over, image by image for a convolution: patches take many times its memory."""
    x, weight = arguments[0], arguments[1]
    if operator == "linear":
        quantizer.watch(linear_columns(x))
        return
    # aten.conv: input, weight, bias, stride, padding, dilation, groups.
    stride, padding, dilation, groups = (*arguments[3:], *_DEFAULTS[max(len(arguments) - 3, 0) :])
    kernel = tuple(weight.shape[2:])
    flat = len(kernel) == 1  # along one axis: an image of one row
    if flat:
        x, kernel = x.unsqueeze(-2), (1, *kernel)
    ways = _pair(stride, 1, flat), padding if isinstance(padding, str) else _pair(padding, 0, flat)
    limit = max(PLACES // max(len(x), 1), PLACES_PER_IMAGE)
    for image in x:
        quantizer.watch(conv_columns(image, kernel, *ways, _pair(dilation, 1, flat), groups, limit))


_DEFAULTS: tuple[Any, ...] = (1, 0, 1, 1)
"""Stride, padding, dilation, groups."""


def _pair(given: int | Sequence[int], across: int, flat: bool) -> tuple[int, int]:
    """(vertical, horizontal) of one number or two; along one axis the vertical one is ``across``."""
    values = [given] if isinstance(given, int) else list(given)
    return (across if flat else values[0], values[-1])
