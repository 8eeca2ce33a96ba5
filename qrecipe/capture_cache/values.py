"""What a graph knows of its nodes' values, tensors without data of symbolic shape: as plain data, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .expressions import expression_from_plain, expression_to_plain
from .plain import Unkeepable, from_plain, to_plain

_NUMBERS = {"symint": torch.SymInt, "symbool": torch.SymBool, "symfloat": torch.SymFloat}


class ValueWriter:
    """Collects the values of one graph, each kind of value once.

    values: of a list of a tag and plain data each. symbols: by their expression as text, with the value at which the
    graph was traced, and the range, None where there is none.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.symbols: dict[str, Any] = {}
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value in ``values``. Raises: Unkeepable."""
        plain = to_plain(value, self._plain)
        text = json.dumps(plain)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(plain)
        return self._places[text]

    def _plain(self, value: Any) -> Any:
        for name, kind in _NUMBERS.items():
            if isinstance(value, kind):
                return [name, self._number(value)]
        if type(value) is not FakeTensor or value.layout is not torch.strided or value.is_quantized:
            raise Unkeepable(f"a value in it is a {type(value).__name__}")
        extents = [[self._number(one) for one in part] for part in (value.shape, value.stride())]
        return ["tensor", str(value.dtype), *extents, str(value.device), value.requires_grad]

    def _number(self, value: Any) -> Any:
        if isinstance(value, int):
            return value
        node = value.node
        for symbol in node.expr.free_symbols:
            known = node.shape_env.var_to_range.get(symbol)
            bounds = None if known is None else [expression_to_plain(known.lower), expression_to_plain(known.upper)]
            hint = node.shape_env.backed_var_to_val.get(symbol)
            plain = expression_to_plain(symbol)
            self.symbols[symbol.name] = [plain, None if hint is None else expression_to_plain(hint), bounds]
        return expression_to_plain(node.expr)


class ValueReader:
    """Makes the values of one graph, which share their symbols. Equal ones are one object.

    Raises:
        KeyError, TypeError, ValueError: this is not what a ``ValueWriter`` collects.
    """

    def __init__(self, values: list[Any], symbols: Mapping[str, Any]) -> None:
        environment: Any = ShapeEnv()
        self._environment, self._known = environment, dict[str, Any]()
        for plain, hint, bounds in symbols.values():
            symbol = expression_from_plain(plain)
            if hint is not None:
                environment.add_backed_var_to_val(symbol, int(expression_from_plain(hint)))
            if bounds is not None:
                lower, upper = map(expression_from_plain, bounds)
                environment.constrain_symbol_range(symbol, compiler_min=lower, compiler_max=upper)
        self._makers: Mapping[str, Callable[..., Any]] = {
            "symint": environment.create_symintnode,
            "symbool": environment.create_symboolnode,
            "symfloat": environment.create_symfloatnode,
        }
        self._mode = FakeTensorMode(shape_env=environment)
        with torch.no_grad():
            self.values = [from_plain(value, self._value) for value in values]

    def _value(self, tag: str, rest: list[Any]) -> Any:
        if tag in self._makers:
            expression = expression_from_plain(*rest)
            return self._makers[tag](expression) if tag == "symbool" else self._makers[tag](expression, hint=None)
        if tag != "tensor":
            raise ValueError(f"no value is a {tag}")
        dtype, shape, stride, device, gradient = rest
        sizes, steps = ([self._extent(one) for one in part] for part in (shape, stride))
        kind = from_plain(["torch", dtype], self._value)
        plain = torch.empty_strided(sizes, steps, dtype=kind, device="meta", requires_grad=gradient)
        # Made inside the mode it takes twice as long.
        return FakeTensor(fake_mode=self._mode, elem=plain, fake_device=torch.device(device))

    def _extent(self, plain: Any) -> Any:
        """A number, or a symbolic one, each once."""
        if isinstance(plain, int):
            return plain
        text = json.dumps(plain)
        if text not in self._known:
            self._known[text] = self._environment.create_symintnode(expression_from_plain(plain), hint=None)
        return self._known[text]
