"""The integer program against trying every choice of bits."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrecipe.bit_allocation import BUDGETS, Budget, Choice, allocate, cheapest, choices_of
from qrecipe.bit_allocation.program import Width
from qrecipe.errors import SearchError
from qrecipe.planning import Plan, cost_of
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.student import make_plan
from tests.specimens import W4A4, Specimen, a_recipe

CORRECTED = {**W4A4, "correct_biases": True}


def quantized(toy: Specimen) -> Plan:
    return make_plan(toy.original, a_recipe(CORRECTED))


def share_of(toy: Specimen, plan: Plan, choices: list[Choice], bits: tuple[Width, ...], budget: Budget) -> float:
    """The cost of the plan that is made with these bits."""
    specs: dict[str, QuantizerSpec | None] = {}
    for choice, width in zip(choices, bits, strict=True):
        for site in choice.sites:
            spec = plan.sites[site].spec
            assert spec is not None
            specs[site] = None if width is None else replace(spec, bits=width)
    return budget.share(cost_of(make_plan(toy.original, a_recipe(CORRECTED), specs=specs)))


def halves_agree(plan: Plan, choices: list[Choice], bits: tuple[Width, ...]) -> bool:
    """Whether no product has one real-valued and one quantized operand, where both can be chosen."""
    of = {site: width for choice, width in zip(choices, bits, strict=True) for site in choice.sites}
    products = [product for operation in plan.operations for product in operation.products]
    return all(
        (of[one.left] is None) == (of[one.right] is None) for one in products if one.left in of and one.right in of
    )


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(BUDGETS)), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_it_is_the_best_of_all_and_within_the_budget(toy: Specimen, kind: str, where: float, seed: int) -> None:
    plan = quantized(toy)
    choices = choices_of(plan, plan.quantizers)
    random.Random(seed).shuffle(choices)
    choices = choices[:4]
    widths: tuple[Width, ...] = (8, 3, None)
    chance = random.Random(seed)
    costs = [{8: chance.random(), 3: 1 + 4 * chance.random(), None: 0.0} for _ in choices]
    one = Budget(kind, 1.0)
    tried = {
        bits: share_of(toy, plan, choices, bits, one)
        for bits in itertools.product(widths, repeat=len(choices))
        if halves_agree(plan, choices, bits)
    }
    low, high = min(tried.values()), max(tried.values())
    budget = Budget(kind, min(low + where * (high - low) + 1e-9, 1.0))
    found = allocate(plan, choices, widths, costs, budget)
    assert found.share == pytest.approx(tried[found.bits], rel=1e-9)
    assert tried[found.bits] <= budget.limit * (1 + 1e-9)
    best = min(
        sum(cost[width] for cost, width in zip(costs, bits, strict=True))
        for bits, share in tried.items()
        if share <= budget.limit
    )
    assert found.expected <= best * (1 + 1e-3) + 1e-9
    assert cheapest(plan, choices, widths, one).share == pytest.approx(low, rel=1e-6)


@pytest.mark.parametrize("over", [1 + 1e-9, 1.000001, 1.000003, 1.00001])
def test_a_budget_that_is_hardly_more_than_the_least(over: float) -> None:
    """Nearer to it than the solver tells apart. Sixty weights of 30 to two million elements."""
    chance = random.Random(0)
    parameters = {f"w{number}": int(10 ** chance.uniform(1.5, 6.3)) for number in range(60)}
    made = SimpleNamespace(parameters=parameters, bits=lambda _: 32, corrections=(), quantizers={}, operations=())
    plan = cast("Plan", made)
    choices = [Choice(name, (name,), (name,)) for name in parameters]
    widths: tuple[Width, ...] = (8, 6, 4)
    least = cheapest(plan, choices, widths, Budget("size", 1.0)).share
    for _ in range(5):
        weights = [chance.lognormvariate(0, 2) for _ in choices]
        costs: list[dict[Width, float]] = [{8: 0.01 * one, 6: 0.1 * one, 4: one} for one in weights]
        assert allocate(plan, choices, widths, costs, Budget("size", least * over)).share <= least * over * (1 + 1e-9)


def test_a_budget_that_nothing_keeps_is_an_error(toy: Specimen) -> None:
    plan = quantized(toy)
    choices = choices_of(plan, plan.quantizers)
    costs: list[dict[Width, float]] = [{8: 0.1, 4: 0.2} for _ in choices]
    with pytest.raises(SearchError, match=r"no choice of 8, 4 is within size=0\.01: the least is 0\.\d+"):
        allocate(plan, choices, (8, 4), costs, Budget("size", 0.01))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("bytes=0.2", "no budget of 'bytes'"),
        ("size=2", "cannot be"),
        ("size", "is no budget"),
        ("size=nan", "cannot be"),
    ],
)
def test_budgets_that_are_none(text: str, what: str) -> None:
    with pytest.raises(SearchError, match=what):
        Budget.read(text)
    assert str(Budget.read("size=0.15")) == "size=0.15"


def test_nothing_is_printed_by_the_solver(toy: Specimen, capfd: pytest.CaptureFixture[str]) -> None:
    plan = quantized(toy)
    choices = choices_of(plan, plan.quantizers)
    costs: list[dict[Width, float]] = [{8: 0.1, 6: 0.13, 4: 0.2 + 0.01 * number} for number in range(len(choices))]
    allocate(plan, choices, (8, 6, 4), costs, Budget("bit_operations", 0.04))
    assert capfd.readouterr().out == ""
