"""A student as a program of torch.export: plain operators around stored integers, which torch loads without qrecipe.

Activations are rounded to their grid in float arithmetic; weights are stored as int8 and dequantized.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..errors import ExportError
from .lower import Lowered
from .operand import RANK, StoredOperand
from .traced import Fixed, Open, Size, fixed_by, traced

NEAR = 1e-4
"""Largest difference of a program that was written and read again from the student, of float rounding."""


def to_program(lowered: Lowered, size: Size, dynamic: Open, describe: Callable[[Fixed], str]) -> bytes:
    """The file of a program. The lowered module is changed.

    Args:
        size, dynamic: as ``traced`` takes them.
        describe: the text of the extra file ``qrecipe``, for what is fixed.

    Raises:
        ExportError: torch.export does not trace the student, or the program does not compute what the student does.
    """
    detector = lowered.module
    graph_module = detector.graph_module
    assert isinstance(graph_module, fx.GraphModule)
    _unmark(graph_module, lowered.operands)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = traced(detector, size, dynamic)
        torch.export.save(program, buffer, extra_files={"qrecipe": describe(fixed_by(program))})
        pixels = torch.rand(size[0], 3, *size[1:])
        expected = detector(pixels)
        found = torch.export.load(io.BytesIO(buffer.getvalue())).module()(pixels)
    if not all(torch.allclose(one, other, atol=NEAR) for one, other in zip(expected, found, strict=True)):
        raise ExportError("the program that was written does not compute what the student computes")
    return buffer.getvalue()


class _Weight(nn.Module):
    """A weight from its integers."""

    def __init__(self, operand: StoredOperand) -> None:
        super().__init__()
        assert operand.weight is not None
        self.register_buffer("integers", torch.from_numpy(operand.weight.astype(np.int8)))
        _keep(self, operand, operand.weight.ndim)

    def forward(self, shown: Tensor) -> Tensor:
        return (self.get_buffer("integers").float() - self.get_buffer("zero_point")) * self.get_buffer("scale")


class _Activation(nn.Module):
    """An activation rounded to its grid."""

    def __init__(self, operand: StoredOperand) -> None:
        super().__init__()
        self.lo, self.hi = operand.lo, operand.hi
        _keep(self, operand, RANK)

    def forward(self, value: Tensor) -> Tensor:
        scale, zero = self.get_buffer("scale"), self.get_buffer("zero_point")
        return ((value / scale).round().add(zero).clamp(self.lo, self.hi) - zero) * scale


def _keep(module: nn.Module, operand: StoredOperand, rank: int) -> None:
    """Scale and zero point, shaped to meet a tensor of this rank along their axis."""
    shape = () if operand.axis is None else (-1, *([1] * (rank - 1 - operand.axis)))
    module.register_buffer("scale", torch.from_numpy(np.asarray(operand.scale)).reshape(shape))
    module.register_buffer("zero_point", torch.from_numpy(np.asarray(operand.zero_point)).float().reshape(shape))


def _unmark(graph_module: fx.GraphModule, operands: dict[str, StoredOperand]) -> None:
    """Put plain arithmetic in the place of the marks."""
    for number, node in enumerate(graph_module.graph.nodes):
        if node.target is not torch.ops.qrecipe.operand.default:
            continue
        operand = operands[node.args[1]]
        name = f"shown_{number}"
        graph_module.add_submodule(name, _Activation(operand) if operand.weight is None else _Weight(operand))
        with graph_module.graph.inserting_before(node):
            made = graph_module.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(made)
        graph_module.graph.erase_node(node)
    graph_module.recompile()
