"""Plain data as YAML text that the reader, and any other YAML tool, takes for the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .scalars import STR, tag_of

_BREAKS = frozenset("\r\x85\u2028\u2029\ufeff")


class _Dumper(yaml.SafeDumper):
    """Quotes text that either YAML 1.1 or this package's reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:
        if style is None and _BREAKS & set(value):
            style = '"'  # the emitter's other styles lose the rarer line breaks
        return super().represent_scalar(tag, value, style)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0] and tag_of(value) != STR:
            return tag_of(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def dump(resolved: Mapping[str, Any]) -> str:
    """A resolved recipe (``Recipe.resolved``) as YAML: keys in their order, lists and mappings one item a line."""
    text: str = yaml.dump(
        dict(resolved), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100
    )
    return text


def one_line(value: Mapping[str, Any]) -> str:
    """A mapping, such as a rule, as one line of YAML: ``{match: role:head, keep: float}``."""
    text: str = yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10**9
    )
    return text.strip()
