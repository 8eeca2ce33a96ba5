"""Sets the corrections of biases from calibration data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..graph.graph_model import reading
from ..quantizers import Quantizer
from ..structure.operands import OPERATORS
from ..vocabulary import CORRECTIONS
from .deployable import Deployable


class CorrectingRun(fx.Interpreter):
    """The real-valued evaluation graph of a student, run once for each batch.

    Beside each corrected layer runs its weight's error alone: E[(W - W_hat) x] over all images and places is what the
    bias takes out. x is what the real-valued layer reads, so no layer's correction depends on another's. (One after the
    other, each with the inputs that quantization left, was no better and could be much worse: docs/results.md.)
    """

    def __init__(self, deployable: Deployable) -> None:
        super().__init__(deployable.root, graph=deployable.graph)
        self._deployable = deployable
        self._errors: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._places: defaultdict[str, int] = defaultdict(int)

    def over(self, inputs: Mapping[str, Tensor]) -> None:
        """Take in one batch. The student's quantizers have their ranges, and are off."""
        with reading(inputs):
            self.run(*(inputs[name] for name in self._deployable.inputs))

    def corrections(self) -> dict[str, Tensor]:
        """By weight, E[W x] - E[W_hat x], (channels,); none for weights that no batch has reached."""
        return {name: total / self._places[name] for name, total in self._sums.items()}

    def run_node(self, n: fx.Node) -> Any:
        name = _corrected(n)
        if name is not None:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            self._take(name, n, arguments)
        return super().run_node(n)

    def _take(self, name: str, node: fx.Node, arguments: tuple[Any, ...]) -> None:
        x, weight, _, *rest = arguments
        if name not in self._errors:
            quantizer = self.fetch_attr(str(node.all_input_nodes[1].target))
            assert isinstance(quantizer, Quantizer)
            self._errors[name] = weight - quantizer.quantize(weight)
        target: Any = node.target
        output = target(x, self._errors[name], None, *rest)
        axis = -1 if OPERATORS[node.target] == "linear" else 1
        rows = output.movedim(axis, 0).flatten(1)
        total = rows.sum(1, dtype=torch.float64)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._places[name] += rows.shape[1]


def _corrected(node: fx.Node) -> str | None:
    """The weight of a layer whose bias is corrected."""
    if node.op != "call_function" or OPERATORS.get(node.target) not in ("conv", "linear") or len(node.args) < 3:
        return None
    bias = node.args[2]
    if not isinstance(bias, fx.Node) or not str(bias.target).startswith(f"{CORRECTIONS}."):
        return None
    return str(bias.target).removeprefix(f"{CORRECTIONS}.")
