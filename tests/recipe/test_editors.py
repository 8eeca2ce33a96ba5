"""What an editor offers for the shipped recipes: the schema that each names, and what that says at each place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import qrecipe.recipe
from qrecipe.distill import LOSSES, MATCHERS
from qrecipe.quantizers import INITIALISERS, QUANTIZERS
from qrecipe.recipe import (
    AlignSpec,
    DataSpec,
    MatchSpec,
    ModelSpec,
    OptimizerSpec,
    QuantizerSpec,
    Rule,
    ScheduleSpec,
    StageSpec,
    TargetSpec,
    WeightsSource,
)
from qrecipe.recipe.schema_file import schema_text
from qrecipe.train.schedule import MULTIPLIERS
from qrecipe.vocabulary import DISTILLABLE, OVERRIDABLE

ROOT = Path(__file__).parents[2]
FOUND = sorted([*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "benchmarks").rglob("*.yaml")])
SHIPPED = [path for path in FOUND if "\nbase: " not in path.read_text(encoding="utf-8")]  # a sweep is no recipe
PACKAGED = Path(qrecipe.recipe.__file__).with_name("schema.json")
MODELINE = "# yaml-language-server: $schema="
SCHEMA: Mapping[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))
Part = Mapping[str, Any]


def followed(part: Part) -> Part:
    """References replaced by what they name, as editors do; a part's own words stay."""
    while "$ref" in part:
        found: Any = SCHEMA
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def at(*path: str | int) -> Part:
    """The part of the schema at a place of a recipe."""
    part: Part = SCHEMA
    for name in path:
        part = followed(part)
        part = part["items"] if isinstance(name, int) else part["properties"][name]
    return followed(part)


def mappings(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Every mapping of a recipe whose keys the language knows."""
    if isinstance(data, dict):
        if path and path[-1] in ("config", "arguments"):
            return
        yield path, data
        for key, value in data.items():
            yield from mappings(value, (*path, key))
    elif isinstance(data, list):
        for item in data:
            yield from mappings(item, (*path, 0))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert (
        SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"] == "https://json-schema.org/draft/2020-12/schema"
    )
    assert SCHEMA["$id"].startswith("urn:qrecipe:")
    assert PACKAGED.read_text(encoding="utf-8") == schema_text(), "run: make schema"
    assert len(SHIPPED) >= 14


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_shipped_recipe_completes(path: Path) -> None:
    """The comment leads to the schema; stock tools find no fault in the file alone; each key has a description."""
    text = path.read_text(encoding="utf-8")
    head = text[: text.index("\nversion:")]
    (line,) = [line for line in text.splitlines() if "yaml-language-server" in line]
    assert line.startswith(MODELINE)
    assert line in head
    assert (path.parent / line.removeprefix(MODELINE)).resolve() == PACKAGED.resolve()
    data = yaml.safe_load(text.replace("1e-", "1.0e-"))
    assert not [error.message for error in Draft202012Validator(SCHEMA).iter_errors(data)]
    counted = 0
    for place, mapping in mappings(data):
        part = at(*place)
        for key in mapping:
            assert followed(part["properties"][key])["description"], f"{place}: {key}"
            counted += 1
    assert counted >= 2


KEYS = {
    ("model",): ModelSpec,
    ("teacher",): ModelSpec,
    ("model", "weights"): WeightsSource,
    ("quantize", "weight"): QuantizerSpec,
    ("quantize", "attention"): QuantizerSpec,
    ("quantize", "rules", 0): Rule,
    ("quantize", "rules", 0, "weight"): QuantizerSpec,
    ("distill", "align", 0): AlignSpec,
    ("distill", "targets", 0): TargetSpec,
    ("distill", "targets", 0, "match"): MatchSpec,
    ("train", "optimizer"): OptimizerSpec,
    ("train", "schedule"): ScheduleSpec,
    ("train", "stages", 0): StageSpec,
    ("data",): DataSpec,
}


@pytest.mark.parametrize("place", KEYS, ids=lambda place: ".".join(map(str, place)))
def test_keys_that_are_offered_are_the_fields(place: tuple[str | int, ...]) -> None:
    offered = at(*place)
    fields = {field.name for field in dataclasses.fields(KEYS[place])} - {"path"}
    assert set(offered["properties"]) == fields
    assert offered["additionalProperties"] is False
    for name, part in offered["properties"].items():
        assert followed(part)["description"].endswith("."), name


VALUES = {
    ("quantize", "weight", "quantizer"): QUANTIZERS,
    ("quantize", "rules", 0, "activation", "quantizer"): QUANTIZERS,
    ("quantize", "activation", "init"): [*INITIALISERS, None],
    ("distill", "targets", 0, "match", "kind"): MATCHERS,
    ("distill", "targets", 0, "loss"): LOSSES,
    ("distill", "targets", 0, "at"): DISTILLABLE,
    ("train", "schedule", "name"): MULTIPLIERS,
}


@pytest.mark.parametrize("place", VALUES, ids=lambda place: ".".join(map(str, place)))
def test_values_that_are_offered_are_the_rows_of_tables(place: tuple[str | int, ...]) -> None:
    assert at(*place)["enum"] == list(VALUES[place])


def test_roles_that_are_offered_are_those_that_may_be_named() -> None:
    assert list(at("model", "roles")["properties"]) == list(OVERRIDABLE)
