"""The keys of a recipe as tables in Markdown, written from the schema: what ``docs/recipe.md`` holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .schema_check import expected
from .schema_file import schema

Part = Mapping[str, Any]


def reference() -> str:
    """A heading for each mapping, in the order of the schema, with a row for each of its keys."""
    whole = schema()
    found: dict[str, tuple[Part, list[str]]] = {}
    _collect(whole, whole, "", found)
    titles = {name: ", ".join(places) or "The whole file" for name, (_, places) in found.items()}
    return "\n".join(
        "\n".join(
            [f"### {titles[name]}", "", part["description"], "", "| key | type | default | |", "|---|---|---|---|"]
            + [_row(whole, places[0], key, part, titles) for key in part["properties"]]
            + [""]
        )
        for name, (part, places) in found.items()
    )


def _collect(whole: Part, part: Part, place: str, found: dict[str, tuple[Part, list[str]]]) -> None:
    """Every mapping with keys of its own, by its definition or place, with the places of its use. Adds to ``found``."""
    inner = _followed(whole, part)
    if "properties" in inner:
        name = _name(part, place)
        if name in found:
            found[name][1].append(place)
            return
        found[name] = ({**inner, **_followed(whole, {"$ref": name})} if "$ref" in part else inner, [place])
        for key, child in inner["properties"].items():
            _collect(whole, child, f"{place}.{key}".lstrip("."), found)
    elif "items" in inner:
        _collect(whole, inner["items"], f"{place}[]", found)


def _name(part: Part, place: str) -> str:
    return str(part.get("$ref", place))


def _row(whole: Part, place: str, key: str, part: Part, titles: Mapping[str, str]) -> str:
    own = part["properties"][key]
    inner = _followed(whole, own)
    below = f"{place}.{key}".lstrip(".")
    items = inner.get("items")
    section = titles.get(_name(items, f"{below}[]") if items else _name(own, below))
    kind = _list(inner) if items and not section else expected(inner)
    if section:
        kind = f"[{kind}](#{_anchor(section)})"
    required = key in part.get("required", part.get("x-required", ()))
    default = "required" if required else f"`{_plain(inner['default'])}`" if "default" in inner else ""
    text = inner["description"].split(" Default: ")[0].rstrip(".") + "."
    examples = ", ".join(f"`{_plain(example)}`" for example in inner.get("examples", ()))
    text += f" For example {examples}." if examples else ""
    return f"| `{key}` | {kind} | {default} | {text} |"


def _list(part: Part) -> str:
    """``a list of whole numbers of at least 1``, as far as the items have a type."""
    items = re.sub(r"^a ((?:whole )?number)", r"\1s", expected(part["items"]))
    count = part.get("maxItems")
    names = [part["type"]] if isinstance(part["type"], str) else part["type"]
    listed = f"a list of {count} {items}" if count else f"a list of {items}"
    return " or ".join(listed if name == "array" else expected({**part, "type": name}) for name in names)


def _plain(value: Any) -> str:
    """A value as a recipe has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, str):
        return f'"{value}"' if ": " in value or value[:1] in "*$@" or ":" in value else value
    return json.dumps(value)


def _anchor(title: str) -> str:
    """The link that GitHub gives a heading."""
    kept = (character for character in title.lower() if character.isalnum() or character in " -_")
    return "".join(kept).replace(" ", "-")


def _followed(whole: Part, part: Part) -> Part:
    """A part of the schema with its references followed, its own words first."""
    while "$ref" in part:
        found: Any = whole
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    return part
