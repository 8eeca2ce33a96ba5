"""Plain data that has passed every check, to the frozen dataclasses of a recipe."""

from __future__ import annotations

import collections.abc
import copy
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ..vocabulary import OPERAND_KINDS
from .definition import KeyPath, Recipe, Rule, SplitSpec
from .document import Document
from .paths import unescaped
from .quantizer_table import default_offset

T = TypeVar("T")


def build_recipe(document: Document) -> Recipe:
    """The recipe of a checked document, whose paths are absolute. ``resolved`` and ``marks`` are copies."""
    marks = dict(document.marks)
    data = _written_out(document.data)
    if "epochs" in document.data.get("train", {}) and ("train", "epochs") in marks:
        marks[("train", "stages")] = marks[("train", "stages", 0)] = marks[("train", "epochs")]
    extra = {"resolved": copy.deepcopy(document.data), "marks": marks}
    return _build(Recipe, data, (), extra)


def _written_out(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with each shorthand in its long form, and the sections and offsets that are left out."""
    data = copy.deepcopy(dict(resolved))
    for section in ("quantize", "distill", "train", "data"):
        data.setdefault(section, {})
    for model in (data["model"], data.get("teacher") or {}):
        spec = model.get("input", {})
        for key in ("size", "within"):
            if isinstance(spec.get(key), int):
                spec[key] = [spec[key], spec[key]]
    for operand in OPERAND_KINDS:
        quantizer = data["quantize"].get(operand)
        if quantizer:
            quantizer.setdefault("offset", default_offset(operand, quantizer["quantizer"]))
    for rule in data["quantize"].get("rules", []):
        if isinstance(rule["match"], str):
            rule["match"] = [rule["match"]]
    epochs = data["train"].pop("epochs", 0)
    if epochs:
        data["train"]["stages"] = [{"name": "train", "epochs": epochs}]
    if limit := data["train"].get("limit"):
        for stage in data["train"].get("stages", []):
            stage["epochs"] = min(stage["epochs"], limit)
    return data


def _build(kind: type[T], data: Mapping[str, Any], path: KeyPath, extra: Mapping[str, Any]) -> T:
    """One dataclass from a mapping of its fields; fields that are absent take their defaults.

    extra: fields that come from no key.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(cast("Any", kind))}
    unknown = set(data) - set(known)
    if unknown:
        raise TypeError(f"{kind.__name__} has no {sorted(unknown)}: the schema and the dataclasses differ")
    values = dict(extra)
    for name, field in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], (*path, name))
        elif name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise TypeError(f"{kind.__name__}.{name} is missing: the schema and the dataclasses differ")
    return kind(**values)


def _convert(hint: Any, value: Any, path: KeyPath) -> Any:
    """A plain value as a field's type has it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        return _convert(next(member for member in arguments if _takes(member, value)), value, path)
    if is_dataclass(hint) and isinstance(hint, type):
        made = _build(hint, value, path, {"path": path} if hint is Rule else {})
        return _as_named(made) if isinstance(made, SplitSpec) else made
    if origin is tuple:
        members = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        pairs = zip(members, value, strict=True)
        return tuple(_convert(member, item, (*path, index)) for index, (member, item) in enumerate(pairs))
    if hint in (float, Path):
        return hint(value)
    return value


def _takes(member: Any, value: Any) -> bool:
    """Whether one member of a union is meant; only mappings and fixed words are told apart."""
    if get_origin(member) is Literal:
        return value in get_args(member)
    if get_origin(member) is collections.abc.Mapping or is_dataclass(member):
        return isinstance(value, Mapping)
    return member is not type(None)


def _as_named(split: SplitSpec) -> SplitSpec:
    return SplitSpec(Path(unescaped(str(split.images))), Path(unescaped(str(split.annotations))))
