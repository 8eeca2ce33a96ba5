"""The figures that a run ends with, from the scores of its models and the costs of its plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..planning import Cost, cost_of
from ..recipe.definition import Recipe
from ..run.summary import STUDENTS, Summary, SummaryRow
from .experiment import Experiment


def summary_split(experiment: Experiment) -> str:
    """The test split, or the one that selected, where there is no other."""
    return "test" if "test" in experiment.workspace.data else "val"


def summarise(experiment: Experiment, scores: Mapping[str, Mapping[str, Any]]) -> Summary:
    """scores: evaluations as plain data, by row."""
    plan = experiment.student.plan
    own, real = cost_of(plan), cost_of(experiment.teacher.plan)
    rows = tuple(_row(name, result, own if name in STUDENTS else real) for name, result in scores.items())
    split = summary_split(experiment)
    notes = [] if split == "test" else ["the recipe names no test split: these scores are from val, which selected"]
    took = experiment.run.phases().get("student", {}).get("epochs", experiment.recipe.train.epochs)
    if took < experiment.recipe.train.epochs:
        notes.append(stopped_early(took, experiment.recipe))
    limits = experiment.recipe.limits
    if limits:
        notes.insert(0, f"a smoke test, of {' and '.join(limits)}: these are not the recipe's figures")
    return Summary(experiment.recipe.name, split, rows, (*notes, *plan.notes), smoke_test=bool(limits))


def stopped_early(epochs: int, recipe: Recipe) -> str:
    """What is to be said of a training that patience ended."""
    return f"training ended after epoch {epochs} of {recipe.train.epochs} (train.patience: {recipe.train.patience})"


def _row(name: str, result: Mapping[str, Any], cost: Cost) -> SummaryRow:
    scores = {key: value for key, value in result.items() if key != "per_class"}
    return SummaryRow(name, scores, result["per_class"], cost.bytes, cost.operations)
