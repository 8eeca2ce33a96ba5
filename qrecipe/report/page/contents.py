"""What a page says of a run, read from its folder: no model and no data are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...plain_text import printable
from ...run.files import read_json
from ...run.folder import RunFolder
from ...run.layout import PHASES, PLAN, RECIPE_TEXT
from ...run.summary import ROWS, STUDENTS, Summary
from ..amounts import ABSENT, amount, share, size, three_places
from .deployed import Table, deployed
from .evidence import Evidence, evidence_of
from .network import Network, network_of
from .svg import Line, line_chart

BEFORE_TEST = ("teacher", "calibrated", "reconstructed")
"""Phases that score a model on the validation split, named as its row is."""
Chart = tuple[str, str, tuple[tuple[str, int], ...]]
"""Title, SVG, names with their colours."""
COLOURS = {"teacher": 0, "start": 0, "control": 1, "calibrated": 3, "reconstructed": 4, "trained": 2}


@dataclass(frozen=True)
class Row:
    """One line of a page's first table: a model or a group of runs, its figures as text."""

    name: str
    figures: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        return self.name, *self.figures


@dataclass(frozen=True)
class ClassAP:
    """AP of one class, 0..1, or None."""

    name: str
    teacher: float | None
    student: float | None

    @property
    def loss(self) -> float:
        """How far the student is behind; -1 where that cannot be said."""
        return -1.0 if self.teacher is None or self.student is None else self.teacher - self.student


@dataclass(frozen=True)
class Card:
    """A figure that is read first."""

    title: str
    figure: str
    note: str


@dataclass(frozen=True)
class Contents:
    """All that stands on the page of one run. state: how far it is; finished: whether it is through.

    reference, last: what the classes compare. no_evidence: why there is
    none, where there could be.
    """

    name: str
    folder: str
    state: str
    finished: bool
    split: str
    cards: tuple[Card, ...]
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    recipe: str
    environment: str
    network: Network | None
    charts: tuple[Chart, ...]
    reference: str
    last: str
    classes: tuple[ClassAP, ...] = field(default=())
    evidence: Evidence | None = None
    no_evidence: str = ""
    deployed: tuple[Table, ...] = ()


PICTURES = 12
"""Images of a run that are shown."""


def contents_of(path: Path, pictures: int = PICTURES) -> Contents:
    """pictures: images that are shown at most.

    Raises:     RunError: the folder holds no run, or something in it is damaged.
    """
    run = RunFolder.read(path)
    recipe = run.recipe()
    plan = read_json(path / PLAN) if (path / PLAN).exists() else None
    records = run.metrics.read()
    phases = run.phases() if (path / PHASES).exists() else {}
    summary = run.summary() if run.is_finished else None
    scored, split = _scored(summary, phases, records)
    costs = _costs(summary, plan)
    reference = next((row for row in ("teacher", "start") if row in scored), "")
    last = next((row for row in STUDENTS if row in scored), "")
    title = {**ROWS, "start": "before training"} | ({"trained": "after training"} if reference == "start" else {})
    rows = tuple(Row(title[row], _figures(scored, row, costs.get(row, (None, None)))) for row in ROWS if row in scored)
    evidence = evidence_of(path, pictures)
    text = (path / RECIPE_TEXT).read_text(encoding="utf-8") if (path / RECIPE_TEXT).exists() else ""
    return Contents(
        name=printable(path.name),
        folder=printable(str(path)),
        state=_state(run, recipe, records, phases),
        finished=run.is_finished,
        split=split,
        cards=tuple(_cards(scored, costs, reference, last)),
        heads=("AP", "AP50", "AP75", "size", "operations", "of teacher", "of control"),
        rows=rows,
        notes=() if summary is None else summary.notes,
        recipe=printable(text, keep="\n"),
        environment=_environment(run),
        network=network_of(plan) if plan is not None else None,
        charts=tuple(_charts(records, phases)),
        reference=title.get(reference, ""),
        last=title.get(last, ""),
        classes=_classes(scored, reference, last),
        evidence=evidence,
        no_evidence="" if evidence else _no_evidence(run, plan, phases),
        deployed=deployed(path),
    )


Scores = Mapping[str, Mapping[str, Any]]


