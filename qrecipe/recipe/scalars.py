"""What an unquoted word in a recipe means: a truth value, a number, nothing, or text.

YAML 1.1, which PyYAML reads, takes ``1e-4`` for text, ``010`` for eight and ``1:30`` for ninety. YAML 1.2's core schema
is read here instead, except that ``yes``, ``no``, ``on`` and ``off`` are still truth values: writers of YAML files are
used to quoting them, and a loader that kept them as text would differ from every other tool.
"""

from __future__ import annotations

import re

STR = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
BOOL = "tag:yaml.org,2002:bool"
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset(word for base in ("true", "yes", "on") for word in (base, base.capitalize(), base.upper()))
_FALSE = frozenset(word for base in ("false", "no", "off") for word in (base, base.capitalize(), base.upper()))
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_LONGEST_NUMBER = 80

Scalar = str | int | float | bool | None


def tag_of(word: str) -> str:
    """The tag of an unquoted word."""
    if word in _NULLS:
        return NULL
    if word in _TRUE or word in _FALSE:
        return BOOL
    if _INT.fullmatch(word):
        return INT
    return FLOAT if _FLOAT.fullmatch(word) else STR


def scalar(tag: str, word: str) -> Scalar:
    """The value of a word under a tag, its own or one that the recipe writes out (``!!int "4"``).

    Raises: ValueError where the word has no such value, or the tag is none of the five.
    """
    if tag == STR:
        word.encode()  # an escape such as "\ud800" makes text that no file or terminal takes
        return word
    if tag == NULL and word in _NULLS:
        return None
    if tag == BOOL and (word in _TRUE or word in _FALSE):
        return word in _TRUE
    if len(word) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(word)} characters")
    if tag == INT and _INT.fullmatch(word):
        return int(word, 0) if word[:2] in ("0x", "0o") else int(word)
    if tag == FLOAT and (_FLOAT.fullmatch(word) or _INT.fullmatch(word)):
        return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
    raise ValueError(f"{word!r} as {tag}")
