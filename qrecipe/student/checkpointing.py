"""How a student's graphs run: with choices that can be told, and with fake quantizers that are computed again, or whole
blocks, for the backward pass.

With ``train.checkpointing`` the training graph runs block by block, and of a block only what it reads is kept for the
backward pass; what is inside is computed again there, by the same code on the same values, so gradients are the same
bit for bit. Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from ..graph.choices import Choice, said, tell_choices, told
from ..graph.flow import within
from ..graph.in_place import base_of, write_elsewhere, written_by
from ..graph.parts import Part, parts_of
from ..graph.program import FunctionMaker, Program, function_of, is_view
from ..quantizers import Reading
from ..structure.blocks import Block, find_blocks
from ..vocabulary import FAKE_QUANTIZERS
from .repeated import changed_by, draws, is_observing, kept, put_back

LEAST = 3
"""Smaller blocks are joined until they have as many weighted operations as a bottleneck: what each reads is kept."""
_CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace operation: what a block is "
    "computed from again"
)


def function_maker(*, checkpointing: bool) -> FunctionMaker:
    """checkpointing: of the training graph."""

    def make(program: Program, name: str) -> Callable[..., Any]:
        graph = program.copy().graph
        tell_choices(graph)
        read_origins(graph)
        whole = function_of(graph, name)
        return InBlocks(program, name, whole) if checkpointing and program.mode == "train" else whole

    return make


def read_origins(graph: fx.Graph) -> None:
    """What reads a fake quantizer's result, or a view of it, keeps less of it for the backward pass."""
    copies: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "call_module" and within(str(node.target), FAKE_QUANTIZERS):
            copies.add(node)
        elif node.op == "call_function" and not copies.isdisjoint(node.all_input_nodes):
            if is_view(node):
                copies.add(node)
            else:
                node.target = Reading(node.target)


class InBlocks:
    """A program as a function of ``(root, **inputs)`` that runs block by block.

    Args:
        whole: the same in one, for when nothing is kept for a backward pass.
    """

    def __init__(self, program: Program, name: str, whole: Callable[..., Any]) -> None:
        self.whole = whole
        graph = program.copy().graph
        write_elsewhere(graph)
        parts = parts_of(graph, _joined(find_blocks(graph)))
        tell_choices(graph)  # blocks are found by them
        called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
        written = _written_from_outside(parts)
        self.blocks = [_Block(part, called, written, f"{name}, block {index}") for index, part in enumerate(parts)]
        self.inputs = {str(node.target): node.name for node in graph.nodes if node.op == "placeholder"}
        flat = next(node for node in graph.nodes if node.op == "output").args[0]
        self.outputs, self.given = _outputs(flat, name)

    def __call__(self, root: nn.Module, **inputs: Any) -> Any:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.whole(root, **inputs)
        values = {self.inputs[name]: value for name, value in inputs.items()}
        for block in self.blocks:
            written = block(root, [values[name] for name in block.reads])
            for name in block.last - self.given.keys():
                del values[name]
            values.update(zip(block.writes, written, strict=True))
            del written
        return self.outputs(root, *[values[name] for name in self.given])


def _joined(blocks: Iterable[Block]) -> list[list[fx.Node]]:
    """The nodes of blocks, of small ones together."""
    cuts: list[list[fx.Node]] = [[]]
    weighted = 0
    for block in blocks:
        if weighted >= LEAST:
            cuts.append([])
            weighted = 0
        cuts[-1].extend(block.nodes)
        weighted += block.weighted
    return cuts


def _outputs(flat: Any, name: str) -> tuple[Callable[..., Any], dict[str, None]]:
    """The graph's outputs as a function of what blocks and inputs give, and the names of that."""
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    given: dict[str, None] = {}

    def own(node: fx.Node) -> fx.Node:
        if node.name not in made:
            made[node.name] = graph.node_copy(node) if node.op == "get_attr" else graph.placeholder(node.name)
        if node.op != "get_attr":
            given[node.name] = None
        return made[node.name]

    graph.output(fx.map_arg(flat, own))
    return function_of(graph, f"{name}, outputs"), given


def _written_from_outside(parts: Iterable[Part]) -> set[fx.Node]:
    """Values that a call behind their part writes into: what reads them cannot be computed again from them."""
    found = set()
    for part in parts:
        bases = written_by(part.nodes)
        found |= {base for base in bases if base.op != "get_attr" and base not in part.nodes}
    return found


class _Block:
    """One block as a function.

    again: whether it may run twice: not where it reads what is written into from another block.
    """

    def __init__(self, part: Part, called: set[str], written: set[fx.Node], name: str) -> None:
        self.reads = tuple(node.name for node in part.reads)
        self.writes = tuple(node.name for node in part.writes)
        self.last = {node.name for node in part.last}
        self.again = not any(base_of(node) in written for node in part.reads)
        self.modules = tuple(dict.fromkeys(str(node.target) for node in part.nodes if node.op == "call_module"))
        graph = part.graph()
        self.attributes = tuple(str(node.target) for node in graph.nodes if node.op == "get_attr")
        self.changing = changed_by(graph, called)
        self.draws = any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in graph.nodes)
        if not self.again:
            read_origins(graph)  # within a checkpoint, torch asks only one of those who keep less
        self.function = function_of(graph, name)

    def __call__(self, root: nn.Module, read: list[Any]) -> Any:
        modules = [root.get_submodule(path) for path in self.modules]
        if not self.again or any(map(is_observing, modules)):
            return self.function(root, *read)
        state = kept(root, modules, self.changing)
        fixed = [*self._fixed(root, modules), *(value for value in read if isinstance(value, Tensor))]
        version = _version(fixed)
        chosen: list[Choice] | None = None

        def run(*read: Any) -> Any:
            nonlocal chosen
            if chosen is None:
                with said() as chosen:
                    return self.function(root, *read)
            if _version(fixed) != version:
                raise RuntimeError(_CHANGED)
            with put_back(state), told(chosen):  # what was told then is told no more
                return self.function(root, *read)

        random = self.draws or any(map(draws, modules))
        return checkpoint(run, *read, use_reentrant=False, preserve_rng_state=random)

    def _fixed(self, root: nn.Module, modules: Iterable[nn.Module]) -> list[Tensor]:
        """The parameters that it reads."""
        found: list[Tensor] = [parameter for module in modules for parameter in module.parameters()]
        for path in self.attributes:
            owner, _, name = path.rpartition(".")
            parameter = root.get_submodule(owner)._parameters.get(name)
            if parameter is not None:
                found.append(parameter)
        return found


def _version(values: Iterable[Tensor]) -> int:
    return sum(value._version for value in values)
