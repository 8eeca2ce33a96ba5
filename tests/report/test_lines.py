from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from qrecipe.evaluation import Evaluation
from qrecipe.evaluation.coco import NUMBERS
from qrecipe.experiment.events import (
    BestChosen,
    CaptureEnded,
    CaptureStarted,
    DataRead,
    Event,
    ModelBuilt,
    Noted,
    PhaseStarted,
    PictureDrawn,
    RunEnded,
    Scored,
)
from qrecipe.report.lines import LINES, lines_of, notices_of
from qrecipe.run.summary import Summary

EVALUATION = Evaluation(**dict.fromkeys(NUMBERS, 0.25), per_class={})
SUMMARY = Summary("tiny", "test", ())


def test_every_kind_of_event_has_a_row() -> None:
    assert list(LINES) == list(get_args(Event))
    assert all(kind.__doc__ and kind.__dataclass_params__.frozen for kind in LINES)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (DataRead("val", 8, 20, ("a note",)), ["data: val has 8 images and 20 boxes", "data: val: a note"]),
        (ModelBuilt("teacher", "Detr", ("its head starts afresh",)), ["teacher: its head starts afresh"]),
        (ModelBuilt("model", "Detr"), []),
        (CaptureStarted("Detr"), ["capture: Detr as graphs for training and evaluation, checked at other sizes"]),
        (CaptureEnded("Detr", ("careful",)), ["capture: warning: careful"]),
        (CaptureEnded("Detr", notes=("kept",)), ["capture: kept"]),
        (PhaseStarted("teacher"), []),
        (Scored("val", "teacher", EVALUATION), ["val: teacher: AP 0.250, AP50 0.250"]),
        (BestChosen("student", 3, 4, 0.5), ["student: the best of 4 epochs is 3 (val AP 0.500)"]),
        (PictureDrawn(Path("a.png")), ["picture: a.png"]),
        (RunEnded(Path("run"), SUMMARY), []),
        (RunEnded(Path("run"), SUMMARY, already=True), ["this run is finished already, and is not repeated"]),
        (Noted("data", "not read"), ["data: not read"]),
    ],
)
def test_lines(event: Event, lines: list[str]) -> None:
    assert list(lines_of(event)) == lines


@pytest.mark.parametrize(
    ("event", "notices"),
    [
        (DataRead("val", 8, 20, ("a note",)), ["data: val: a note"]),
        (ModelBuilt("teacher", "Detr", ("its head starts afresh",)), ["teacher: its head starts afresh"]),
        (CaptureEnded("Detr", ("careful",), notes=("kept",)), ["capture: warning: careful"]),
        (Scored("val", "teacher", EVALUATION), []),
        (RunEnded(Path("run"), SUMMARY, already=True), ["this run is finished already, and is not repeated"]),
        (Noted("data", "not read"), ["data: not read"]),
        (Noted("sweep", "run 1 of 3: done", progress=True), []),
    ],
)
def test_what_is_told_in_any_case(event: Event, notices: list[str]) -> None:
    """``--quiet`` leaves these; each is one of the event's lines."""
    assert list(notices_of(event)) == notices
    assert set(notices) <= set(lines_of(event))
