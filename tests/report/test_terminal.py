from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from qrecipe.cli.console import narrator
from qrecipe.evaluation.coco import NUMBERS, Evaluation
from qrecipe.report.progress import duration, epoch_line, parts_text, step_line, training_display
from qrecipe.report.tables import WHAT, evaluation_tables, group_table, summary_tables
from qrecipe.run.summary import Summary, SummaryRow
from qrecipe.train.events import EpochEnded, StepTaken, TrainingEvent, TrainingStarted
from qrecipe.train.optimizer import ParameterGroup

PARTS = {"detection": 3.0, "loss_ce_0": 1.0, "distill[x]": 0.5}
GROUPS = (ParameterGroup("backbone", 1e-5, 1e-4, 3, 12345, ("a", "b", "c")),)


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=160, _environ={}), out


def progress(epoch: int, step: int) -> StepTaken:
    return StepTaken("student", "full", epoch, 2, step, 4, 3.5, PARTS, 1e-4, 125.0)


def started() -> TrainingEvent:
    return TrainingStarted("student", 2, 0, 4, GROUPS)


def record(epoch: int, val: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "phase": "student", "epoch": epoch, "stage": "full", "loss": 3.5, "parts": PARTS, "val": val,
        "best": val is not None, "seconds": 10.2, "seconds_evaluation": 2.0,
    }  # fmt: skip


def run(terminal: bool, clock: Iterator[float]) -> str:
    target, out = console(terminal)
    with training_display(target, clock=lambda: next(clock)) as display:
        listen = narrator(target, display)
        for _ in range(2):  # a student, then its control
            listen(started())
            for epoch in (1, 2):
                for step in range(1, 5):
                    listen(progress(epoch, step))
                listen(EpochEnded(record(epoch, {"AP": 0.25, "AP50": 0.5} if epoch == 2 else None), 2))
    return out.getvalue()


def test_lines_where_there_is_no_terminal() -> None:
    seconds = iter(range(0, 10_000, 6))
    text = run(False, (float(value) for value in seconds))
    assert "\x1b" not in text
    assert "full: epoch 1/2, step 1/4: loss 3.5 (detection 3, distill[x] 0.5), lr 0.0001, 2 min 5 s left" in text
    assert text.count("epoch 1/2 (full): loss 3.5 (detection 3, distill[x] 0.5), 12 s\n") == 2
    assert text.count("epoch 2/2 (full): loss 3.5 (detection 3, distill[x] 0.5), val AP 0.250, AP50 0.500, the b") == 2
    assert 4 <= text.count(", step ") < 16
    assert text.count("12,345") == 2


def test_bars_in_a_terminal() -> None:
    text = run(True, iter(()))
    assert "epochs" in text
    assert "steps" in text
    assert "distill[x]" in text
    assert text.count("val AP 0.250") == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_ends_with_an_error(terminal: bool) -> None:
    target, _ = console(terminal)

    def train() -> None:
        with training_display(target) as display:
            display(started())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    with target.status("another live display is possible"):
        pass


def test_texts() -> None:
    assert [duration(s) for s in (-1, 0.4, 59.4, 59.6, 725, 12000)] == [
        "0 s", "0 s", "59 s", "1 min 0 s", "12 min 5 s", "3 h 20 min",
    ]  # fmt: skip
    assert parts_text({}) == ""
    assert parts_text({"a": None, "b": 2.0}) == " (b 2)"
    assert parts_text(dict.fromkeys("abcdefgh", 1.0)).count("1") == 5
    assert step_line(progress(1, 2)).startswith("full: epoch 1/2, step 2/4")
    assert "val" not in epoch_line(record(1), 2)


def shown(*tables: Any) -> str:
    target, out = console(False)
    for table in tables:
        target.print(table)
    return out.getvalue()


def row(text: str, head: str) -> list[str]:
    """The cells of the row whose first cell is ``head``."""
    (cells,) = [cells for line in text.splitlines() if (cells := re.split(r"\s{2,}", line.strip()))[0] == head]
    return cells


def test_the_summary() -> None:
    rows = (
        SummaryRow("trained", {"AP": 0.45, "AP50": 0.7, "AP75": 0.5}, {"cat": 0.45}, 2.5e6, 1.5e9),
        SummaryRow("teacher", {"AP": 0.5, "AP50": 0.75, "AP75": -1.0}, {"cat": 0.5, "dog": 0.1}, 2e7, 1e10),
        SummaryRow("control", {"AP": 0.48}),
        SummaryRow("calibrated", {"AP": 0.0}),
    )
    summary = Summary("tiny", "test", rows)
    text = shown(*summary_tables(summary))
    assert row(text, "model") == ["model", "AP", "AP50", "size", "operations", "of teacher", "of control"]
    assert row(text, "student, trained") == [
        "student, trained", "0.450", "0.700", "2.5 MB", "1.5 G", "90.0%", "93.8%",
    ]  # fmt: skip
    assert row(text, "teacher") == ["teacher", "0.500", "0.750", "20 MB", "10 G", "-", "104.2%"]
    assert row(text, "student, calibrated")[-2:] == ["0.0%", "0.0%"]
    order = [text.index(f"\n{name}") for name in ("teacher", "control ", "student, calibrated", "student, trained")]
    assert order == sorted(order)
    assert "control: the teacher, trained on" in text


def test_a_summary_without_a_student() -> None:
    rows = (
        SummaryRow("trained", {"AP": 0.4, "AP50": 0.6}),
        SummaryRow("start", {"AP": 0.1, "AP50": 0.2}, {}, 400, 9.0),
    )
    text = shown(*summary_tables(Summary("teacher", "val", rows)))
    assert row(text, "model") == ["model", "AP", "AP50", "size", "operations"]
    assert row(text, "before training") == ["before training", "0.100", "0.200", "400 B", "9"]
    assert row(text, "after training") == ["after training", "0.400", "0.600", "-", "-"]
    assert "control" not in text


def test_the_widest_summary_fits_a_plain_terminal() -> None:
    models = ("teacher", "control", "calibrated", "trained")
    rows = tuple(SummaryRow(name, {"AP": 0.434, "AP50": 0.634}, {}, 166.4e6, 999.4e9) for name in models)
    out = io.StringIO()
    target = Console(file=out, width=80, _environ={})
    for part in summary_tables(Summary("detr_r50_w4a4", "test", rows)):
        target.print(part)
    assert [line for line in out.getvalue().splitlines() if "student, calibrated" in line and "100.0%" in line]
    assert len(out.getvalue().splitlines()) == 10


def test_an_evaluation() -> None:
    evaluation = Evaluation(*(index / 100 for index in range(1, 13)), per_class={"cat": 0.3, "dog": -1.0})
    text = shown(*evaluation_tables(evaluation, "tiny, trained: val split"))
    for index, name in enumerate(NUMBERS, start=1):
        assert row(text, name) == [name, WHAT[name], f"{index / 100:.3f}"]
    assert row(text, "dog") == ["dog", "-"]


def test_the_groups() -> None:
    assert row(shown(group_table(GROUPS)), "backbone") == ["backbone", "1e-05", "0.0001", "3", "12,345"]
