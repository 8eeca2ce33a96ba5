"""The search of bits under a budget: what every choice costs, the program's answer, and how it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..bit_allocation import Allocation, Budget, Choice, allocate, cheapest, choices_of, require_within, rules_for
from ..bit_allocation.choices import Granularity
from ..bit_allocation.program import ROUNDING, Width
from ..bit_allocation.rules import BitRule
from ..errors import SearchError
from ..planning import Plan, cost_of
from ..recipe.definition import QuantizerSpec
from ..sensitivity_analysis.gauge import at_width
from ..student import make_plan
from .trials import Trials

POINTS = 6
"""Budgets of the front, beside those of the uniform recipes and the one that was asked for."""


@dataclass(frozen=True)
class Point:
    """A way to spend bits. share: what it has of the budget's kind. distance: measured. AP: of validation, or None.

    expected: the program's guess of the distance; None of what it did not choose.
    """

    name: str
    share: float
    distance: float
    expected: float | None = None
    AP: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "share": self.share,
            "distance": self.distance,
            "expected": self.expected,
            "AP": self.AP,
        }


@dataclass(frozen=True)
class Found:
    """chosen: within the budget. rival: the best uniform widths within it, None where none are. front: of other
    budgets. uniform: everything at one width. AP_real: of the real-valued model. plan: the chosen one. rules: that
    say it, behind the recipe's own. text: the recipe with them; path: where it was written.
    """

    budget: Budget
    by: Granularity
    images: int
    chosen: Point
    rival: Point | None
    front: tuple[Point, ...]
    uniform: tuple[Point, ...]
    AP_real: float | None
    plan: Plan
    rules: tuple[BitRule, ...]
    text: str = ""
    path: Path | None = None

    @property
    def wins(self) -> bool | None:
        """Whether it is nearer to the real-valued model than the best uniform widths within the budget."""
        return None if self.rival is None else self.chosen.distance < self.rival.distance

    def to_dict(self) -> dict[str, Any]:
        return {
            "budget": {"kind": self.budget.kind, "limit": self.budget.limit},
            "by": self.by,
            "images": self.images,
            "chosen": self.chosen.to_dict(),
            "rival": None if self.rival is None else self.rival.to_dict(),
            "wins": self.wins,
            "front": [point.to_dict() for point in self.front],
            "uniform": [point.to_dict() for point in self.uniform],
            "AP_real": self.AP_real,
            "rules": [rule.to_dict() for rule in self.rules],
        }


class BitSearch:
    """widths: None among them lets choices stay real-valued. by: what is chosen as one.

    Raises: SearchError: the recipe quantizes nothing that could be chosen, or nothing is within the budget.
    """

    def __init__(self, trials: Trials, widths: Sequence[Width], budget: Budget, by: Granularity) -> None:
        self.trials, self.widths, self.budget = trials, tuple(widths), budget
        self.by = by
        self.plan = trials.gauge.plan
        self.choices = choices_of(self.plan, trials.gauge.names, by)
        if not self.choices:
            raise SearchError("the recipe quantizes nothing, so there is nothing to choose")
        require_within(self.plan, self.choices, self.widths, budget)
        self.numbers = [width for width in self.widths if width is not None]
        self.costs: list[dict[Width, float]] = []

    def measure(self, on_choice: Callable[[Choice, int, int], None] = lambda *_: None) -> None:
        """What every choice costs alone, at every width: a pass over the images each."""
        for number, choice in enumerate(self.choices, start=1):
            costs: dict[Width, float] = {None: 0.0}
            for width in self.numbers:
                costs[width] = self._distance(dict.fromkeys(choice.quantizers, width))
            self.costs.append(costs)
            on_choice(choice, number, len(self.choices))

    def run(self, *, scored: bool) -> Found:
        """Ask the program for the budget and for others, and measure what it answers."""
        uniform = [self._uniform(width) for width in self.numbers]
        front = self._front(uniform)
        # Distances do not quite add up, so that the best answer within the budget may be one to a smaller budget.
        found, chosen = min(
            ((one, point) for one, point in front if one.share <= self.budget.limit * ROUNDING),
            key=lambda pair: pair[1].distance,
        )
        plan = self.plan_of(found)
        if scored:
            chosen = replace(chosen, AP=self.trials.AP(self._bits(found.bits)))
        within = [point for point in uniform if point.share <= self.budget.limit * ROUNDING]
        rival = min(within, key=lambda point: point.distance) if within else None
        if rival is not None and scored:
            width = self.numbers[uniform.index(rival)]
            rival = replace(rival, AP=self.trials.AP(dict.fromkeys(self.trials.gauge.names, width)))
        structure = self.trials.workspace.original.structure(self.trials.workspace.recipe.model.roles)
        wanted = {site: width for choice, width in zip(self.choices, found.bits, strict=True) for site in choice.sites}
        return Found(
            self.budget,
            self.by,
            self.trials.images,
            chosen,
            rival,
            tuple(point for _, point in front),
            tuple(uniform),
            self.trials.AP({}) if scored else None,
            plan,
            tuple(rules_for(structure, self.trials.workspace.recipe, self.plan, wanted)),
        )

    def allocate(self, budget: Budget) -> Allocation:
        """The program's answer. Raises: SearchError."""
        return allocate(self.plan, self.choices, self.widths, self.costs, budget)

    def plan_of(self, found: Allocation) -> Plan:
        """The plan with these bits; its cost is within the budget, whatever the program counted."""
        specs: dict[str, QuantizerSpec | None] = {}
        for choice, width in zip(self.choices, found.bits, strict=True):
            for site in choice.sites:
                spec = self.plan.sites[site].spec
                specs[site] = None if width is None or spec is None else replace(spec, bits=width)
        workspace = self.trials.workspace
        plan = make_plan(workspace.original, workspace.recipe, specs=specs)
        share = self.budget.share(cost_of(plan))
        assert abs(share - found.share) < 1e-9, f"the program counted {found.share}, the plan has {share}"
        return plan

    def _front(self, uniform: Sequence[Point]) -> list[tuple[Allocation, Point]]:
        """The program's answers to the budget, to those of the uniform widths, and from the least to the most."""
        least = cheapest(self.plan, self.choices, self.widths, self.budget).share
        most = max([*(point.share for point in uniform), self.budget.limit])
        steps = [least * (most / least) ** (step / (POINTS - 1)) for step in range(POINTS)]
        limits = [self.budget.limit, *steps, *(point.share for point in uniform)]
        found: dict[float, tuple[Allocation, Point]] = {}
        for limit in limits:
            one = self.allocate(Budget(self.budget.kind, min(limit * ROUNDING, 1.0)))
            if one.share not in found:
                point = Point("searched", one.share, self._distance(self._bits(one.bits)), one.expected)
                found[one.share] = one, point
        return [found[share] for share in sorted(found)]

    def _uniform(self, width: int) -> Point:
        workspace = self.trials.workspace
        specs = at_width(self.plan, width)
        owned = {site for choice in self.choices for site in choice.sites}
        chosen = {site: spec for site, spec in specs.items() if site in owned}
        cost = cost_of(make_plan(workspace.original, workspace.recipe, specs=chosen))
        bits = dict.fromkeys(self.trials.gauge.names, width)
        return Point(f"uniform {width}", self.budget.share(cost), self._distance(bits))

    def _bits(self, widths: Sequence[Width]) -> dict[str, Width]:
        return {name: width for choice, width in zip(self.choices, widths, strict=True) for name in choice.quantizers}

    def _distance(self, bits: Mapping[str, Width]) -> float:
        return self.trials.trial(bits, scored=False).distance
