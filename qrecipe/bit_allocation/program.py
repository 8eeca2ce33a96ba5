"""The integer program: bits for every choice, of least expected distance within a budget."""

from __future__ import annotations

import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from ..errors import SearchError
from ..planning import Plan
from ..planning.cost import bytes_of_quantizer
from .budget import Budget
from .choices import Choice

GAP, SECONDS = 1e-4, 60.0
"""When the solver stops: within this share of the optimum, or after so long with the best that it has."""
ROUNDING = 1 + 1e-9
"""By what a cost may pass its budget, as floating-point sums of one thing may differ."""

Width = int | None


@dataclass(frozen=True)
class Allocation:
    """bits: by choice, None for real-valued. expected: the sum of what each costs alone. share: of the budget."""

    bits: tuple[Width, ...]
    expected: float
    share: float


def allocate(
    plan: Plan,
    choices: Sequence[Choice],
    widths: Sequence[Width],
    costs: Sequence[Mapping[Width, float]],
    budget: Budget,
) -> Allocation:
    """The bits of least summed distance whose cost is within the budget. Deterministic.

    A choice costs what it costs when it alone is quantized; distances are taken to add up, as in Hessian-based
    allocation (Dong et al., HAWQ-V2, NeurIPS 2020; Yao et al., HAWQ-V3, ICML 2021, with an integer program). The two
    operands of one product are both real-valued or both quantized, where both can be chosen: no runtime multiplies
    integers by floats.

    Args:
        widths: what every choice can have, None for real-valued. costs: by choice, the distance at each width.

    Raises:
        SearchError: nothing is within the budget.
    """
    table = _Table(plan, choices, widths, budget)
    objective = np.array([costs[index][width] for index in range(len(choices)) for width in widths])
    limit = budget.limit
    found = _solve(table, objective, limit)
    while found is not None and found[1] > budget.limit * ROUNDING:  # the solver's own tolerance
        limit -= found[1] - budget.limit + 1e-6
        found = _solve(table, objective, limit)
    if found is None:  # nothing is, or only what is nearer to the least than the solver tells apart
        least = require_within(plan, choices, widths, budget)
        found = least.bits, least.share
    bits, share = found
    return Allocation(bits, sum(costs[index][width] for index, width in enumerate(bits)), share)


def cheapest(plan: Plan, choices: Sequence[Choice], widths: Sequence[Width], budget: Budget) -> Allocation:
    """The least of the budget's kind that any choice of bits has."""
    table = _Table(plan, choices, widths, budget)
    found = _solve(table, table.cost[: table.firsts], limit=np.inf, cheapest=True)
    assert found is not None, "a program without a limit has a solution"
    return Allocation(found[0], 0.0, found[1])


def require_within(plan: Plan, choices: Sequence[Choice], widths: Sequence[Width], budget: Budget) -> Allocation:
    """What is cheapest. Raises: SearchError: it is not within the budget, so nothing is."""
    least = cheapest(plan, choices, widths, budget)
    if least.share > budget.limit * ROUNDING:
        raise SearchError(
            f"no choice of {_listed(widths)} is within {budget}: the least is {math.ceil(least.share * 1e4) / 1e4:.4f}",
            remedy="raise the budget, or allow fewer bits",
        )
    return least


class _Table:
    """The program's columns: choice by width, then for every pair of choices that multiply each other width by width.

    cost: of each column, as a share of the real-valued model. fixed: what no choice changes.
    """

    def __init__(self, plan: Plan, choices: Sequence[Choice], widths: Sequence[Width], budget: Budget) -> None:
        self.widths, self.count = tuple(widths), len(choices)
        self.firsts = self.count * len(widths)
        owner = {site: index for index, choice in enumerate(choices) for site in choice.sites}
        self.fixed, single, pairs = _products(plan, owner, self.widths, self.count, budget.kind)
        if budget.kind == "size":
            self.fixed, single = _bytes(plan, owner, self.widths, self.count)
            pairs = {pair: np.zeros_like(value) for pair, value in pairs.items()}
        self.pairs = list(pairs)
        self.cost = np.concatenate([single.flatten(), *(value.flatten() for value in pairs.values())])

    def share(self, picked: Sequence[int]) -> float:
        """The cost of one width, by number, for every choice."""
        many = len(self.widths)
        columns = [choice * many + width for choice, width in enumerate(picked)]
        columns += [
            self.firsts + number * many * many + picked[left] * many + picked[right]
            for number, (left, right) in enumerate(self.pairs)
        ]
        return self.fixed + float(self.cost[columns].sum())


