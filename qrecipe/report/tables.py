"""Tables in a terminal: a run's summary, an evaluation, the optimizer's groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from ..evaluation.coco import NUMBERS, Evaluation
from ..plain_text import short
from ..run.summary import ROWS, Summary, SummaryRow
from ..train.optimizer import ParameterGroup
from .amounts import ABSENT, OPERATIONS, amount, size, three_places
from .table import compact

SHOWN = ("AP", "AP50")
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


def summary_tables(summary: Summary) -> Iterator[Table | str]:
    """A row per model that the run has, and what the words mean.

    AP, AP50, size in bytes, operations, and its AP as a share of the teacher's and of the control's; a share that no
    row has is left out. Operations are multiply-accumulates of one image, each counted as b/32 with b the bits of its
    wider operand, so that a real-valued one counts 1.
    """
    rows = _ordered(summary)
    shares = {of: [_share(summary, row, of) for row in rows] for of in ("teacher", "control")}
    shares = {of: values for of, values in shares.items() if set(values) != {ABSENT}}
    heads = (*SHOWN, "size", "operations", *(f"of {of}" for of in shares))
    mark = " (SMOKE TEST)" if summary.smoke_test else ""
    table = compact(f"{summary.recipe}: {summary.split} split{mark}", "model", figures=heads)
    for index, row in enumerate(rows):
        table.add_row(
            summary.title(row),
            *(three_places(row.scores.get(name)) for name in SHOWN),
            ABSENT if row.bytes is None else size(row.bytes),
            ABSENT if row.operations is None else amount(row.operations),
            *(values[index] for values in shares.values()),
        )
    yield table
    control = "\ncontrol: the teacher, trained on for the student's own budget" if summary.row("control") else ""
    yield OPERATIONS + control


def evaluation_tables(evaluation: Evaluation, title: str) -> Iterator[Table]:
    """The twelve numbers, and AP per class, of one evaluation. title: what was evaluated."""
    numbers = compact(title, "number", "over", figures=("value",))
    for name in NUMBERS:
        numbers.add_row(name, WHAT[name], three_places(getattr(evaluation, name)))
    yield numbers
    classes = compact("AP per class", "class", figures=("AP",))
    for name, value in evaluation.per_class.items():
        classes.add_row(short(name), three_places(value))
    yield classes


def group_table(groups: Sequence[ParameterGroup]) -> Table:
    """What the optimizer trains: a row per parameter group."""
    heads = ("learning rate", "weight decay", "tensors", "parameters")
    table = compact("Parameter groups", "group", figures=heads)
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
