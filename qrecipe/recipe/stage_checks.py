"""Stages whose bits do not narrow down to the recipe's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from .findings import Finding, each_at, given_keys, mapping_at, value_at
from .places import KeyPath


def check_stage_bits(data: Any) -> Iterator[Finding]:
    """Bits of the last stage, more bits than before, and bits where there is nothing to narrow."""
    stages = list(each_at(data, "train", "stages"))
    places: list[KeyPath] = [(*path, "bits") for path, stage in stages if given_keys(stage, "bits")]
    if not places:
        return
    quantize = mapping_at(data, "quantize")
    if not given_keys(quantize, "weight", "activation", "attention") and not quantize.get("rules"):
        yield places[0], "nothing is quantized, so there are no bits to narrow", "give quantize.weight, or remove it"
    if value_at(data, "quantize", "reconstruct") is not None:
        what = "reconstruct learns a rounding to the recipe's own bits, and this stage begins with others"
        yield places[0], what, "remove one of the two"
    if given_keys(stages[-1][1], "bits"):
        what = "the last stage trains the student that is kept, with the bits that quantize says"
        yield places[-1], what, "remove it there, or add a stage without it"
    for (_, before), (path, stage) in pairwise(stages):
        old, new = before.get("bits"), stage.get("bits")
        if isinstance(new, int) and (old is None or (isinstance(old, int) and new > old)):
            told = "the recipe's own" if old is None else old
            yield (*path, "bits"), f"bits: {new} after a stage with {told}: stages narrow", "put the wider one first"
