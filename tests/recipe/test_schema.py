"""The schema, the dataclasses and the tuples of names say the same."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from qrecipe.distill import LOSSES, MATCHERS
from qrecipe.models.families import FAMILIES, architectures
from qrecipe.quantizers import QUANTIZERS
from qrecipe.recipe import OptimizerSpec, QuantizerSpec, Recipe, Rule, definition, schema
from qrecipe.recipe import names as recipe_names
from qrecipe.train.schedule import MULTIPLIERS
from qrecipe.vocabulary import ALIGNABLE, DISTILLABLE, OPERAND_KINDS, OVERRIDABLE

#: Fields that come from no key, and keys that become another field.
NOT_KEYS = {Recipe: {"resolved", "marks"}, Rule: {"path"}}
LEFT_OUT = {Recipe: {"name", "quantize", "distill", "train", "data"}}
NOT_FIELDS = {"": {"extends"}, "train": {"epochs"}}
FREE = {"config", "arguments"}


def resolved(part: Mapping[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        found: Any = schema()
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    return dict(part)


def needed(part: Mapping[str, Any]) -> set[str]:
    """Keys that a whole recipe must have there; items of lists are not merged, so they must have them in one file."""
    assert not ("required" in part and "x-required" in part)
    return {*part.get("required", ()), *part.get("x-required", ())}


def members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def walk(
    kind: Any, part: Mapping[str, Any], place: str
) -> Iterator[tuple[str, Any, dataclasses.Field[Any], dict[str, Any]]]:
    """Each field of a dataclass, and of those within it, with its part of the schema."""
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    keys = set(resolved(part)["properties"]) - NOT_FIELDS.get(place, set())
    assert keys == set(fields) - NOT_KEYS.get(kind, set()), f"{place}: schema and {kind.__name__} differ"
    for name in sorted(keys):
        inner = resolved(resolved(part)["properties"][name])
        where = f"{place}.{name}".lstrip(".")
        yield where, hints[name], fields[name], inner
        for member in members(hints[name]):
            item = get_args(member)[0] if get_origin(member) is tuple else member
            if dataclasses.is_dataclass(item):
                yield from walk(item, inner["items"] if item is not member else inner, where)


ROWS = list(walk(Recipe, schema(), ""))


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert len(ROWS) > 80
    assert schema() is not schema()


@pytest.mark.parametrize(("place", "hint", "field", "part"), ROWS, ids=[row[0] for row in ROWS])
def test_field_and_schema_agree(place: str, hint: Any, field: dataclasses.Field[Any], part: dict[str, Any]) -> None:
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        tuple: "array",
        Mapping: "object",
    }
    typed = {part["type"]} if isinstance(part.get("type"), str) else set(part.get("type", ()))
    allowed = set(part.get("enum", ()))
    nullable = type(None) in members(hint)
    assert nullable == (None in allowed if allowed else "null" in typed)
    for member in members(hint):
        origin = get_origin(member) or member
        if origin is Literal:
            assert allowed - {None} == set(get_args(member)) or part["pattern"].startswith(f"^{get_args(member)[0]}")
        elif dataclasses.is_dataclass(member) or str(origin).endswith("Mapping'>"):
            assert "object" in typed
        elif str(origin).endswith("Path'>"):
            assert "string" in typed
        elif origin is not type(None) and not allowed:
            assert names[origin] in typed
    if "default" in part:
        default = field.default_factory() if callable(field.default_factory) else field.default
        assert part["default"] == (list(default) if isinstance(default, tuple) else default)
    elif allowed or typed & {"integer", "number", "boolean"}:
        required = field.default is dataclasses.MISSING
        assert required or place.endswith("offset") or place == "version", f"{place}: the schema lacks its default"


def parts(part: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sub-schema."""
    yield place, part
    for group in ("properties", "$defs"):
        for name, inner in part.get(group, {}).items():
            yield from parts(inner, f"{place}.{name}")
    if isinstance(part.get("items"), dict):
        yield from parts(part["items"], f"{place}[]")


def test_every_key_is_described_and_no_mapping_is_open() -> None:
    for place, part in parts(schema()):
        whole = resolved(part)
        assert whole["description"].endswith("."), place
        kinds = whole.get("type", ())
        if "object" in ([kinds] if isinstance(kinds, str) else kinds):
            name = place.rsplit(".", 1)[-1]
            closed = whole.get("additionalProperties", True)
            assert closed is False or name in FREE, place
        for key in needed(whole):
            assert key in whole["properties"], place