def _scored(
    summary: Summary | None, phases: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> tuple[Scores, str]:
    """Evaluations by row, and the split they are from: the summary's, or so far the validation split's."""
    if summary is not None:
        rows = {row.model: {**row.scores, "per_class": row.per_class} for row in summary.rows}
        return {name: scores for name, scores in rows.items() if len(scores) > 1}, summary.split
    found = {phase: phases[phase] for phase in BEFORE_TEST if phase in phases}
    for record in records:
        row = {"student": "trained", "control": "control"}.get(record["phase"], "")
        if row and record.get("val") and record.get("best"):
            found[row] = record["val"]
    return found, "val"


def _costs(summary: Summary | None, plan: Mapping[str, Any] | None) -> dict[str, tuple[float | None, float | None]]:
    """Bytes and operations by row."""
    if summary is not None:
        return {row.model: (row.bytes, row.operations) for row in summary.rows}
    if plan is None:
        return {}
    totals = plan["totals"]
    whole = totals["float_bytes"], float(totals["macs"])
    small = totals["bytes"], totals["operations"]
    return {row: whole if row in ("teacher", "start", "control") else small for row in ROWS}


def _figures(scored: Scores, row: str, cost: tuple[float | None, float | None]) -> tuple[str, ...]:
    own = scored[row]
    shares = [
        ABSENT if row == of or of not in scored else share(own.get("AP"), scored[of].get("AP"))
        for of in ("teacher", "control")
    ]
    return (
        *(three_places(own.get(name)) for name in ("AP", "AP50", "AP75")),
        ABSENT if cost[0] is None else size(cost[0]),
        ABSENT if cost[1] is None else amount(cost[1]),
        *shares,
    )


def _cards(
    scored: Scores, costs: Mapping[str, tuple[float | None, float | None]], reference: str, last: str
) -> list[Card]:
    row = last or reference
    if not row:
        return []
    of = [
        f"{share(scored[row].get('AP'), scored[other].get('AP'))} of the {other}'s {three_places(scored[other]['AP'])}"
        for other in ("teacher", "control")
        if other in scored and other != row
    ]
    if reference == "start" != row:  # there is no teacher: a share of an untrained model would say nothing
        of.insert(0, f"{three_places(scored['start'].get('AP'))} before training")
    cards = [Card("AP", three_places(scored[row].get("AP")), ", ".join(of))]
    own, whole = costs.get(row, (None, None)), costs.get(reference, (None, None))
    for title, mine, theirs, text in (
        ("size", own[0], whole[0], size),
        ("operations", own[1], whole[1], amount),
    ):
        if mine is not None:
            smaller = f"{theirs / mine:.1f}x fewer than {text(theirs)}" if theirs and mine < theirs else ""
            cards.append(Card(title, text(mine), smaller.replace("fewer", "smaller") if title == "size" else smaller))
    return cards


def _state(
    run: RunFolder, recipe: Mapping[str, Any], records: Sequence[Mapping[str, Any]], phases: Mapping[str, Any]
) -> str:
    if run.is_finished:
        return "finished"
    done = f"{', '.join(phases)} done" if phases else "begun"
    if records and records[-1]["phase"] not in phases:
        epochs = recipe.get("train", {}).get("epochs")
        return f"not finished: {records[-1]['phase']}, epoch {records[-1]['epoch']} of {epochs}"
    return f"not finished: {done}"


def _environment(run: RunFolder) -> str:
    starts = run.starts()
    first = starts[0]
    packages = first.get("packages", {})
    told = [f"qrecipe {packages.get('qrecipe', '?')}", f"torch {packages.get('torch', '?')}"]
    told += [str(first.get("cpu", "")), *map(str, first.get("gpus", ()))]
    told += [f"started {first.get('started', '?')}", *([f"{len(starts)} starts"] if len(starts) > 1 else [])]
    return printable(", ".join(part for part in told if part))


def _no_evidence(run: RunFolder, plan: Mapping[str, Any] | None, phases: Mapping[str, Any]) -> str:
    if plan is None or not plan["totals"]["quantizers"]:
        return ""
    if not run.is_finished:
        return "Detections, noise and queries are looked at when the run is through."
    failed = phases.get("evidence", {}).get("failed")
    why = f" ({failed})" if failed else ""
    return printable(
        f"Nobody has looked at this run's detections, noise and queries{why}: "
        f"qrecipe report {run.path} --evidence does, where its data and weights are."
    )


def _charts(records: Sequence[Mapping[str, Any]], phases: Mapping[str, Any]) -> list[Chart]:
    """AP and loss over epochs; only what has points."""
    runs = [("student", "trained"), ("control", "control"), ("reconstruction", "reconstructed")]
    by_phase = {phase: [one for one in records if one["phase"] == phase] for phase, _ in runs}
    longest = max((one["epoch"] for one in records), default=0)
    if not longest:
        return []
    scores = [
        Line(phase, [(one["epoch"], one["val"]["AP"]) for one in by_phase[phase] if _has_ap(one)], COLOURS[row])
        for phase, row in runs
    ]
    levels = [
        Line(phase, [(1, phases[phase]["AP"]), (max(longest, 2), phases[phase]["AP"])], COLOURS[phase], dashed=True)
        for phase in BEFORE_TEST
        if phases.get(phase, {}).get("AP") is not None
    ]
    losses = [
        Line(phase, [(one["epoch"], one["loss"]) for one in by_phase[phase] if _finite(one["loss"])], COLOURS[row])
        for phase, row in runs
    ]
    drawn: list[Chart] = []
    for title, lines in (("AP on the validation split", [*scores, *levels]), ("Training loss", losses)):
        there = [line for line in lines if line.points]
        chart = line_chart(title, "epoch", there)
        if chart:
            drawn.append((title, chart, tuple((line.name, line.colour) for line in there)))
    return drawn


def _has_ap(record: Mapping[str, Any]) -> bool:
    return bool(record.get("val")) and record["val"].get("AP") is not None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _classes(scored: Scores, reference: str, last: str) -> tuple[ClassAP, ...]:
    if not reference or not last:
        return ()
    whole, own = scored[reference].get("per_class", {}), scored[last].get("per_class", {})
    found = [ClassAP(printable(name), whole[name], own.get(name)) for name in whole]
    return tuple(sorted(found, key=lambda one: -one.loss))