def _solve(
    table: _Table, objective: np.ndarray, limit: float, cheapest: bool = False
) -> tuple[tuple[Width, ...], float] | None:
    """The bits and their cost; None if nothing is within the limit."""
    many, columns = len(table.widths), len(table.cost)
    rows: list[int] = []
    places: list[int] = []
    values: list[float] = []
    targets: list[float] = []

    def row(entries: Sequence[tuple[int, float]], target: float) -> None:
        for place, value in entries:
            rows.append(len(targets))
            places.append(place)
            values.append(value)
        targets.append(target)

    upper = np.ones(columns)
    for choice in range(table.count):
        row([(choice * many + width, 1.0) for width in range(many)], 1.0)
    for number, (left, right) in enumerate(table.pairs):
        base = table.firsts + number * many * many
        for width in range(many):
            row([(base + width * many + other, 1.0) for other in range(many)] + [(left * many + width, -1.0)], 0.0)
            row([(base + other * many + width, 1.0) for other in range(many)] + [(right * many + width, -1.0)], 0.0)
            for other in range(many):
                if (table.widths[width] is None) != (table.widths[other] is None):
                    upper[base + width * many + other] = 0.0
    matrix = coo_matrix((np.array(values), (np.array(rows), np.array(places))), shape=(len(targets), columns)).tocsr()
    constraints = [LinearConstraint(matrix, targets, targets)]
    if np.isfinite(limit):
        constraints.append(LinearConstraint(table.cost[None, :], -np.inf, limit - table.fixed))
    full = table.cost if cheapest else np.concatenate([objective, np.zeros(columns - table.firsts)])
    with _quiet():
        solved = milp(
            full / max(float(np.abs(full).max()), 1e-30),
            integrality=np.concatenate([np.ones(table.firsts), np.zeros(columns - table.firsts)]),
            bounds=Bounds(0.0, upper),
            constraints=constraints,
            options={"mip_rel_gap": GAP, "time_limit": SECONDS},
        )
    if solved.x is None:
        if solved.status == 1:
            raise SearchError("the solver found nothing within a minute", remedy="search by role, or fewer bits")
        return None
    picked = solved.x[: table.firsts].reshape(table.count, many).argmax(1)
    return tuple(table.widths[index] for index in picked), table.share(picked.tolist())


@contextmanager
def _quiet() -> Iterator[None]:
    """The solver prints what it does about its tolerances to the process's standard output, whatever it is told."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _bytes(plan: Plan, owner: Mapping[str, int], widths: Sequence[Width], count: int) -> tuple[float, np.ndarray]:
    """Packed bytes and scales, as a share: what is fixed, and (choices, widths)."""
    real = max(4 * sum(plan.parameters.values()), 1)
    single = np.zeros((count, len(widths)))
    fixed = 0.0
    for name, elements in plan.parameters.items():
        if name in owner:
            single[owner[name]] += [-(-elements * (width or 32) // 8) for width in widths]
        else:
            fixed += -(-elements * plan.bits(name) // 8)
    added = {one.site: one.channels for one in plan.corrections if one.added}
    for site in plan.quantizers.values():
        ranges = bytes_of_quantizer(site, added)
        index = owner.get(site.name)
        if index is None:
            fixed += ranges
        else:
            single[index] += [ranges if width is not None else 0 for width in widths]
    return fixed / real, single / real


def _products(
    plan: Plan, owner: Mapping[str, int], widths: Sequence[Width], count: int, kind: str
) -> tuple[float, np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """(Bit) operations as a share: what is fixed, (choices, widths), and by pair of choices (widths, widths)."""
    bits = [width or 32 for width in widths]
    whole = sum(operation.macs for operation in plan.operations)

    def charge(left: int, right: int) -> float:
        return left * right / 1024 if kind == "bit_operations" else max(left, right) / 32

    fixed = 0.0
    single = np.zeros((count, len(widths)))
    pairs: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros((len(widths), len(widths))))
    for product in (product for operation in plan.operations for product in operation.products):
        macs, left, right = product.macs / max(whole, 1), owner.get(product.left), owner.get(product.right)
        if left is None and right is None:
            fixed += macs * charge(plan.bits(product.left), plan.bits(product.right))
        elif left is None or right is None:
            known = plan.bits(product.left if left is None else product.right)
            single[right if left is None else left] += [macs * charge(one, known) for one in bits]
        elif left == right:
            single[left] += [macs * charge(one, one) for one in bits]
        else:
            pairs[left, right] += macs * np.array([[charge(one, other) for other in bits] for one in bits])
    return fixed, single, dict(pairs)


def _listed(widths: Sequence[Width]) -> str:
    return ", ".join("float" if width is None else str(width) for width in widths)
