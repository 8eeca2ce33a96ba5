"""Mistakes of a whole file, of a model and of Python data, and that all are answered at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qrecipe.errors import RecipeErrors
from qrecipe.recipe import LocatedError, Mark, load_recipe, recipe_from_mapping
from tests.recipe.examples import MINIMAL, problems, write

MODELS = {
    "neither": ("{labels: auto}", "2:8: model: model has neither architecture nor factory"),
    "both": ("{architecture: a, factory: m:f}", "2:35: model.factory: architecture and factory exclude each other"),
    "arguments": ("{architecture: a, arguments: {b: 1}}", "2:37: model.arguments: arguments belongs to a factory"),
    "config": ("{factory: m:f, config: {b: 1}}", "2:31: model.config: config belongs to an architecture"),
    "two sources": ("{architecture: a, weights: {hub: b, file: c}}", "2:50: model.weights.file: hub and file exclude"),
    "no source": ("{architecture: a, weights: {}}", "2:35: model.weights: model.weights names no source"),
    "revision": (
        "{architecture: a, weights: {file: b, revision: c}}",
        "2:55: model.weights.revision: revision belongs",
    ),
    "factory": ("{factory: a/b.txt:f}", '2:18: model.factory: "a/b.txt:f" is not of the right form'),
    "size and shortest": ("{architecture: a, input: {size: 3, shortest: 4}}", "2:53: model.input.shortest: size and"),
    "longest": (
        "{architecture: a, input: {shortest: 9, longest: 4}}",
        "2:56: model.input.longest: longest, 4, is less",
    ),
    "three sizes": ("{architecture: a, input: {size: [1, 2, 3]}}", "2:40: model.input.size: expected 2 items, found 3"),
    "pixel mean": ("{architecture: a, input: {mean: [123, 1, 1]}}", "2:41: model.input.mean[0]: must be at most 1"),
    "roles": ("{architecture: a, roles: {head.box: 3}}", "2:44: model.roles.head.box: expected text, found 3"),
    "no role": (
        "{architecture: a, roles: {head.bix: b}}",
        '2:34: model.roles.head.bix: unknown key (did you mean "head.box"?)',
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_mistakes_in_a_model(case: str, tmp_path: Path) -> None:
    model, place = MODELS[case]
    found = problems(write(tmp_path, f"version: 1\nmodel: {model}\n"))
    assert len(found) == 1, found
    assert found[0].startswith(f"recipe.yaml:{place}")


WHOLE = {
    "empty": (b"", "recipe.yaml:1:1: the recipe is empty"),
    "only comments": (b"# nothing\n\n", "recipe.yaml:1:1: the recipe is empty"),
    "null": (b"~\n", "recipe.yaml:1:1: the recipe is empty"),
    "a list": (b"- 1\n", "recipe.yaml:1:1: recipe: a recipe is a mapping, found a list"),
    "a word": (b"hello", 'recipe.yaml:1:1: recipe: a recipe is a mapping, found "hello"'),
    "no version": (b"model: {architecture: a}", "recipe.yaml:1:1: version: missing"),
    "no model": (b"version: 1", "recipe.yaml:1:1: model: missing"),
    "future version": (b"version: 2\nmodel: {architecture: a}", "recipe.yaml:1:10: version: version 2 is of a later"),
    "float version": (b"version: 1.0\nmodel: {architecture: a}", "recipe.yaml:1:10: version: expected 1, found 1.0"),
    "latin-1": ("version: 1\nname: caf\u00e9".encode("latin-1"), "recipe.yaml:2:10: not valid UTF-8"),
    "utf-16": ("version: 1".encode("utf-16"), "recipe.yaml:1:1: not valid UTF-8"),
    "huge": (b"#" * (1 << 20) + b"\n", "recipe.yaml: is larger than 1 MiB"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_mistakes_of_a_whole_file(case: str, tmp_path: Path) -> None:
    content, answer = WHOLE[case]
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    found = problems(path)
    assert len(found) == 1, found
    assert found[0].startswith(answer)


def test_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert problems(path) == []


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    assert problems(tmp_path / "recpie.yaml") == [f"recpie.yaml: no such file (in {tmp_path} there is recipe.yaml)"]
    assert problems(tmp_path / "no" / "recipe.yaml") == [
        f"recipe.yaml: no such file (the folder {tmp_path}/no does not exist)"
    ]
    (tmp_path / "folder").mkdir()
    assert problems(tmp_path / "folder") == ["folder: is a folder (name the recipe file in it)"]
    os.mkfifo(tmp_path / "pipe")
    assert problems(tmp_path / "pipe") == ["pipe: is not an ordinary file (name a file on disk)"]
    assert "null" in problems(tmp_path / "a\0b")[0]


def test_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = problems(write(tmp_path, "\n".join(lines)))
    assert len(found) == 1
    assert "more than 20000 values" in found[0]


def test_a_file_of_very_many_values_is_refused(tmp_path: Path) -> None:
    found = problems(write(tmp_path, "- a\n" * 30_000))
    assert found == ["recipe.yaml:20001:1: more than 20000 values"]


def test_an_ordinary_alias_is_fine(tmp_path: Path) -> None:
    text = "version: 1\nmodel: &model {architecture: demo}\nteacher: *model\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.teacher == recipe.model


def test_all_problems_come_at_once_in_order_each_with_its_mark(tmp_path: Path) -> None:
    text = "version: 1\nmodel: {architectur: a}\nseed: x\nseed: 2\nquantize: {weight: {bits: 4}}\ntrain: {epoch: 3}\n"
    path = write(tmp_path, text)
    with pytest.raises(RecipeErrors) as caught:
        load_recipe(path)
    found = caught.value.problems
    assert all(isinstance(problem, LocatedError) for problem in found)
    places = [(problem.mark, problem.path) for problem in found if isinstance(problem, LocatedError)]
    assert places == [
        (Mark(str(path), 2, 8), ("model",)),
        (Mark(str(path), 2, 9), ("model", "architectur")),
        (Mark(str(path), 4, 1), ("seed",)),
        (Mark(str(path), 5, 20), ("quantize", "weight", "quantizer")),
        (Mark(str(path), 5, 20), ("quantize", "weight", "per")),
        (Mark(str(path), 6, 9), ("train", "epoch")),
    ]


def test_mistakes_in_a_mapping_name_their_place() -> None:
    loop: dict[str, object] = {}
    loop["model"] = loop
    cases: list[tuple[object, str]] = [
        ({"version": 1, "model": {"architecture": "a"}, "sed": 1}, 'sed: unknown key (did you mean "seed"?)'),
        ({"version": 1, "model": {"architecture": "a", "config": {1: 2}}}, "model.config: the key 1 is not text"),
        ({"version": 1, "model": {"architecture": object()}}, "model.architecture: a object has no place in a recipe"),
        (
            {"version": 1, "model": {"architecture": "a"}, "seed": 10**5000},
            "seed: a huge number has no place in a recipe",
        ),
        ({"version": 1, "model": {"architecture": "a"}, "seed": 10**30}, "seed: expected a whole number"),
        ([1], "recipe: a recipe is a mapping, found a list"),
        (loop, "model.model.model: more than 20000 values, or more than 40 levels"),
        ({}, "version: missing"),
    ]
    for data, answer in cases:
        with pytest.raises(RecipeErrors) as caught:
            recipe_from_mapping(data)  # type: ignore[arg-type]
        assert str(caught.value.problems[0]).startswith(answer)
