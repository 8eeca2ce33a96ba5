"""A plan as a picture of the network: every operation in its order, as wide as its share, coloured by its bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..amounts import amount, bits_text
from .svg import label

REAL = 32
STRIP = 1000
THINNEST = 0.6
"""Of the strip's 1000 units: what costs next to nothing can still be seen."""


@dataclass(frozen=True)
class Stretch:
    """Operations of one role that follow one another.

    share: of all multiply-accumulates. bits: W-A-Attention. strip: its operations as SVG. macs: as text.
    """

    role: str
    share: float
    macs: str
    bits: str
    size: str
    strip: str


@dataclass(frozen=True)
class Network:
    """whole: all operations as one strip. stretches: role by role. bits: those that occur, for the legend."""

    whole: str
    stretches: tuple[Stretch, ...]
    bits: tuple[int, ...]


def network_of(plan: Mapping[str, Any]) -> Network:
    """plan: what ``plan.json`` keeps."""
    widths = {site["name"]: site["spec"]["bits"] if site["spec"] else REAL for site in plan["sites"]}
    pieces = [piece for operation in plan["operations"] if (piece := _piece(operation, widths)).macs]
    total = max(sum(piece.macs for piece in pieces), 1)
    by_role: dict[str, list[_Piece]] = {}
    for piece in pieces:
        by_role.setdefault(piece.role, []).append(piece)
    described = {part["role"]: part for part in plan["by_role"]}
    stretches = [
        Stretch(
            role,
            sum(piece.macs for piece in own) / total,
            amount(sum(piece.macs for piece in own)),
            bits_text(*(described[role]["bits"].get(kind, ()) for kind in ("weight", "activation", "attention"))),
            amount(described[role]["bytes"]) + "B",
            _strip(f"{role}: operations by bits", own),
        )
        for role, own in by_role.items()
    ]
    used = sorted({bits for piece in pieces for bits in (piece.left, piece.right)}, reverse=True)
    return Network(_strip("All operations of the network, coloured by bits", pieces), tuple(stretches), tuple(used))


@dataclass(frozen=True)
class _Piece:
    """One operation: the bits of its activation (left) and of its weight, or of its other operand (right)."""

    name: str
    operator: str
    role: str
    macs: int
    left: int
    right: int


def _piece(operation: Mapping[str, Any], widths: Mapping[str, int]) -> _Piece:
    products = operation["products"]
    sides = [(widths.get(one["left"], REAL), widths.get(one["right"], REAL)) for one in products] or [(REAL, REAL)]
    macs = sum(one["macs"] for one in products)
    left, right = max(one for one, _ in sides), max(one for _, one in sides)
    return _Piece(operation["name"], operation["operator"], operation["role"], macs, left, right)


def _strip(title: str, pieces: list[_Piece]) -> str:
    """Upper half: bits of the weight; lower half: of the activation."""
    total = sum(piece.macs for piece in pieces)
    wide = [max(piece.macs / total * STRIP, THINNEST) for piece in pieces]
    scale, x, parts = STRIP / sum(wide), 0.0, []
    for piece, own in zip(pieces, wide, strict=True):
        width = own * scale
        told = (
            f"{piece.name} ({piece.operator}): {amount(piece.macs)} MACs, "
            f"{_words(piece.right)} times {_words(piece.left)}"
        )
        parts.append(
            f"<g><title>{label(told)}</title>"
            f'<rect class="b{piece.right}" x="{x:.2f}" y="0" width="{width:.2f}" height="20"/>'
            f'<rect class="b{piece.left}" x="{x:.2f}" y="20" width="{width:.2f}" height="20"/>'
            f'<rect class="cut" x="{x:.2f}" y="0" width="1" height="40"/></g>'
        )
        x += width
    body = "".join(parts)
    return (
        f'<svg class="strip" viewBox="0 0 {STRIP} 40" preserveAspectRatio="none" role="img" '
        f'aria-label="{label(title)}">{body}</svg>'
    )


def _words(bits: int) -> str:
    return "real" if bits == REAL else f"{bits} bits"
