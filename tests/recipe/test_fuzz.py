"""The shipped recipes, damaged at random: they load, or every problem says where it is; nothing else is ever raised."""

from __future__ import annotations

import copy
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from qrecipe.cli.problems import pictured
from qrecipe.errors import QRecipeError, RecipeErrors
from qrecipe.recipe import LocatedError, Recipe, dump, load_recipe, recipe_from_mapping
from qrecipe.recipe.problems import as_data

ROOT = Path(__file__).parents[2]
FOUND = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "recipes").rglob("*.yaml"))}
TEXTS = {name: text for name, text in FOUND.items() if "\nbase: " not in text}  # a sweep is no recipe
NAMES = sorted(TEXTS)
SEVERAL = settings(max_examples=50)
TERMINAL = Console(width=80, force_terminal=True, file=io.StringIO())

PLAIN = "yes no 4bit ~ 1e-4 .inf -1 0 99 { [ } ] ' | > --- ... *b $HOME $ $$ ~/x"
PHRASES = ["version: 2", "!!int x", "!t 1", "<<: {}", "? a", "&a [*a]", "- - -", '"', "%YAML 1.1", "9" * 400]
PARTS = ["", "\t", "\r", "\u2028", "\x85", "\x00", "\x1b[31m", "[" * 60, "{a: " * 60]
LETTERS = ["\ufeff", "\u202e", "\u65e5\u672c", "\U0001f600", "e\u0301"]
WORDS = st.sampled_from([*PLAIN.split(" "), *PHRASES, *PARTS, *LETTERS])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), WORDS, st.just([]), st.just({}),
    st.just([1, {"a": None}]), st.just({"bits": 4}), st.just([[[[]]]]),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Recipes to damage, with all that they extend."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(ROOT / "recipes", Path(name) / "recipes")
        yield Path(name)


def outcome(load: Callable[[], Recipe]) -> tuple[Recipe | None, Sequence[QRecipeError]]:
    """The recipe that loads, or every problem; anything else that is raised gets through."""
    try:
        return load(), []
    except RecipeErrors as errors:
        return None, errors.problems


def hold(folder: Path, name: str, content: bytes, overrides: tuple[str, ...] = ()) -> None:
    """Load the damaged file; look at every problem in each form that a user can get. Restores the file."""
    path = folder / name
    path.write_bytes(content)
    try:
        recipe, problems = outcome(lambda: load_recipe(path, overrides))
        assert (recipe is None) == bool(problems)
        for problem in problems:
            assert isinstance(problem, LocatedError)
            mark = problem.mark
            assert mark is not None, problem
            assert mark.line >= 1
            assert mark.column >= 1
            assert mark.file.startswith("--set ") or Path(mark.file).is_file()
            assert str(problem).startswith(f"{mark}: ")
            line, *below = list(pictured(problem, TERMINAL))
            assert line.plain.startswith("error: ")
            assert any("^" in text.plain for text in below), problem
            assert as_data(problem, name)["line"] == mark.line
        assert recipe is None or recipe_from_mapping(recipe.resolved) == recipe
    finally:
        path.write_text(TEXTS[name])


@SEVERAL
@given(st.data())
def test_damaged_text(folder: Path, data: st.DataObject) -> None:
    """Bytes cut out, words put in, lines twice, moved or indented otherwise."""
    name = data.draw(st.sampled_from(NAMES))
    lines = TEXTS[name].splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        match data.draw(st.sampled_from(["cut", "put", "twice", "move", "indent", "tab", "value", "unicode"])):
            case "cut":
                lines[at] = line[:cut]
            case "put":
                lines[at] = line[:cut] + data.draw(WORDS) + line[cut:]
            case "twice":
                lines.insert(at, line)
            case "move":
                lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "indent":
                lines[at] = " " * data.draw(st.integers(0, 6)) + line.lstrip()
            case "tab":
                lines[at] = line.replace("  ", "\t", 1)
            case "value":
                lines[at] = line.partition(":")[0] + ": " + data.draw(WORDS) + "\n"
            case "unicode":
                lines[at] = line[:cut] + data.draw(st.text(max_size=4)) + line[cut:]
    content = "".join(lines).encode("utf-8", "surrogatepass")
    hold(folder, name, content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)


@SEVERAL
@given(st.data())
def test_damaged_data(folder: Path, data: st.DataObject) -> None:
    """Keys left out, renamed or swapped, values of other types; in the file, and in Python data that no file holds."""
    name = data.draw(st.sampled_from([name for name in NAMES if "/base/" not in name]))
    with pytest.MonkeyPatch.context() as patch:
        for variable in re.findall(r"\$(\w+)/", "".join(TEXTS.values())):
            patch.setenv(variable, "/data")
        source: dict[str, Any] = copy.deepcopy(dict(load_recipe(folder / name).resolved))
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(slots(source))
        if not places:
            break
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        match data.draw(st.sampled_from(["replace", "remove", "rename", "swap", "version"])):
            case "replace":
                container[key] = copy.deepcopy(data.draw(VALUES))
            case "remove":
                del container[key]
            case "rename" if isinstance(container, dict):
                container[data.draw(st.text(max_size=3)) + str(key)[1:]] = container.pop(key)
            case "swap":
                other, place = places[data.draw(st.integers(0, len(places) - 1))]
                container[key] = copy.deepcopy(other[place])
            case "version":
                source["version"] = data.draw(st.sampled_from([0, 2, 10**30, "1", 1.0, True, None]))
    recipe, problems = outcome(lambda: recipe_from_mapping(source))
    assert (recipe is None) == bool(problems)
    assert all(problem.where and problem.what for problem in problems)
    assert recipe is None or recipe_from_mapping(recipe.resolved) == recipe
    hold(folder, name, dump(source).encode("utf-8", "surrogatepass"))


@SEVERAL
@given(st.sampled_from(NAMES), st.text(max_size=12) | WORDS, WORDS | st.text(max_size=8))
def test_damaged_overrides(folder: Path, name: str, key: str, value: str) -> None:
    text = TEXTS[name].encode()
    hold(
        folder,
        name,
        text,
        (f"{key}={value}", f"train.optimizer.{key}={value}", f"seed={value}", f"quantize.rules={value}"),
    )


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from slots(value[key])
