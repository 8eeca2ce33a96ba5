"""What a sensitivity analysis and a search of bits found, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from ..experiment.search_bits import Found, Point
from ..plain_text import printable
from ..sensitivity_analysis import Measured, Sensitivity
from .amounts import share, three_places
from .table import compact


def sensitivity_tables(found: Sensitivity) -> Iterator[Table | str]:
    """A table for each width, the costliest part first."""
    scored = found.AP_real is not None
    for bits in sorted(found.whole, reverse=True):
        figures = ("MACs", "alone", *(("AP",) if scored else ()), "gives back", *(("AP without",) if scored else ()))
        table = compact(f"{bits} bits, by {found.by}", "part", figures=figures)
        for row in found.at(bits):
            table.add_row(*_cells(row, scored))
        whole = found.whole[bits]
        score = (three_places(whole.AP),) if scored else ()
        table.add_section()
        table.add_row("everything", "", f"{whole.distance:.3g}", *score, "", *(("",) if scored else ()))
        yield table
    yield (
        f"alone: distance to the real-valued model's predictions on {found.images} images of training, where only\n"
        "  this part is quantized: divergence of class probabilities, plus L1 and 1 - GIoU of boxes\n"
        "gives back: by how much the distance of everything falls where this part is left real-valued"
    )
    if found.AP_real is not None:
        yield f"the real-valued model's AP on the validation split is {found.AP_real:.3f}"


def _cells(row: Measured, scored: bool) -> list[str]:
    alone, without = ((three_places(one.AP),) if scored else () for one in (row.alone, row.without))
    return [
        printable(row.part),
        f"{row.macs:.1%}",
        f"{row.alone.distance:.3g}",
        *alone,
        f"{row.gives_back:.3g}",
        *without,
    ]


def search_tables(found: Found) -> Iterator[Table | str]:
    """The front, what was chosen beside uniform widths, and the rules."""
    kind = found.budget.kind.replace("_", " ")
    table = compact(f"{kind}, by {found.by}", "bits", figures=("share", "distance", "expected"))
    for point in sorted((*found.front, *found.uniform), key=lambda point: (point.share, point.distance)):
        expected = "" if point.expected is None else f"{point.expected:.3g}"
        table.add_row(point.name, f"{point.share:.4f}", f"{point.distance:.3g}", expected)
    yield table
    figures = ("share", "distance", *(("AP", "of real-valued") if found.AP_real is not None else ()))
    table = compact(f"within {found.budget}", "bits", figures=figures)
    for point in (found.chosen, *([found.rival] if found.rival is not None else [])):
        table.add_row(*_scored(point, found.AP_real))
    yield table
    rules = [f"  {_rule(rule.to_dict())}" for rule in found.rules]
    yield "\n".join(["rules that say it, the last that matches decides:", *rules])
    yield verdict(found)


def verdict(found: Found) -> str:
    """Whether the search was worth it, in a sentence."""
    rival = found.rival
    if rival is None:
        return f"no uniform width is within {found.budget}, so there is nothing to compare with"
    than = f"{rival.name} ({found.chosen.distance:.3g} against {rival.distance:.3g})"
    if found.wins:
        return f"the searched bits are nearer to the real-valued model than {than}"
    return f"warning: the searched bits are NOT nearer to the real-valued model than {than}: keep {rival.name}"


def _scored(point: Point, real: float | None) -> list[str]:
    scores = [] if real is None else [three_places(point.AP), share(point.AP, real)]
    return [point.name, f"{point.share:.4f}", f"{point.distance:.3g}", *scores]


def _rule(rule: dict[str, object]) -> str:
    match = rule["match"]
    patterns = " and ".join(match) if isinstance(match, list) else str(match)
    bits = [
        f"{kind} {value['bits'] if isinstance(value, dict) else value}"
        for kind, value in rule.items()
        if kind != "match"
    ]
    return printable(f"{patterns}: {', '.join(bits)}")
