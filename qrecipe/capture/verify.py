"""Trusts a capture only after it agreed with the model itself at other input sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from ..graph.captured import Captured
from ..graph.graph_model import GraphModel
from ..graph.inputs import image_shape
from ..graph.module_copy import module_copy
from ..graph.program import MODES, GraphMode
from .custom_backward import custom_function_line
from .diagnosis import Finding
from .failure import CaptureFailure
from .hidden_state import hidden_state, refuse_hidden_state
from .own_code import answered
from .wrapper import Call

ATTEMPTS = 3
JITTER = 0.05
FROZEN = (
    "the model computes something from the image's size or the batch that the capture froze: take sizes from "
    "tensor.shape where they are needed, without numpy, math or float() over them"
)


@dataclass(frozen=True)
class Agreement:
    """The largest absolute differences between graph and model at one size, relative to the largest value."""

    mode: GraphMode
    shape: tuple[int, ...]
    outputs: float
    gradients: float
    buffers: float

    @property
    def worst(self) -> float:
        return max(self.outputs, self.gradients, self.buffers)


def verify(
    captured: Captured,
    model: nn.Module,
    call: Call,
    examples: Sequence[Mapping[str, Tensor]],
    tolerance: float = 1e-4,
    gradients: bool = True,
) -> list[Agreement]:
    """Compare outputs, parameter gradients (if asked for) and updated buffers at each example, in both modes.

    Sizes that the model itself refuses are left out of the list that is returned.

    Raises:
        CaptureError: a difference above ``tolerance`` (relative), a graph that fails where the model does not, or a
            model whose outputs depend on how often it was called, or on random numbers that are not torch's.
    """
    copied = captured.copy()
    graph = GraphModel(copied.root, copied.programs)
    eager = module_copy(model)
    found: list[Agreement] = []
    # Where only the evaluation mode could be captured there is nothing to hold the training graph to.
    modes: tuple[GraphMode, ...] = MODES if captured.training else ("eval",)
    for mode in modes:
        for inputs in examples:
            try:
                agreement = _compare(graph, eager, call, mode, inputs, gradients)
            except CaptureError as error:
                if error.remedy is not None:
                    raise
                what = f"{error.what}; {_agreeing(graph, eager, call, mode, examples, tolerance)}"
                raise CaptureError(what, where=error.where, remedy=FROZEN) from error.__cause__
            if agreement is None:
                continue
            if not agreement.worst <= tolerance:
                agreement = _elsewhere(graph, eager, call, mode, inputs, gradients, tolerance) or agreement
            if not agreement.worst <= tolerance:
                if agreement.outputs <= tolerance:
                    _blame_custom_function(agreement, eager, call, inputs)
                raise CaptureError(
                    f"the captured {mode} graph differs from the model at input {agreement.shape}: outputs "
                    f"{agreement.outputs:.2g}, gradients {agreement.gradients:.2g}, buffers {agreement.buffers:.2g}; "
                    + _agreeing(graph, eager, call, mode, examples, tolerance),
                    where=type(model).__name__,
                    remedy=FROZEN,
                )
            found.append(agreement)
    return found


def _agreeing(
    graph: GraphModel,
    eager: nn.Module,
    call: Call,
    mode: GraphMode,
    examples: Sequence[Mapping[str, Tensor]],
    tolerance: float,
) -> str:
    """At which of the sizes the outputs agree."""
    shapes = []
    for inputs in examples:
        try:
            agreement = _compare(graph, eager, call, mode, inputs, gradients=False)
        except CaptureError:
            continue
        if agreement is not None and agreement.outputs <= tolerance:
            shapes.append(str(agreement.shape))
    return f"outputs agree at {' and '.join(shapes) or 'none of the sizes tried'}"


def _blame_custom_function(agreement: Agreement, eager: nn.Module, call: Call, inputs: Mapping[str, Tensor]) -> None:
    """Where outputs agree and gradients do not, the reason is most often a backward that somebody wrote.

    Raises:
        CaptureFailure: the model calls a custom autograd function.
    """
    eager.train(agreement.mode == "train")
    line = custom_function_line(eager, lambda: _seeded(lambda: call(eager, dict(inputs))))
    if line is not None:
        differ = f"captured, and the outputs agree, but the gradients differ by {agreement.gradients:.2g}"
        raise CaptureFailure(type(eager).__name__, Finding("function", line), [differ])


def _elsewhere(
    graph: GraphModel,
    eager: nn.Module,
    call: Call,
    mode: GraphMode,
    inputs: Mapping[str, Tensor],
    gradients: bool,
    tolerance: float,
) -> Agreement | None:
    """The agreement near the model's weights, or None where it is as bad there.

    At some weights rounding alone decides: freshly initialised heads give every query the same score, so that a top-k
    picks at will, and gradients grow to 1e17. A graph that computes something else does so at other weights as well.
    """
    graph, eager = copy.deepcopy(graph), module_copy(eager)
    for seed in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(seed)
        ours = dict(graph.named_parameters())
        with torch.no_grad():
            for name, value in eager.named_parameters():
                noise = torch.randn(value.shape, generator=generator).to(value)
                moved = value + JITTER * noise * max(float(value.std()) if value.numel() > 1 else 0.0, 1.0)
                for copied in (value, ours[name]) if name in ours else (value,):
                    copied.copy_(moved)
        agreement = _compare(graph, eager, call, mode, inputs, gradients)
        if agreement is not None and agreement.worst <= tolerance:
            return agreement
    return None


def _compare(
    graph: GraphModel,
    eager: nn.Module,
    call: Call,
    mode: GraphMode,
    inputs: Mapping[str, Tensor],
    gradients: bool,
) -> Agreement | None:
    shape = image_shape(inputs)
    before = hidden_state(eager)
    for module in (graph, eager):
        module.train(mode == "train")
        module.zero_grad(set_to_none=True)

    def asked(one: nn.Module) -> list[Tensor]:
        return _tensors(_seeded(partial(call, one, dict(inputs))))

    # One after the other, each with its backward pass: the activations of both at once fill a small machine.
    theirs = answered(partial(asked, eager))
    if theirs is None:  # the model itself refuses this size: nothing to compare
        _level(eager, graph)
        return None
    refuse_hidden_state(before, eager, asked, mode)
    theirs = _gone_back(theirs, gradients)
    try:
        mine = _tensors(_seeded(lambda: graph.run(inputs)[:2]))
    except Exception as error:
        raise CaptureError(
            f"the captured {mode} graph fails at input {shape}, where the model does not: "
            f"{type(error).__name__}: {error}",
            where=type(eager).__name__,
        ) from error
    outputs = _worst(_gone_back(mine, gradients), theirs)
    slope = 0.0
    if gradients:
        ours = dict(graph.named_parameters())
        pairs = [(ours[name].grad, other.grad) for name, other in eager.named_parameters() if name in ours]
        if any((a is None) != (b is None) for a, b in pairs):
            slope = float("inf")
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        slope = max(slope, _worst([a for a, _ in known], [b for _, b in known]))
    buffers = dict(graph.named_buffers())
    same = [(buffers[name], value) for name, value in eager.named_buffers() if name in buffers]
    return Agreement(mode, shape, outputs, slope, _worst([a for a, _ in same], [b for _, b in same]))


@torch.no_grad()
def _level(eager: nn.Module, graph: GraphModel) -> None:
    """Give a model that stopped halfway the buffers of the graph, which did not run: its norms have moved on."""
    kept = dict(graph.named_buffers())
    for name, buffer in eager.named_buffers():
        if name in kept:
            buffer.copy_(kept[name])


def _gone_back(outputs: Sequence[Tensor], gradients: bool) -> list[Tensor]:
    """The outputs after a backward pass from all of them, if asked for, without the graph behind them."""
    values = [value for value in outputs if value.requires_grad]
    if gradients and values:
        torch.stack([_probe(value) for value in values]).sum().backward()  # type: ignore[no-untyped-call]
    return [value.detach() for value in outputs]


def _probe(value: Tensor) -> Tensor:
    """A weighted sum: unlike a plain one its gradient sees which element is which."""
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype, device=value.device)
    return (value.flatten() * weights).sum() / max(value.numel(), 1)


def _seeded(run: Callable[[], Any]) -> Any:
    """Run with the same dropout each time, and leave the caller's random numbers as they were."""
    with torch.random.fork_rng(), torch.enable_grad():  # a model may leave gradients switched off
        torch.manual_seed(0)
        return run()


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _worst(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    if len(mine) != len(theirs):
        return float("inf")
    return max((distance for a, b in zip(mine, theirs, strict=True) for distance in _distance(a, b)), default=0.0)


def _distance(a: Tensor, b: Tensor) -> Iterator[float]:
    if a.shape != b.shape:
        yield float("inf")
    elif a.numel():
        a, b = a.detach().double(), b.detach().double()
        finite = torch.isfinite(b)
        if not torch.equal(finite, torch.isfinite(a)):
            yield float("inf")
        elif finite.any():
            yield float((a - b)[finite].abs().max() / b[finite].abs().max().clamp(min=1))
