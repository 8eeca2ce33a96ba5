"""Holding the recipes of a sweep to their models before any run begins: rules that match nothing, widths, roles."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PlanErrors, QRecipeError
from ..experiment.binding import same_model
from ..experiment.events import Listener, Noted
from ..experiment.workspace import Workspace
from ..recipe.problems import problems_of
from ..student import make_plan
from .planned import PlannedRun


def check_plans(runs: Sequence[PlannedRun], cache: bool, listener: Listener) -> None:
    """Make the plan of one run of each group. Each model is captured once; a single run says so itself.

    Args:
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        PlanErrors: everything that does not fit, in all recipes, or keeps a model from being built.
    """
    if len(runs) < 2:
        return
    firsts = {run.group: run for run in reversed(runs)}
    models: list[Workspace] = []
    problems: dict[str, QRecipeError] = {}
    for run in reversed(firsts.values()):
        workspace = next((known for known in models if same_model(known.recipe, run.recipe)), None)
        try:
            if workspace is None:
                workspace = Workspace(run.recipe, ("train",), listener, cache=cache)
                models.append(workspace)
            make_plan(workspace.original, run.recipe)
        except QRecipeError as error:
            problems.update({str(problem): problem for problem in problems_of(error)})
    if problems:
        raise PlanErrors(list(problems.values()))
    listener(
        Noted("sweep", f"{len(firsts)} plan{'s fit their' if len(firsts) > 1 else ' fits its'} models", progress=True)
    )
