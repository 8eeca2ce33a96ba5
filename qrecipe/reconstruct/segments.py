"""A graph cut into its blocks, each a function of what it reads: values flow through one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..graph.choices import CHOICES
from ..graph.parts import Part, copied, parts_of
from ..graph.program import function_of, mutates
from ..structure.blocks import Block, find_blocks, up_to_last_weighted

Values = dict[str, Any]
"""Values by their node's name: tensors, and sizes as plain numbers."""


@dataclass(frozen=True)
class Segment:
    """One block as a function.

    reads: what it takes from inputs and earlier blocks. writes: what later ones and the model's output take from it.
    last: of ``reads``, what nothing needs afterwards. mutates: whether a call in it writes into its operand.
    """

    block: Block
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    last: tuple[str, ...]
    mutates: bool
    function: Callable[..., Any]

    def run(self, root: nn.Module, values: Mapping[str, Any]) -> Values:
        """What the block writes, with the parts of ``root`` as they are now. What it reads stays as it is."""
        read = [values[name] for name in self.reads]
        if self.mutates:
            read = [value.clone() if isinstance(value, Tensor) else value for value in read]
        return dict(zip(self.writes, self.function(root, *read), strict=True))

    @torch.no_grad()
    def constants(self, root: nn.Module, values: Mapping[str, Any]) -> Values:
        """The same without gradients, whatever of it is a parameter."""
        written = self.run(root, values)
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in written.items()}

    def operand(self, node: fx.Node, index: int = 0) -> Callable[[nn.Module, Mapping[str, Any]], Any]:
        """What one of the block's operations takes in there, as a function of what ``run`` takes."""
        nodes = self.block.nodes[: self.block.nodes.index(node)]
        own = node.args[index]
        assert isinstance(own, fx.Node)
        graph, made = copied(nodes, self.reads)
        graph.output((made[own.name],))
        part = replace(self, writes=(own.name,), function=function_of(graph, f"block {self.block.name}"))
        return lambda root, values: part.constants(root, values)[own.name]

    @property
    def calls(self) -> tuple[str, ...]:
        """The modules that it calls, by their paths: fake quantizers, alignments and others, each once."""
        return tuple(dict.fromkeys(str(node.target) for node in self.block.nodes if node.op == "call_module"))


def cut(graph: fx.Graph, *, whole: bool = False) -> tuple[Segment, ...]:
    """The blocks of a graph up to the last one with a weighted operation.

    whole: all of them; what a choice among places is made by is then written too.
    """
    blocks = find_blocks(graph) if whole else up_to_last_weighted(find_blocks(graph))
    chosen_by = {node.args[0] for node in graph.nodes if whole and node.target in CHOICES}
    parts = parts_of(graph, [block.nodes for block in blocks], chosen_by)
    return tuple(_segment(block, part) for block, part in zip(blocks, parts, strict=True))


def _segment(block: Block, part: Part) -> Segment:
    return Segment(
        block,
        tuple(node.name for node in part.reads),
        tuple(node.name for node in part.writes),
        tuple(node.name for node in part.last),
        any(mutates(node) for node in block.nodes),
        function_of(part.graph(), f"block {block.name}"),
    )


def is_compared(value: Any) -> bool:
    """Whether a value is one of features: a floating-point tensor of some size."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1
