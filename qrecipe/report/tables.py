"""Tables in a terminal: a run's summary, an evaluation, the optimizer's groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from ..evaluate.coco import NUMBERS, Evaluation
from ..run.summary import ROWS, Summary, SummaryRow
from ..train.optimizer import ParameterGroup
from .plan import amount

ABSENT = "-"
SHOWN = ("AP", "AP50", "AP75")
WHAT: dict[str, str] = {
    "AP": "IoU 0.50:0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "small, area < 32²",
    "APm": "medium",
    "APl": "large, area > 96²",
    "AR1": "1 detection per image",
    "AR10": "10 detections per image",
    "AR100": "100 detections per image",
    "ARs": "small",
    "ARm": "medium",
    "ARl": "large",
}
"""What each of COCO's numbers is over."""


def summary_table(summary: Summary) -> Table:
    """A row per model that the run has: scores, size, operations, share of teacher's and control's AP."""
    table = Table(title=f"{summary.recipe}: {summary.split} split")
    table.add_column("model")
    for name in (*SHOWN, "size", "operations", "of teacher", "of control"):
        table.add_column(name, justify="right")
    for row in _ordered(summary):
        table.add_row(
            ROWS.get(row.model, row.model),
            *(_score(row.scores.get(name)) for name in SHOWN),
            ABSENT if row.bytes is None else f"{row.bytes / 1e6:.2f} MB",
            ABSENT if row.operations is None else amount(row.operations),
            _share(summary, row, "teacher"),
            _share(summary, row, "control"),
        )
    return table


def comparison_tables(summary: Summary) -> Iterator[Table]:
    """The twelve numbers, and AP per class, a column per model."""
    rows = _ordered(summary)
    heads = [ROWS.get(row.model, row.model) for row in rows]
    yield _numbers(heads, [row.scores for row in rows])
    yield _classes(heads, [row.per_class for row in rows])


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    """The twelve numbers, and AP per class, of one evaluation."""
    scores = {name: getattr(evaluation, name) for name in NUMBERS}
    yield _numbers(["value"], [scores])
    yield _classes(["AP"], [evaluation.per_class])


def group_table(groups: Sequence[ParameterGroup]) -> Table:
    """What the optimizer trains: a row per parameter group."""
    table = Table(title="Parameter groups")
    table.add_column("group")
    for name in ("learning rate", "weight decay", "tensors", "parameters"):
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(
            group.name, f"{group.lr:g}", f"{group.weight_decay:g}", str(group.tensors), f"{group.parameters:,}"
        )
    return table


def _ordered(summary: Summary) -> list[SummaryRow]:
    order = list(ROWS)
    return sorted(summary.rows, key=lambda row: order.index(row.model) if row.model in ROWS else len(order))


def _share(summary: Summary, row: SummaryRow, of: str) -> str:
    share = None if row.model == of else summary.share(row, of)
    return ABSENT if share is None else f"{share:.1%}"


def _numbers(heads: Sequence[str], columns: Sequence[Mapping[str, float]]) -> Table:
    table = Table(title="COCO's twelve numbers")
    table.add_column("number")
    table.add_column("over")
    for head in heads:
        table.add_column(head, justify="right")
    for name in NUMBERS:
        table.add_row(name, WHAT[name], *(_score(column.get(name)) for column in columns))
    return table


def _classes(heads: Sequence[str], columns: Sequence[Mapping[str, float]]) -> Table:
    table = Table(title="AP per class")
    table.add_column("class")
    for head in heads:
        table.add_column(head, justify="right")
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(_score(column.get(name)) for column in columns))
    return table


def _score(value: float | None) -> str:
    """Three places; a dash where there is nothing to find, which COCO's tools write as -1."""
    return ABSENT if value is None or value < 0 else f"{value:.3f}"
