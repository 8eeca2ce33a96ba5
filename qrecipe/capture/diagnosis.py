"""Recognises what a capture failed at: which kind of dependence on data, at which line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from .user_line import Line, deepest_line, steps_of
from .value_reads import Watch

FailureKind = Literal["branch", "item", "tolist", "varying", "numpy", "function", "operator", "size", "other"]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)

_OPERATOR = re.compile(
    r"fake impl|fake kernel|meta kernel|meta implementation|'Meta' backend|meta tensors|running with fake"
)


@dataclass(frozen=True)
class Finding:
    """kind and line of a failure. read: where the value came from, if elsewhere; frozen: what became a number."""

    kind: FailureKind
    line: Line | None
    read: Line | None = None
    frozen: tuple[str, ...] = ()


def diagnose(error: Exception, watch: Watch) -> Finding:
    """What an export failed at, and where, by its error and what was seen until then."""
    root = watch.root
    chain = _chain(error)
    text = "\n".join(f"{type(one).__name__}: {one}" for one in chain)
    steps = [step for one in chain for step in steps_of(one.__traceback__)]
    line = deepest_line(steps_of(error.__traceback__), root)
    kind, read = watch.last_read or (None, None)
    if "UnsupportedOperator" in text or _OPERATOR.search(text):
        return Finding("operator", line)
    if "numpy" in text or (kind == "numpy" and read == line):
        return Finding("numpy", line or read)
    if any(frame.f_code.co_name == "apply" and _is_autograd(frame.f_code.co_filename) for frame, _ in steps):
        return Finding("function", line)
    if "ConstraintViolation" in text or "Constraints violated" in text:
        frozen = tuple(watch.frozen)
        kind, at = next(iter(watch.frozen.values()), ("size", None))
        return Finding(_kind(kind), at or line, None, frozen)
    if "DynamicOutputShape" in text:
        return Finding("varying", line)
    if "DataDependent" in text:
        return Finding(_kind(kind or "branch"), line or read, read if read != line else None)
    return Finding("other", line)


def _kind(name: str) -> FailureKind:
    return next((kind for kind in FAILURE_KINDS if kind == name), "other")


def _is_autograd(file: str) -> bool:
    return file.replace("\\", "/").endswith("torch/autograd/function.py")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain
