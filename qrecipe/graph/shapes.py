"""Symbolic shapes of a captured graph, and their values at a given input size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy
import torch
from torch import Tensor, fx

Extent: TypeAlias = "sympy.Expr | int"


def shape_of(node: Any) -> tuple[Extent, ...] | None:
    """The node's shape, with sympy expressions for what depends on the input; None where it is no tensor."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor):
        return None
    sizes: tuple[Any, ...] = tuple(value.shape)
    return tuple(size.node.expr if isinstance(size, torch.SymInt) else int(size) for size in sizes)


def is_number(extent: Extent) -> bool:
    """Whether an extent is the same at every input size."""
    return not isinstance(extent, sympy.Expr) or bool(extent.is_number)


def is_float(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, Tensor) and value.is_floating_point()


@dataclass(frozen=True)
class Symbols:
    """The symbols of one graph's batch, height and width."""

    batch: sympy.Symbol | None
    height: sympy.Symbol | None
    width: sympy.Symbol | None

    @staticmethod
    def of(graph: fx.Graph) -> Symbols:
        """Read them from the first image-like input, (batch, channels, height, width)."""
        for node in graph.nodes:
            shape = shape_of(node) if node.op == "placeholder" else None
            if shape is not None and len(shape) == 4:
                found = [extent if isinstance(extent, sympy.Symbol) else None for extent in shape]
                return Symbols(found[0], found[2], found[3])
        return Symbols(None, None, None)

    def spatial(self, shape: tuple[Extent, ...] | None) -> bool:
        """Whether a shape depends on the image's height or width."""
        mine = {symbol for symbol in (self.height, self.width) if symbol is not None}
        return any(isinstance(extent, sympy.Expr) and extent.free_symbols & mine for extent in shape or ())

    def batched(self, shape: tuple[Extent, ...] | None) -> bool:
        return bool(shape) and any(
            isinstance(extent, sympy.Expr) and self.batch in extent.free_symbols for extent in shape or ()
        )

    def per_image(self, extent: Extent) -> int | None:
        """How many times the batch an extent is; None where it is no whole multiple of it."""
        if self.batch is None or not isinstance(extent, sympy.Expr):
            return None
        count = sympy.simplify(extent / self.batch)
        return int(count) if count.is_Integer else None

    def at(self, shape: tuple[Extent, ...], batch: int, height: int, width: int) -> tuple[int, ...]:
        """The shape's numbers at one input size."""
        values = {
            symbol: value
            for symbol, value in ((self.batch, batch), (self.height, height), (self.width, width))
            if symbol is not None
        }
        return tuple(int(extent.subs(values)) if isinstance(extent, sympy.Expr) else int(extent) for extent in shape)

    def text(self, shape: tuple[Extent, ...] | None) -> str:
        """The shape for people: ``batch`` for the batch, ``*`` for what depends on the image's size."""
        parts = []
        for extent in shape or ():
            if is_number(extent):
                parts.append(str(extent))
            elif self.spatial((extent,)):
                parts.append("*")
            else:
                parts.append(str(extent).replace(str(self.batch), "batch"))
        return "x".join(parts) or "scalar"
