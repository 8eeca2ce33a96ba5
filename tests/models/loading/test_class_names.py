"""id2label as people and programs write it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.errors import ModelError
from qrecipe.models.loading.class_names import class_names, nearest_class, same_names


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"0": "cat", "1": "dog"}, {0: "cat", 1: "dog"}),
        ({0: "cat", 1: "dog"}, {0: "cat", 1: "dog"}),
        ({"0": 1, "1": 2.5}, {0: "1", 1: "2.5"}),
        (["cat", "dog", 3], {0: "cat", 1: "dog", 2: "3"}),
        ({"3": "cat", "7": "dog"}, {3: "cat", 7: "dog"}),
        ({"0": None, "1": "dog"}, {1: "dog"}),
        ({}, {}),
        ([], {}),
    ],
)
def test_forms(value: Any, expected: dict[int, str] | None) -> None:
    assert class_names(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "id2label is 3, neither a mapping of classes to names nor a list"),
        ("cat", "id2label is 'cat'"),
        ({"cat": 0}, "id2label has the key 'cat', which is no class"),
        ({"-1": "cat"}, "the key '-1'"),
        ({"0.0": "cat"}, "the key '0.0'"),
        ({True: "cat"}, "the key True"),
        ({"0": True}, "names class 0 True, which is no text"),
        ({"0": ["cat"]}, "names class 0"),
        ([{"name": "cat"}], "names class 0"),
        ({"0": "cat", "00": "dog"}, "names class 0 twice"),
    ],
)
def test_what_is_no_name(value: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        class_names(value)
    assert message in caught.value.what


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_names_or_one_error(value: Any) -> None:
    try:
        names = class_names(value)
    except ModelError:
        return
    assert names is None or all(isinstance(key, int) and isinstance(name, str) for key, name in names.items())


def test_a_name_is_one_class_or_none() -> None:
    assert same_names({1: "Cat", 2: "hot_dog", 3: "bird"}, {0: "cat ", 1: "Hot Dog", 2: "fish"}) == {1: 0, 2: 1}
    assert same_names({1: "cat"}, {0: "cat", 1: "CAT"}) == {}
    assert same_names({1: "cat", 2: "Cat"}, {0: "cat"}) == {}
    assert same_names({1: "café"}, {0: "cafe\u0301"}) == {1: 0}


def test_nearest() -> None:
    assert nearest_class("trafic-light", ["traffic light", "stop sign"]) == "traffic light"
    assert nearest_class("zebra", ["traffic light", "stop sign"]) is None
