"""A recipe against its JSON Schema: keys, types, names and ranges, in words that a user can act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from ..suggestions import did_you_mean
from .definition import KeyPath, dotted
from .distill_table import LOSSES, MATCHERS
from .document import Document, LocatedError, shown
from .quantizer_table import INITIALISERS, QUANTIZERS
from .schema_file import schema

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_NEEDED = ("required", "x-required")
"""The second: what the whole recipe needs, though one file of several may leave it to another; editors pass over it."""
_FLOAT = "^float"
"""How the pattern begins that admits the word float alone, beside a mapping."""


def shape_problems(document: Document, *, complete: bool = True) -> list[LocatedError]:
    """Everything in a document that its schema refuses.

    complete: whether a missing key is a problem.
    """
    problems: list[LocatedError] = []
    judged: set[KeyPath] = set()
    for error in _validator().iter_errors(document.data):
        if error.validator in ("additionalProperties", *_NEEDED):
            if complete or error.validator not in _NEEDED:
                problems += _translated(document, error)
        elif (path := tuple(error.absolute_path)) not in judged:  # of one value, the first is enough: its type
            judged.add(path)
            problems += _translated(document, error)
    return problems


def takes_null(path: KeyPath) -> bool:
    """Whether null is a value at a place of a recipe: it is within mappings of free keys, and at unknown keys."""
    part = cast("Mapping[str, Any]", _validator().schema)
    for name in path:
        part = _resolved(part)
        inner = part.get("items") if isinstance(name, int) else part.get("properties", {}).get(name)
        if not isinstance(inner, Mapping):
            return True
        part = inner
    part = _resolved(part)
    types = part.get("type", ())
    return None in part.get("enum", ()) or "null" in ([types] if isinstance(types, str) else types)


def _validator() -> Validator:
    return _validator_of(tuple(QUANTIZERS), tuple(INITIALISERS), tuple(LOSSES), tuple(MATCHERS))


@cache
def _validator_of(*_names: tuple[str, ...]) -> Validator:
    """Made once, unless a table that the schema takes names from has changed."""
    base = Draft202012Validator
    # Python's True is an int, and JSON Schema's 1.0 an integer; neither may pass for a number of bits.
    checker = base.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number})
    words = {"x-required": base.VALIDATORS["required"]}
    kind = cast("type[Validator]", extend(base, words, type_checker=checker))  # type: ignore[no-untyped-call]
    return kind(schema())


def _is_integer(checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _is_number(checker: object, value: object) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and value - value == 0)  # finite


def _near(word: object, words: Iterable[str]) -> str | None:
    """Keys and words of a recipe are short: half of one is enough to know it by."""
    return did_you_mean(word, words, cutoff=0.5)


def _translated(document: Document, error: ValidationError) -> Iterator[LocatedError]:
    path: KeyPath = tuple(error.absolute_path)
    value: Any = error.instance
    rule: Any = error.validator_value
    part = error.schema if isinstance(error.schema, Mapping) else {}
    match error.validator:
        case "additionalProperties":
            allowed = sorted(part["properties"])
            for key in [key for key in value if key not in part["properties"]]:
                near = _near(key, [known for known in allowed if known not in value]) or _near(key, allowed)
                remedy = near or f"{dotted(path)} has {', '.join(allowed)}"
                yield document.problem((*path, key), "unknown key", remedy, at_key=True)
        case "required" | "x-required":
            for key in [key for key in rule if key not in value]:
                yield document.problem((*path, key), "missing", _remedy(_resolved(part["properties"][key])))
        case "type":
            what = f"expected {expected(part)}, found {shown(value)}"
            yield document.problem(path, what, _remedy(part, value, ranges=False))
        case "enum":
            near = _near(value, [word for word in rule if isinstance(word, str)])
            what = f"must be {_one_of(rule)}; found {shown(value)}"
            yield document.problem(path, what, near or _remedy(part, value, ranges=False))
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" as bound:
            what = f"must be {_BOUNDS[bound]} {rule}; found {shown(value)}"
            yield document.problem(path, what, f"expected {expected(part)}")
        case "minItems" | "maxItems":
            low, high = part.get("minItems", 0), part.get("maxItems")
            count = ("" if low == high else "at least ") + f"{low} item{'' if low == 1 else 's'}"
            yield document.problem(path, f"expected {count}, found {len(value)}", _remedy(part, ranges=False))
        case "minLength":
            yield document.problem(path, "expected text, found none", _remedy(part, ranges=False))
        case "minProperties":
            yield document.problem(path, "expected keys, found none", _remedy(part, ranges=False))
        case "uniqueItems":
            yield document.problem(path, "has an item twice", _remedy(part, ranges=False))
        case "pattern" if rule.startswith(_FLOAT):
            yield document.problem(path, f"must be float or a mapping; found {shown(value)}", _near(value, ["float"]))
        case "pattern":
            yield document.problem(path, f"{shown(value)} is not of the right form", _remedy(part))
        case _:
            yield document.problem(path, error.message.splitlines()[0])


def expected(part: Mapping[str, Any]) -> str:
    """What a part of the schema takes, in words: ``a whole number from 2 to 8``."""
    if "enum" in part:
        return _one_of(part["enum"])
    names = part.get("type", [])
    words = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    if part.get("pattern", "").startswith(_FLOAT):
        words[words.index("text")] = "float"
    low, high = part.get("minimum"), part.get("maximum")
    above, below = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    bounds = f" from {low} to {high}" if low is not None and high is not None else ""
    if not bounds:
        given = (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        bounds = " and".join(f" {word} {bound}" for word, bound in given if bound is not None)
    return " or ".join(word + (bounds if "number" in word else "") for word in words)


def _one_of(options: Sequence[object]) -> str:
    words = ["null" if option is None else str(option) for option in options]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _remedy(part: Mapping[str, Any], value: object = None, *, ranges: bool = True) -> str | None:
    """What belongs at a place of the schema."""
    if isinstance(value, bool) and ("enum" in part or "string" in part.get("type", [])):
        return "yes, no, on, off, true and false are truth values: write them in quotes to have text"
    text: str | None = part.get("description")
    if "examples" in part:
        return f"{text} For example {part['examples'][0]}"
    if ranges and ("enum" in part or "minimum" in part):
        return f"{text} Expected {expected(part)}"
    return text.rstrip(".") if text else None


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema with its reference followed, its own words first."""
    if "$ref" not in part:
        return part
    found: Any = _validator().schema
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **part}
