"""Nothing that is fed to the loader does anything but load or say where it is wrong."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.errors import RecipeError, RecipeErrors
from qrecipe.recipe import LocatedError, Recipe, dump, load_recipe, recipe_from_mapping
from qrecipe.recipe.definition import Mark
from qrecipe.recipe.reader import read_yaml
from qrecipe.recipe.scalars import tag_of
from tests.recipe.examples import FULL

MANY = settings(max_examples=60)
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs"])
TEXT = st.text(LETTERS, max_size=8)
TRICKY = st.sampled_from(
    [
        *("1e-4", "yes", "No", "~", "null", "010", "1:30", "2024-01-01", "=", "<<", "", " a", "a: b", "- a", "#", "*a"),
        *("!a", ".inf", "0x1", "1_0", "\x85", "\u2028", "\ufeff", "a\n b\n", "\t", "\x7f", "\U0001f600"),
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False), TEXT, TRICKY)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3), max_leaves=6
)


def read(text: str) -> tuple[Any, list[LocatedError]]:
    problems: list[LocatedError] = []
    document = read_yaml(text, lambda line, column: Mark("text", line + 1, column + 1), problems)
    return (document.data if document else None), problems


SOURCE = recipe_from_mapping(read(FULL)[0]).resolved


def slots(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in plain data."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [slot for _, inner in pairs for slot in slots(inner)]


def outcome(load: Callable[[], Recipe]) -> tuple[Recipe | None, list[RecipeError]]:
    """The recipe that loads, or every problem; anything else that is raised gets through."""
    try:
        return load(), []
    except RecipeErrors as errors:
        return None, list(errors.problems)


def load_text(text: bytes, *overrides: str) -> None:
    """Load, and look at every problem."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(text)
        recipe, problems = outcome(lambda: load_recipe(path, overrides))
    assert (recipe is None) == bool(problems)
    for problem in problems:
        assert isinstance(problem, LocatedError)
        assert problem.mark is not None
        assert problem.mark.file == str(path) or problem.mark.file.startswith("--set ")
        assert problem.mark.line >= 1
        assert problem.mark.column >= 1
        assert str(problem).startswith(f"{problem.mark}: ")
        assert problem.what
    if recipe:
        assert recipe_from_mapping(recipe.resolved) == recipe


@MANY
@given(st.data())
def test_a_mutated_recipe_loads_or_says_where_it_is_wrong(data: st.DataObject) -> None:
    source = copy.deepcopy(dict(SOURCE))
    for _ in range(data.draw(st.integers(1, 3))):
        places = slots(source)
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        action = data.draw(st.sampled_from(["replace", "remove", "add", "rename"]))
        if action == "replace":
            container[key] = data.draw(VALUES)
        elif action == "remove":
            del container[key]
        elif isinstance(container, list):
            container.insert(key, data.draw(VALUES))
        elif action == "add":
            container[data.draw(TEXT | st.sampled_from(["bits", "match", "name", "epochs", "hub"]))] = data.draw(VALUES)
        else:
            container[str(key)[:-1] + "x"] = container.pop(key)
    load_text(dump(source).encode())
    recipe, problems = outcome(lambda: recipe_from_mapping(source))
    assert all(problem.where for problem in problems)
    if recipe:
        assert recipe_from_mapping(recipe.resolved) == recipe


@MANY
@given(st.integers(0, len(FULL)), st.integers(0, 12), st.text("{}[]:,-#&*!|>'\"%@`\t\n \\x0aé<?", max_size=6) | TEXT)
def test_mutated_text_loads_or_says_where_it_is_wrong(start: int, length: int, put: str) -> None:
    load_text((FULL[:start] + put + FULL[start + length :]).encode())


@MANY
@given(st.text("{}[]:,-#&*!|>'\"%@`\t\n \\x0aYU1é<?=~", max_size=40) | st.text(LETTERS, max_size=40))
def test_any_text_loads_or_says_where_it_is_wrong(text: str) -> None:
    load_text(text.encode(), f"seed={text}", text)


@MANY
@given(st.binary(max_size=40))
def test_any_bytes_load_or_say_where_they_are_wrong(content: bytes) -> None:
    load_text(content)


@MANY
@given(st.dictionaries(TEXT | TRICKY, VALUES, min_size=1))
def test_dumped_data_reads_as_itself(data: dict[str, Any]) -> None:
    found, problems = read(dump(data))
    assert not problems
    assert found == data


@MANY
@given(st.floats(allow_nan=False) | st.integers(-(10**20), 10**20))
def test_numbers_are_read_as_python_reads_them(number: float) -> None:
    found, _ = read(f"x: {number!r}".replace("inf", ".inf"))
    assert found == {"x": number}
    assert type(found["x"]) is type(number)


@MANY
@given(TEXT)
def test_a_word_that_the_reader_takes_for_text_is_none_of_pythons_numbers(word: str) -> None:
    try:
        float(word)
    except ValueError:
        return
    ascii_digits = word.strip() == word and word.isascii() and "_" not in word
    if ascii_digits and word.lower().lstrip("+-") not in ("nan", "inf", "infinity"):
        assert tag_of(word) != "tag:yaml.org,2002:str"


def test_marks_point_at_the_text_of_their_values() -> None:
    problems: list[LocatedError] = []
    document = read_yaml(FULL, lambda line, column: Mark("text", line, column), problems)
    assert document is not None
    lines = FULL.splitlines()
    checked = 0
    for path, mark in document.marks.items():
        value = document.data
        for part in path:
            value = value[part]
        if isinstance(value, str):
            assert lines[mark.line][mark.column :].lstrip('"').startswith(value)
            checked += 1
    for path, mark in document.keys.items():
        assert lines[mark.line][mark.column :].startswith(str(path[-1]))
    assert checked > 30


def test_dump_keeps_the_order_and_quotes_what_other_readers_would_mistake() -> None:
    text = dump({"b": 1, "a": "no", "c": "1e-4", "d": "2024-01-01", "e": 1e-5, "f": [{"g": None}]})
    assert text == "b: 1\na: 'no'\nc: '1e-4'\nd: '2024-01-01'\ne: 1.0e-05\nf:\n- g: null\n"
    with pytest.raises(yaml.YAMLError):
        dump({"a": object()})
