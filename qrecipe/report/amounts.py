"""Numbers with three digits and a unit, and bits as the papers write them."""

from __future__ import annotations

from collections.abc import Iterable

OPERATIONS = """\
operations: multiply-accumulates (MACs) of one image, each counted as b/32,
  where b is the number of bits of its wider operand"""
"""What the word means in every table."""
ABSENT = "-"
BIT_OPERATIONS = """\
bit operations: MACs of one image, each counted as the bits of its weight times
  the bits of its activation (of both operands in attention); 32 x 32 if real"""


def amount(value: float) -> str:
    """A count with three digits and its unit: 81.2 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def tight(value: float) -> str:
    """The same without the space, for tables of many columns: 81.2G."""
    return amount(value).replace(" ", "")


def size(count: float) -> str:
    """Bytes with three digits and their unit: 2.89 MB."""
    text = amount(count)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def bits_text(weight: Iterable[int], activation: Iterable[int], attention: Iterable[int]) -> str:
    """W-A-Attention as in the papers: the bits that weights, activations and attention operands have.

    ``.`` where there is no such operand; ``real`` where none is quantized, 32 where only
    some are not.
    """
    kinds = [sorted(set(bits)) for bits in (weight, activation, attention)]
    if any(kinds) and {number for bits in kinds for number in bits} == {32}:
        return "real"
    return "-".join("/".join(map(str, bits)) or "." for bits in kinds)


def three_places(value: float | None) -> str:
    """A score in 0..1 with three places; a dash where there was nothing to find, which older runs keep as -1."""
    return ABSENT if value is None or value < 0 else f"{value:.3f}"


def share(own: float | None, whole: float | None) -> str:
    """``own`` as a part of ``whole`` in percent; a dash where either is absent, or ``whole`` is not above 0."""
    return ABSENT if own is None or whole is None or whole <= 0 else f"{own / whole:.1%}"
