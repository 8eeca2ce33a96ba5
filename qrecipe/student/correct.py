"""Sets the corrections of biases from calibration data."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx

from ..quantizers import Quantizer
from ..structure.operands import OPERATORS
from ..vocabulary import CORRECTIONS
from .batch_interpreter import BatchInterpreter
from .deployable import Deployable


class CorrectingRun(BatchInterpreter[str]):
    """Runs the real-valued graph: the student's quantizers have their ranges, and are off.

    Beside each corrected layer runs its weight's error alone: E[(W - W_hat) x] over all images and places is what the
    bias takes out. x is what the real-valued layer reads, so no layer's correction depends on another's. (One after the
    other, each with the inputs that quantization left, was no better and could be much worse: docs/results.md.)
    """

    def __init__(self, deployable: Deployable) -> None:
        super().__init__(deployable, _corrected(deployable.graph))
        self._errors: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._places: defaultdict[str, int] = defaultdict(int)

    def corrections(self) -> dict[str, Tensor]:
        """By weight, E[W x] - E[W_hat x], (channels,); none for weights that no batch has reached."""
        return {name: total / self._places[name] for name, total in self._sums.items()}

    def visit(self, node: fx.Node, of: str, operands: tuple[Any, ...]) -> None:
        x, weight, _, *rest = operands
        if of not in self._errors:
            quantizer = self.fetch_attr(str(node.all_input_nodes[1].target))
            assert isinstance(quantizer, Quantizer)
            self._errors[of] = weight - quantizer.quantize(weight)
        target: Any = node.target
        output = target(x, self._errors[of], None, *rest)
        axis = -1 if OPERATORS[node.target] == "linear" else 1
        rows = output.movedim(axis, 0).flatten(1)
        total = rows.sum(1, dtype=torch.float64)
        self._sums[of] = self._sums[of] + total if of in self._sums else total
        self._places[of] += rows.shape[1]


def _corrected(graph: fx.Graph) -> dict[fx.Node, str]:
    """The layers whose biases are corrected, each with the name of its weight."""
    found = {}
    for node in graph.nodes:
        if node.op == "call_function" and OPERATORS.get(node.target) in ("conv", "linear") and len(node.args) > 2:
            bias = node.args[2]
            if isinstance(bias, fx.Node) and str(bias.target).startswith(f"{CORRECTIONS}."):
                found[node] = str(bias.target).removeprefix(f"{CORRECTIONS}.")
    return found
