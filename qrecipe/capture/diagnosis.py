"""Recognises what a capture failed at: which kind of dependence on data, at which line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ..user_line import Line, deepest_line, steps_of
from .value_reads import Watch

FailureKind = Literal[
    "branch",
    "equal",
    "item",
    "tolist",
    "varying",
    "numpy",
    "function",
    "operator",
    "size",
    "bound",
    "autocast",
    "subgraph",
    "transform",
    "other",
]
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


class Refused(Exception):  # noqa: N818 - raised in a model's forward, and told as a finding
    """What a capture must not leave in a graph. line: of the model's code, where it is known. frozen: a finding's."""

    def __init__(self, kind: FailureKind, line: Line | None, frozen: tuple[str, ...] = ()) -> None:
        super().__init__(kind)
        self.kind = kind
        self.line = line
        self.frozen = frozen


def diagnose(error: BaseException, watch: Watch) -> Finding:
    """What an export failed at, and where, by its error and what was seen until then."""
    root = watch.root
    chain = _chain(error)
    refused = next((one for one in chain if isinstance(one, Refused)), None)
    if refused is not None:
        return Finding(refused.kind, refused.line, None, refused.frozen)
    text = "\n".join(f"{type(one).__name__}: {one}" for one in chain)
    steps = [step for one in chain for step in steps_of(one.__traceback__)]
    line = deepest_line(steps_of(error.__traceback__), root)
    kind, read = watch.last_read or (None, None)
    if "UnsupportedOperator" in text or _OPERATOR.search(text):
        return Finding("operator", line)
    if "numpy" in text or (kind == "numpy" and read == line):
        return Finding("numpy", line or read)
    if any("torch/_higher_order_ops/" in _slashed(frame.f_code.co_filename) for frame, _ in steps):
        return Finding("subgraph", line)
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
    return _slashed(file).endswith("torch/autograd/function.py")


def _slashed(file: str) -> str:
    return file.replace("\\", "/")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain
