"""Follows tensors that hold sizes of the image, so that reading one gives the size and not an unknown number.

Deformable DETR and its kin keep height and width of every feature level in a tensor, iterate over it, multiply, add up,
and split by what comes out. Such a tensor is made of sizes that are known while a model is captured: they go along with
it here, as Python's numbers or torch's symbols, through what rearranges, calculates and compares.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental import symbolic_shapes
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

symbolic: Any = symbolic_shapes
_broadcast: Any = torch.broadcast_tensors
Values = list[Any]
"""Of a tensor's elements, in their order: int, bool, ``torch.SymInt`` or ``torch.SymBool``."""

MOST = 256
"""Elements of a tensor that is followed. Levels are few; a long tensor of whole numbers is something else."""
_WHOLE = (torch.int32, torch.int64)

_IN_ORDER = {
    *(
        "view",
        "reshape",
        "flatten",
        "ravel",
        "unflatten",
        "unsqueeze",
        "squeeze",
        "view_as",
        "reshape_as",
        "to",
        "type",
    ),
    *("type_as", "long", "int", "cpu", "cuda", "contiguous", "clone", "detach", "detach_"),
}
"""What gives the same elements in the same order."""
_MOVED = {
    *("__getitem__", "select", "narrow", "stack", "cat", "concat", "concatenate", "hstack", "vstack", "flip", "roll"),
    *("unbind", "split", "split_with_sizes", "chunk", "tensor_split", "expand", "expand_as", "broadcast_to", "repeat"),
    *("tile", "repeat_interleave", "permute", "transpose", "swapaxes", "movedim", "t", "T", "mT", "index_select"),
}
"""What gives elements of its arguments at other places: found by moving the places themselves."""


def _swapped(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: compute(b, a)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("add", "__add__", "__radd__"), operator.add),
    **dict.fromkeys(("sub", "subtract", "__sub__"), operator.sub),
    **dict.fromkeys(("rsub", "__rsub__"), _swapped(operator.sub)),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), operator.mul),
    **dict.fromkeys(("floor_divide", "__floordiv__"), operator.floordiv),
    "__rfloordiv__": _swapped(operator.floordiv),
    **dict.fromkeys(("remainder", "__mod__"), operator.mod),
    **dict.fromkeys(("maximum", "max"), torch.sym_max),
    **dict.fromkeys(("minimum", "min"), torch.sym_min),
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"__{name}__": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
_FOLDED: dict[str, Callable[[Any, Any], Any]] = {
    "sum": operator.add,
    "prod": operator.mul,
    **dict.fromkeys(("amax", "max"), torch.sym_max),
    **dict.fromkeys(("amin", "min"), torch.sym_min),
    "all": symbolic.sym_and,
    "any": symbolic.sym_or,
}
_RUNNING: dict[str, Callable[[Any, Any], Any]] = {"cumsum": operator.add, "cumprod": operator.mul}
_FILLED = {"zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1}


class KnownSizes:
    """What each tensor of sizes holds. A tensor that is written into is forgotten."""

    def __init__(self) -> None:
        # Tensors are kept alive: an id must not be given to another tensor during the capture.
        self._held: dict[int, tuple[Tensor, int, Values]] = {}

    def note(self, tensor: Tensor, values: Iterable[Any]) -> None:
        """These are the elements of a tensor."""
        found = list(values)
        if tensor.dtype not in (*_WHOLE, torch.bool) or not all(isinstance(size, int) for size in tensor.shape):
            return
        if len(found) != tensor.numel() or not all(map(_is_whole, found)):
            return
        self._held[id(tensor)] = (tensor, tensor._version, found)
        if isinstance(tensor, FakeTensor) and len(found) == 1:
            tensor.item_memo = found[0]  # what torch gives where it reads a number from the tensor

    def of(self, value: Any) -> Values | None:
        """The elements of a tensor, None where they are not known."""
        tensor, version, values = self._held.get(id(value), (None, 0, None))
        return values if tensor is not None and tensor._version == version else None

    def number(self, value: Any) -> Any:
        """That of a tensor with one whole number, None where it is not known."""
        values = self.of(value)
        return values[0] if values is not None and len(values) == 1 and value.dtype in _WHOLE else None

    def in_slices(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of an index with numbers as the limits of its slices, which Python would read as its own."""

        def limit(end: Any) -> Any:
            number = self.number(end) if isinstance(end, Tensor) else None
            return end if number is None else number

        def with_numbers(part: Any) -> Any:
            return slice(limit(part.start), limit(part.stop), limit(part.step)) if isinstance(part, slice) else part

        index = args[1]
        return (
            args[0],
            tuple(map(with_numbers, index)) if isinstance(index, tuple) else with_numbers(index),
            *args[2:],
        )

    def read(self, func: Callable[..., Any], args: Sequence[Any]) -> Any:
        """What reading a tensor of sizes gives, in a list of one; None where this is no reading of one."""
        values = self.of(args[0]) if args else None
        if values is None:
            return None
        tensor: Tensor = args[0]
        if func is Tensor.item and len(values) == 1:
            return [values[0]]
        if func is Tensor.tolist:
            return [_nested(values, tuple(tensor.shape))]
        if func is Tensor.__bool__ and len(values) == 1:
            return [bool(values[0])]
        if func is Tensor.__iter__ and tensor.ndim:
            rows = [tensor.select(0, index) for index in range(len(tensor))]
            width = len(values) // len(rows)
            for index, row in enumerate(rows):
                self.note(row, values[index * width : (index + 1) * width])
            return [iter(rows)]
        return None

    def follow(self, func: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any], result: Any) -> None:
        """Note what is known of a call's results, tensors."""
        name = _name_of(func)
        results = [result] if isinstance(result, Tensor) else result
        if not isinstance(results, list | tuple) or not all(isinstance(one, Tensor) for one in results):
            return
        if any(one.numel() > MOST if _is_fixed(one) else True for one in results):
            return
        first = args[0] if args else None
        if name in _FILLED and results[0].dtype in _WHOLE:
            self.note(results[0], [_FILLED[name]] * results[0].numel())
        elif name in ("tensor", "as_tensor", "new_tensor", "scalar_tensor"):
            self.note(results[0], self._flat(args[1] if name == "new_tensor" else args[0]))
        elif not any(self.of(leaf) is not None for leaf in pytree.tree_leaves((args, dict(options)))):
            return
        elif name in _IN_ORDER and (known := self.of(first)) is not None:
            self.note(results[0], known)
        elif name in _MOVED:
            self._note_moved(func, args, options, results)
        elif name in ("__neg__", "neg", "negative") and (known := self.of(first)) is not None:
            self.note(results[0], [-value for value in known])
        elif name in _BINARY and len(args) == 2 and not options:
            self._note_binary(_BINARY[name], args, results[0])
        elif name in ("div", "divide") and dict(options) == {"rounding_mode": "floor"}:
            self._note_binary(operator.floordiv, args, results[0])
        elif name in _FOLDED or name in _RUNNING:
            self._note_along(name, args, options, results[0])

    def _flat(self, value: Any) -> Values:
        """What a tensor is made of, in order; a tensor of one size in it is that size."""
        if isinstance(value, list | tuple):
            return [leaf for item in value for leaf in self._flat(item)]
        size = self.number(value) if isinstance(value, Tensor) else None
        return [value if size is None else size]

    def _note_moved(
        self, func: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any], results: Sequence[Tensor]
    ) -> None:
        values: Values = []
        with _Plain():
            places = self._places((tuple(args), dict(options)), values)
            if places is None:
                return
            moved = func(*places[0], **places[1])
            parts = [moved] if isinstance(moved, Tensor) else moved
            found = [[values[place] for place in part.flatten().tolist()] for part in parts]
        for one, own in zip(results, found, strict=True):
            self.note(one, own)

    def _note_binary(self, compute: Callable[[Any, Any], Any], args: Sequence[Any], result: Tensor) -> None:
        if not all(_is_whole(arg) or self.of(arg) is not None for arg in args):
            return
        values: Values = []
        with _Plain():
            numbers = [torch.tensor(_added(values, [arg])[0]) if _is_whole(arg) else arg for arg in args]
            places = self._places(numbers, values)
            if places is None:
                return
            left, right = (part.flatten().tolist() for part in _broadcast(*places))
        self.note(result, [compute(values[a], values[b]) for a, b in zip(left, right, strict=True)])

    def _note_along(self, name: str, args: Sequence[Any], options: Mapping[str, Any], result: Tensor) -> None:
        known = self.of(args[0])
        if known is None or not known:
            return
        dim = args[1] if len(args) > 1 else options.get("dim", options.get("axis"))
        if dim is not None and not isinstance(dim, int):
            return
        with _Plain():
            places = torch.arange(len(known)).reshape(args[0].shape)
            along = places.flatten() if dim is None else places.movedim(dim, -1)
            lines = [[known[place] for place in row] for row in along.reshape(-1, along.shape[-1]).tolist()]
        if name in _FOLDED:
            self.note(result, [reduce(_FOLDED[name], line) for line in lines])
        elif dim is not None:
            summed = [value for line in lines for value in accumulate(line, _RUNNING[name])]
            with _Plain():
                order = torch.arange(len(summed)).reshape(along.shape).movedim(-1, dim).flatten().tolist()
            self.note(result, [summed[place] for place in order])

    def _places(self, arguments: Any, values: Values) -> Any:
        """The arguments with each tensor's places in ``values``, to which its elements are added; None where one is
        not known."""
        known = {
            id(leaf): self.of(leaf)
            for leaf in pytree.tree_leaves(arguments)
            if isinstance(leaf, FakeTensor | torch.SymInt)
        }
        if any(one is None for one in known.values()):
            return None

        def places(leaf: Any) -> Any:
            if id(leaf) not in known:
                return leaf
            own = known[id(leaf)]
            assert own is not None
            return torch.tensor(_added(values, own), dtype=torch.int64).reshape(leaf.shape)

        return pytree.tree_map(places, arguments)


class _Plain(ExitStack):
    """Computes with real tensors, unseen, whatever is traced around it."""

    def __enter__(self) -> _Plain:
        self.enter_context(torch._C.DisableTorchFunction())
        self.enter_context(_disable_current_modes())
        return self


def _added(values: Values, more: Sequence[Any]) -> list[int]:
    """The places of what is added to a list."""
    start = len(values)
    values.extend(more)
    return list(range(start, len(values)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | torch.SymInt | torch.SymBool)


def _is_fixed(tensor: Tensor) -> bool:
    return all(isinstance(size, int) for size in tensor.shape)


def _nested(values: Values, shape: tuple[int, ...]) -> Any:
    if not shape:
        return values[0]
    width = len(values) // shape[0] if shape[0] else 0
    return [_nested(values[index * width : (index + 1) * width], shape[1:]) for index in range(shape[0])]


def _name_of(func: Any) -> str:
    """A function's name; that of the attribute where it reads one, as ``T``."""
    name = str(getattr(func, "__name__", ""))
    return str(getattr(getattr(func, "__self__", None), "__name__", "")) if name == "__get__" else name
