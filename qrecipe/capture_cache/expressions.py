"""Symbolic sizes as plain lists, and back. They are put together from a table of classes, never evaluated as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sympy
from sympy.core.operations import LatticeOp
from torch.utils._sympy import functions, numbers

from .plain import Unkeepable

_SYMPY = (
    *(sympy.Add, sympy.Mul, sympy.Pow, sympy.Mod, sympy.Max, sympy.Min, sympy.floor, sympy.ceiling, sympy.Abs),
    *(sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge, sympy.And, sympy.Or, sympy.Not, sympy.Piecewise),
)
_TORCH = ("Max", "Min", *functions.__all__)
_CLASSES: Mapping[str, Any] = {
    **{kind.__name__: kind for kind in _SYMPY},
    **{f"torch.{name}": getattr(functions, name) for name in _TORCH},
}
_NAMES: Mapping[Any, str] = {kind: name for name, kind in _CLASSES.items()}
_VALUES: Mapping[str, Any] = {
    "true": sympy.true,
    "false": sympy.false,
    "oo": sympy.oo,
    "-oo": -sympy.oo,
    "int_oo": numbers.int_oo,
    "-int_oo": -numbers.int_oo,
}


def expression_to_plain(expression: Any) -> Any:
    """A whole number, or a list of a name and what it is made of. Raises: Unkeepable: a class that is not known."""
    if isinstance(expression, sympy.Integer):
        return int(expression)
    if isinstance(expression, sympy.Symbol):
        return ["symbol", expression.name, dict(expression._assumptions_orig)]
    if isinstance(expression, sympy.Rational):
        return ["rational", int(expression.p), int(expression.q)]
    if isinstance(expression, sympy.Float):
        return ["float", float(expression).hex()]
    for name, value in _VALUES.items():
        if expression == value:
            return ["value", name]
    kind = type(expression)
    if kind not in _NAMES:
        raise Unkeepable(f"a size of it is calculated by {kind.__name__}")
    parts = [expression_to_plain(argument) for argument in expression.args]
    # The arguments of a maximum are a set.
    return [_NAMES[kind], *(sorted(parts, key=json.dumps) if isinstance(expression, LatticeOp) else parts)]


def expression_from_plain(data: Any) -> Any:
    """Raises: KeyError, TypeError, ValueError: it is not what ``expression_to_plain`` writes."""
    if not isinstance(data, list):
        return sympy.Integer(data)
    name, *rest = data
    if name == "symbol":
        return sympy.Symbol(rest[0], **rest[1])
    if name == "rational":
        return sympy.Rational(*rest)
    if name == "float":
        return sympy.Float(float.fromhex(*rest))
    if name == "value":
        return _VALUES[rest[0]]
    kind, parts = _CLASSES[name], list(map(expression_from_plain, rest))
    # A maximum in another one may stand there as it would not be made again: what comes back is what was kept.
    return kind(*parts, evaluate=False) if issubclass(kind, LatticeOp) else kind(*parts)
