"""What a captured model is like, as far as a new recipe depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...plan import cost_of
from ...recipe.definition import Recipe
from ...student import Source, make_plan, plan_size
from ...vocabulary import FEATURE

PASSIVE = ("add", "cat")


@dataclass(frozen=True)
class Facts:
    """shares: role to its part of the multiply-accumulates of one image, for roles that hold something to quantize.

    parameters, macs: of the whole model; macs at ``size`` (height, width).
    layers: decoder layers whose query can be aligned. distillable: whether the co-attended feature can be tapped.
    """

    shares: Mapping[str, float]
    parameters: int
    macs: int
    size: tuple[int, int]
    layers: int
    distillable: bool

    def has(self, role: str) -> bool:
        """Whether a role, or a part of it, is there: what a rule may name."""
        return any(own == role or own.startswith(f"{role}.") for own in self.shares)


def facts_of(source: Source, recipe: Recipe) -> Facts:
    """Read a capture with a recipe that quantizes nothing."""
    plan = make_plan(source, recipe)
    total = cost_of(plan)
    roles = [site.role for site in plan.sites.values() if site.operator not in PASSIVE]
    shares = {}
    for role in dict.fromkeys(roles):
        own = cost_of(plan, [operation for operation in plan.operations if operation.role == role])
        shares[role] = own.macs / max(total.macs, 1)
    training = source.structure(recipe.model.roles).programs["train"]
    taps = {role for role, _ in training.taps}
    return Facts(shares, total.parameters, total.macs, plan_size(source.input), len(training.queries), FEATURE in taps)
