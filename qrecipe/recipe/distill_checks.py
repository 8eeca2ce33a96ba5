"""Keys of a distillation target that contradict one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..vocabulary import LOGITS, MAPS, PREDICTIONS
from .distill_table import LOSSES, MATCHERS, compared, losses_of
from .findings import Finding, each_at, either, mapping_at, value_at
from .places import KeyPath


def check_targets(data: Any) -> Iterator[Finding]:
    """A loss, layers or keys of a match that do not go with what the target compares."""
    for path, target in each_at(data, "distill", "targets"):
        at = target.get("at")
        if isinstance(at, str):
            yield from _loss(path, target, at)
            if at in PREDICTIONS and target.get("layers") == "all":
                what = f"{at} is what the last decoder layer leads to: there are no others' to compare"
                yield (*path, "layers"), what, "remove it"
            if target.get("project") is not None and at in (*PREDICTIONS, LOGITS):
                what = f"{at} has no width that could differ: there are no channels to project"
                yield (*path, "project"), what, "remove it"
            if at in MAPS:
                yield from _map(data, path, target, at)
        yield from _match(path, target)


def _loss(path: KeyPath, target: Mapping[str, Any], at: str) -> Iterator[Finding]:
    loss, able = target.get("loss", "l2"), losses_of(compared(at))
    if isinstance(loss, str) and loss in LOSSES and loss not in able:
        place = (*path, "loss") if "loss" in target else path
        yield place, f"{loss} does not compare {compared(at)}, which {at} has", f"set loss: {either(able)}"


def _map(data: Any, path: KeyPath, target: Mapping[str, Any], at: str) -> Iterator[Finding]:
    if target.get("match") is not None:
        yield (*path, "match"), f"{at} is compared where it is: there are no queries to match", "remove it"
    for key in ("equalize", "smooth"):
        if value_at(data, "quantize", key):
            what = f"{key} scales the student's channels, and {at} compares them with the teacher's"
            yield ("quantize", key), what, "remove one of the two"


def _match(path: KeyPath, target: Mapping[str, Any]) -> Iterator[Finding]:
    match = mapping_at(target, "match")
    kind = match.get("kind")
    for key in sorted(set(match) - {"kind"}) if isinstance(kind, str) and kind in MATCHERS else ():
        readers = [name for name, row in MATCHERS.items() if key in row.reads]
        if readers and kind not in readers:
            yield (*path, "match", key), f"{key} is only for kind: {either(readers)}", "remove it"
