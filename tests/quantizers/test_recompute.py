"""Quantized copies are freed after the forward pass and made again in backward, to the last bit."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from qrecipe.quantizers import Quantizer, Reading, recompute
from tests.quantizers.tiny_quantizers import ready

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "convolution": lambda x, w: torch.ops.aten.conv2d.default(x, w, None, [1, 1], [1, 1]),
    "linear": lambda x, w: torch.ops.aten.linear.default(x, w[:, :, 0, 0] if w.dim() == 4 else w),
    "product": lambda x, w: torch.ops.aten.matmul.default(x, w),
    "transposed product": lambda x, w: torch.ops.aten.matmul.default(x, w.transpose(-1, -2).contiguous()),
    "list": lambda x, w: torch.ops.aten.stack.default([x, x]),
}
SHAPES = {
    "convolution": ((2, 3, 9, 8), (4, 3, 3, 3)),
    "linear": ((2, 5, 7), (6, 7)),
    "product": ((2, 3, 5, 7), (2, 3, 7, 4)),
    "transposed product": ((2, 3, 5, 7), (2, 3, 4, 7)),
    "list": ((4, 5), (1,)),
}


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "SMALLEST", 0)


def gradients(
    operation: Callable[..., Tensor], quantizers: tuple[Quantizer, Quantizer], x: Tensor, w: Tensor
) -> list[Tensor]:
    """Of everything, of a function that reads both copies twice."""
    leaves = [x, w, *(parameter for quantizer in quantizers for parameter in quantizer.parameters())]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    copies = [quantizer(leaf) for quantizer, leaf in zip(quantizers, (x, w), strict=True)]
    result = operation(*copies)
    loss = (result.square() * torch.linspace(0.5, 2, result.numel()).view_as(result)).sum() + operation(*copies).sum()
    return [result, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("kind", ["lsq+", "pact", "dorefa", "mse"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_are_those_of_kept_copies(name: str, kind: str) -> None:
    torch.manual_seed(0)
    x, w = (torch.randn(shape, requires_grad=True) for shape in SHAPES[name])
    offset = "integer" if kind == "lsq+" else "none"
    pair = ready(kind, 4, offset, x.detach()), ready(kind, 4, offset, w.detach())
    plain = gradients(OPERATIONS[name], pair, x, w)
    packed = gradients(Reading(OPERATIONS[name]), pair, x, w)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(packed, plain, strict=True))


def test_a_copy_is_freed_and_backward_can_be_taken_twice() -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    quantizer = ready("lsq+", 4, "integer", x.detach())
    kept, freed = quantizer(x), quantizer(x)
    result = torch.ops.aten.linear.default(kept, w)
    loss = Reading(torch.ops.aten.linear.default)(freed, w).sum() + result.sum()
    watched = [weakref.ref(copy.untyped_storage()) for copy in (kept, freed)]
    pointers = [weakref.ref(kept), weakref.ref(freed)]
    del freed
    assert [pointer() is None for pointer in pointers] == [False, True]
    assert watched[1]() is None
    first = torch.autograd.grad(loss, [x, w], retain_graph=True)
    second = torch.autograd.grad(loss, [x, w])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class _Rows(torch.autograd.Function):
    """As the kernels that torch compiles: rows, seen in the tensor's own shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x.reshape(-1, 2) * 2).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_that_is_a_view_of_its_memory_and_a_view_of_a_copy(turned: bool) -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    copy = _Rows.apply(x)
    recompute.remember(copy, _Rows.apply, x, iter(()))
    read = copy.transpose(0, 1) if turned else copy
    other = w[:4] if turned else w
    result = Reading(torch.ops.aten.mm.default)(read, other)
    watched = weakref.ref(copy.untyped_storage())
    del copy, read
    assert watched() is None
    (gradient,) = torch.autograd.grad(result.sum(), w)
    expected = ((x.T if turned else x) * 2).sum(0)
    torch.testing.assert_close(gradient[: len(expected)], expected[:, None].expand(-1, 3))


@pytest.mark.parametrize("what", ["input", "scale", "other operand"])
def test_what_was_changed_since_is_refused(what: str) -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    quantizer = ready("lsq+", 4, "integer", x.detach())
    source, other = x * 1.0, w * 1.0
    result = Reading(torch.ops.aten.linear.default)(quantizer(source), other)
    with torch.no_grad():
        {"input": source, "scale": quantizer.get_parameter("scale"), "other operand": other}[what].mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_within_activation_checkpointing() -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    quantizer = ready("lsq+", 4, "integer", x.detach())

    def block(x: Tensor, w: Tensor) -> Tensor:
        return Reading(torch.ops.aten.linear.default)(quantizer(x), w).relu()

    plain = torch.autograd.grad(block(x, w).sum(), [x, w])
    checkpointed = torch.autograd.grad(checkpoint(block, x, w, use_reentrant=False).sum(), [x, w])
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))


def test_under_autocast() -> None:
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    quantizer = ready("lsq+", 4, "integer", x.detach())
    found = []
    for operation in (torch.ops.aten.linear.default, Reading(torch.ops.aten.linear.default)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = operation(quantizer(F.linear(x, torch.eye(8))), w)
        found.append([result, *torch.autograd.grad(result.sum(), [x, w, quantizer.get_parameter("scale")])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_functional_transforms_still_work() -> None:
    """torch.func forbids hooks on what is saved."""
    w = torch.randn(3, 8)
    quantizer = ready("lsq+", 4, "integer", w)
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        x = torch.randn(4, 8, requires_grad=True)
        Reading(torch.ops.aten.linear.default)(quantizer(x), w).sum().backward()
    assert x.grad is not None
