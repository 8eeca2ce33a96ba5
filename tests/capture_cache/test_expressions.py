"""Symbolic sizes come back from plain lists as they were, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, ToFloat

from qrecipe.capture_cache.expressions import expression_from_plain, expression_to_plain
from qrecipe.capture_cache.plain import Unkeepable

SIZES = [sympy.Symbol(name, positive=True, integer=True) for name in ("s0", "s1")]
SYMBOLS = [*SIZES, sympy.Symbol("u0", integer=True)]


def combined(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    numbers = st.integers(2, 9).map(sympy.Integer)
    two = st.tuples(parts, parts)
    return st.one_of(
        two.map(lambda pair: pair[0] + pair[1]),
        two.map(lambda pair: pair[0] * pair[1]),
        two.map(lambda pair: Max(*pair)),
        two.map(lambda pair: Min(*pair)),
        st.tuples(parts, numbers).map(lambda pair: FloorDiv(*pair)),
        st.tuples(parts, st.integers(1, 3)).map(lambda pair: pair[0] ** pair[1]),
    )


LEAVES = st.one_of(st.sampled_from(SYMBOLS), st.integers(-9, 9).map(sympy.Integer))
EXPRESSIONS = st.recursive(LEAVES, combined, max_leaves=8)


@settings(max_examples=200)
@given(EXPRESSIONS)
def test_they_come_back(expression: Any) -> None:
    plain = json.loads(json.dumps(expression_to_plain(expression)))
    found = expression_from_plain(plain)
    assert found == expression
    assert type(found) is type(expression)
    assert {one: one.assumptions0 for one in found.free_symbols} == {
        one: one.assumptions0 for one in expression.free_symbols
    }


@pytest.mark.parametrize(
    "expression",
    [
        sympy.Rational(1, 3),
        sympy.Float(0.1) * SYMBOLS[0],
        ToFloat(SYMBOLS[0]),
        Mod(SYMBOLS[0], 4),
        sympy.Eq(SYMBOLS[0], 4),
        sympy.And(SYMBOLS[0] < 4, SYMBOLS[1] >= 2),
        sympy.true,
        -sympy.oo,
    ],
    ids=str,
)
def test_other_kinds_come_back(expression: Any) -> None:
    assert expression_from_plain(json.loads(json.dumps(expression_to_plain(expression)))) == expression


def test_others_are_refused() -> None:
    with pytest.raises(Unkeepable, match="sin"):
        expression_to_plain(sympy.sin(SYMBOLS[0]))
    for foreign in (["__import__", 1], ["Lambda", 1], ["symbol"], "s0"):
        with pytest.raises((KeyError, TypeError, IndexError, ValueError, AttributeError, sympy.SympifyError)):
            expression_from_plain(foreign)
