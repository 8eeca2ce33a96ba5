"""The walk over two pieces of plain data, against one that flattens both into paths and leaves."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qrecipe.recipe.differences import Difference, by_likeness, by_place, differing

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=10,
)


def value_at(data: Any, path: tuple[Any, ...] | None) -> Any:
    for part in path or ():
        data = data[part]
    return None if path is None else data


def without(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """``data`` with another value at a path."""
    if not path:
        return value
    copied = dict(data) if isinstance(data, dict) else list(data)
    copied[path[0]] = without(data[path[0]], path[1:], value)
    return copied


@given(PLAIN, PLAIN)
def test_every_difference_stands_where_it_says(a: Any, b: Any) -> None:
    for pairs in (by_place, by_likeness):
        for found in differing(a, b, pairs):
            assert (found.at_a, found.at_b) != (None, None)
            assert found.a == value_at(a, found.at_a)
            assert found.b == value_at(b, found.at_b)


@given(PLAIN, PLAIN)
def test_putting_the_others_values_in_place_makes_them_equal(a: Any, b: Any) -> None:
    made = a
    for found in differing(a, b, by_place):
        if found.at_a is not None and found.at_b is not None:
            made = without(made, found.at_a, found.b)
    left = list(differing(made, b, by_place))
    assert all(None in (found.at_a, found.at_b) for found in left)
    assert list(differing(a, a, by_place)) == list(differing(a, a, by_likeness)) == []


def test_a_mapping_that_was_put_into_a_list_moves_the_others() -> None:
    old, new = [{"n": 1}, {"n": 2}], [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(differing(old, new, by_likeness)) == [Difference(None, (0,), None, {"n": 0})]
    assert list(differing([1, 2], [1, 3], by_likeness)) == [Difference((), (), [1, 2], [1, 3])]
    assert list(differing([1, 2], [1, 3], by_place)) == [Difference((1,), (1,), 2, 3)]


def test_true_is_not_one_and_one_is_a_float_too() -> None:
    assert list(differing({"a": 1}, {"a": 1.0}, by_place)) == []
    assert list(differing({"a": 1}, {"a": True}, by_place)) == [Difference(("a",), ("a",), 1, True)]