def test_required_keys_are_the_fields_without_defaults() -> None:
    seen: dict[Any, set[str]] = {Recipe: needed(schema())}
    for _place, hint, _field, part in ROWS:
        for member in members(hint):
            item = get_args(member)[0] if get_origin(member) is tuple else member
            if dataclasses.is_dataclass(item):
                seen[item] = needed(part if item is member else resolved(part["items"]))
    kinds = {kind for kind in vars(definition).values() if dataclasses.is_dataclass(kind)}
    assert set(seen) == kinds - {definition.Mark}
    for kind, required in seen.items():
        missing = dataclasses.MISSING
        fields = dataclasses.fields(kind)
        bare = {field.name for field in fields if field.default is missing and field.default_factory is missing}
        assert required - {"version"} == bare - NOT_KEYS.get(kind, set()) - LEFT_OUT.get(kind, set()), kind
    quantizer = schema()["$defs"]["quantizer"]["properties"]
    assert set(schema()["$defs"]["override"]["properties"]) == set(quantizer)
    assert {field.name for field in dataclasses.fields(QuantizerSpec)} == set(quantizer)


def test_every_optional_key_says_its_default_and_every_number_its_unit() -> None:
    """In words too, for editors show descriptions but not defaults. Sections have none but their keys'."""
    counted = 0
    for place, part in parts(schema()):
        for name, inner in part.get("properties", {}).items():
            whole = resolved(inner)
            text = whole["description"]
            default = whole.get("default")
            if default is not None and not isinstance(default, dict):
                counted += 1
                assert text.endswith(f" Default: {default if isinstance(default, str) else json.dumps(default)}."), name
            elif "default" in whole and "properties" not in whole:
                absent = ".model" in place or ".teacher" in place or name == "keep"  # null is as good as leaving it out
                assert "null" in text or isinstance(default, dict) or absent, f"{place}.{name}"
            elif name not in needed(part) and "properties" not in whole:
                assert (place, name) in NO_DEFAULT or place.endswith(".roles"), f"{place}.{name}"
            for example in whole.get("examples", ()):
                errors = list(Draft202012Validator({"$defs": schema()["$defs"], **inner}).iter_errors(example))
                assert not errors, f"{place}.{name}: {errors}"
    assert counted > 40


NO_DEFAULT = {
    ("", "version"),
    ("", "name"),
    ("", "extends"),
    (".train", "epochs"),
    (".quantizer", "bits"),
    (".override", "bits"),
    (".override", "quantizer"),
    (".override", "per"),
    (".override", "offset"),
    (".override", "scale"),
    (".override", "init"),
    (".quantizer", "offset"),
}
"""Keys whose default depends on others, or that change only what they name."""


def test_names_are_those_of_the_schema_and_of_the_tables() -> None:
    quantizer = schema()["$defs"]["quantizer"]["properties"]
    target = schema()["$defs"]["target"]["properties"]
    schedule = schema()["properties"]["train"]["properties"]["schedule"]["properties"]
    model = schema()["$defs"]["model"]["properties"]
    assert target["loss"]["enum"] == list(LOSSES)
    assert target["match"]["properties"]["kind"]["enum"] == list(MATCHERS)
    assert schedule["name"]["enum"] == list(MULTIPLIERS)
    for row in MATCHERS.values():
        assert set(row.reads) <= set(target["match"]["properties"]) - {"kind"}
    assert target["at"]["enum"] == list(DISTILLABLE)
    assert schema()["$defs"]["align"]["properties"]["at"]["enum"] == list(ALIGNABLE)
    assert list(model["roles"]["properties"]) == list(OVERRIDABLE)
    assert set(ALIGNABLE) < set(DISTILLABLE)
    assert set(model["family"]["examples"]) <= set(FAMILIES)
    assert set(model["architecture"]["examples"]) <= {"demo", *architectures()}
    assert {word for words in recipe_names.GRANULARITIES.values() for word in words} == set(quantizer["per"]["enum"])
    assert set(recipe_names.GRANULARITIES) == set(OPERAND_KINDS)
    for row in QUANTIZERS.values():
        assert set(row.offsets) <= set(OPERAND_KINDS)
        assert {offset for offsets in row.offsets.values() for offset in offsets} <= set(quantizer["offset"]["enum"])
        # What the description of offset says.
        assert {offsets[0] for offsets in row.offsets.values()} <= {"none", "integer"}
        assert row.offsets.get("weight", ("none",))[0] == "none"
    assert schema()["properties"]["version"]["enum"] == [recipe_names.VERSION]
    kinds = schema()["properties"]["train"]["properties"]["optimizer"]["properties"]["name"]["enum"]
    assert OptimizerSpec().name in kinds
