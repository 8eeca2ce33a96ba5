"""What a configuration calls the classes of its head: ``id2label`` as people and programs write it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import ModelError
from ...suggestions import nearest

_WHOLE = re.compile(r"\d{1,9}")
_BETWEEN = re.compile(r"[\s_./-]+")


def class_names(value: Any) -> dict[int, str] | None:
    """Names by class of a value that ``id2label`` has in JSON or YAML; None for null, which names nothing.

    A list names its classes in order. A name that is a number is its digits; a null is no name, and left out.

    Raises:
        ModelError: it is something else; says what, without a place.
    """
    if value is None:
        return None
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        raise ModelError(f"id2label is {_shown(value)}, neither a mapping of classes to names nor a list of names")
    names = {}
    for key, name in value.items():
        if isinstance(key, bool) or not ((isinstance(key, int) and key >= 0) or _WHOLE.fullmatch(str(key))):
            raise ModelError(f"id2label has the key {_shown(key)}, which is no class", remedy="classes count from 0")
        if isinstance(name, bool) or not isinstance(name, str | int | float | None):
            raise ModelError(f"id2label names class {key} {_shown(name)}, which is no text")
        if int(key) in names:
            raise ModelError(f"id2label names class {int(key)} twice")
        if name is not None:
            names[int(key)] = str(name)
    return names


def is_named(names: Mapping[int, str]) -> bool:
    """Whether any class has a name of its own: transformers fills in ``LABEL_3`` where nobody gave one."""
    return any(name.strip().lower() != f"label_{index}" for index, name in names.items())


def same_names(categories: Mapping[int, str], classes: Mapping[int, str]) -> dict[int, int]:
    """The class that is called like each category, where one and only one is.

    Case, spaces, hyphens and underscores make no difference, unless names differ by nothing else.
    """
    found: dict[int, int] = {}
    for spelling in (_closely, _loosely):
        taken = set(found.values())
        left = _unique({key: name for key, name in categories.items() if key not in found}, spelling)
        index = _unique({key: name for key, name in classes.items() if key not in taken}, spelling)
        found |= {key: index[name] for name, key in left.items() if name in index}
    return found


def nearest_class(name: str, known: Sequence[str]) -> str | None:
    """The one of the known names that somebody may have meant, or None."""
    spelled = {_loosely(one): one for one in known}
    close = nearest(_loosely(name), spelled, 1, cutoff=0.75)
    return spelled[close[0]] if close else None


def _unique(names: Mapping[int, str], spelling: Callable[[str], str]) -> dict[str, int]:
    spelled = {key: spelling(name) for key, name in names.items()}
    often = Counter(spelled.values())
    return {name: key for key, name in spelled.items() if often[name] == 1}


def _closely(name: str) -> str:
    return name.strip().casefold()


def _loosely(name: str) -> str:
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", name).casefold())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
