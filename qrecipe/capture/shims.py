"""Keeps sizes symbolic while a model is captured. Active during the capture only, and undone in any case.

``torch.export`` burns a size into the graph wherever Python turns it into a plain number. The places where detection
transformers do so are few: ``torch.tensor`` over a list of sizes, ``torch.linspace`` with a size as its steps,
``len(tensor)``, ``int(size)``, and branches on whether all values are finite.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CellType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .equality import known_equality
from .known_sizes import KnownSizes

FAKE_TENSOR_CACHE = False
"""Looking up fake tensors of symbolic shapes takes torch longer than making them anew: benchmarks/capture.py."""
_MISSING = object()
_DATA: Any = vars(torch._C.TensorBase)["data"].__get__
"""``tensor.data``, which torch.export's tracer takes for a constant; a graph has ``detach`` in its place."""


class SymbolicSizes(TorchFunctionMode):
    """Rewrites the torch calls that would turn a symbolic size into a constant, and takes the finite branch."""

    def __init__(self) -> None:
        super().__init__()
        # Tensors are kept alive: an id must not be given to another tensor during the capture.
        self._elementwise: dict[int, tuple[Tensor, bool]] = {}
        self._verdict: dict[int, tuple[Tensor, bool]] = {}
        self.sizes = KnownSizes()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is Tensor.new_tensor and len(args) > 1 and self._holds_size(args[1]):
            func, options = torch.tensor, {"dtype": args[0].dtype, "device": args[0].device, **options}
            args = args[1:]
        if func in (torch.tensor, torch.as_tensor) and args and self._holds_size(args[0]):
            made = _symbolic_tensor(args[0], **options)
            self.sizes.follow(func, args, options, made)
            return made
        if (equal := known_equality(func, args, self.sizes)) is not None:
            return equal
        if (read := self.sizes.read(func, args)) is not None:
            return read[0]
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = self.sizes.in_slices(args)
        if func is torch.linspace:
            ends = {**dict(zip(("start", "end", "steps"), args, strict=False)), **options}
            ends = {name: value if (size := self.sizes.number(value)) is None else size for name, value in ends.items()}
            if isinstance(ends.get("steps"), torch.SymInt):
                return _symbolic_linspace(**ends)
        if func == _DATA:  # made anew at each access
            return args[0].detach()
        if func is Tensor.__bool__ and id(args[0]) in self._verdict:
            return self._verdict[id(args[0])][1]
        result = func(*args, **options)
        self._remember(func, args, result)
        self.sizes.follow(func, args, options, result)
        return result

    def _holds_size(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(self._holds_size(item) for item in value)
        return isinstance(value, torch.SymInt) or isinstance(self.sizes.number(value), torch.SymInt)

    def _remember(self, func: Callable[..., Any], args: Sequence[Any], result: Any) -> None:
        """Follow ``isfinite(x).all()`` and ``isnan(x).any()`` (also ``isinf``) to the branch they decide."""
        if not isinstance(result, Tensor):
            return
        if func in (torch.isfinite, Tensor.isfinite):
            self._elementwise[id(result)] = (result, True)
        elif func in (torch.isinf, torch.isnan, Tensor.isinf, Tensor.isnan):
            self._elementwise[id(result)] = (result, False)
        elif func in (torch.all, Tensor.all, torch.any, Tensor.any) and args and id(args[0]) in self._elementwise:
            self._verdict[id(result)] = (result, self._elementwise[id(args[0])][1])


def _symbolic_tensor(value: Any, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> Tensor:
    if isinstance(value, list | tuple):
        return torch.stack([_symbolic_tensor(item, dtype, device) for item in value])
    if isinstance(value, Tensor):
        return value.to(dtype=dtype or value.dtype, device=device or value.device)
    if dtype is None and isinstance(value, float | torch.SymFloat):
        dtype = torch.get_default_dtype()
    kind = dtype or (torch.bool if isinstance(value, bool) else torch.int64)
    return torch.scalar_tensor(value, dtype=kind, device=device)


def _symbolic_linspace(start: Any, end: Any, steps: torch.SymInt, **options: Any) -> Tensor:
    """``torch.linspace``'s own arithmetic, with its rounding: from the start in the first half, from the end after."""
    kind = options.pop("dtype", None) or torch.get_default_dtype()
    count: Any = steps
    index = torch.arange(count, dtype=torch.int64, device=options.get("device"))
    # One step is the start alone: it must neither divide by zero nor count as the second half.
    largest: Callable[[Any, int], Any] = torch.sym_max
    gaps, half = largest(count - 1, 1), largest(count // 2, 1)
    step = (_number(end, kind) - _number(start, kind)) / gaps
    rising = start + step * index.to(kind)
    falling = end - step * (count - 1 - index).to(kind)
    return torch.where(index < half, rising, falling)


def _number(value: Any, kind: torch.dtype) -> Tensor:
    return value.to(kind) if isinstance(value, Tensor) else torch.scalar_tensor(value, dtype=kind)


def _symbolic_len(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) else builtins.len(value)


class _IntMeta(type):
    """Lets ``isinstance(x, int)`` go on meaning what it says in a module where the name is replaced."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, builtins.int)


def _symbolic_int(sizes: KnownSizes) -> type:
    """Stands in for ``int`` in a model's modules: symbolic sizes pass through, all else becomes a plain ``int``."""

    class SymbolicInt(metaclass=_IntMeta):
        def __new__(cls, value: Any = 0, *args: Any, **kwargs: Any) -> Any:
            size = value if isinstance(value, torch.SymInt) else sizes.number(value)
            return builtins.int(value, *args, **kwargs) if size is None else size

    return SymbolicInt


def _modules_of(model: nn.Module) -> set[ModuleType]:
    """The Python modules that define the classes of the model's parts, and the functions of the same package that
    they use (``torch_int`` of transformers turns sizes into numbers for all its models). torch itself is left alone.
    """
    names = {base.__module__ for part in model.modules() for base in type(part).__mro__}
    own = {name for name in names if _is_shadowed(name)}
    used = {
        value.__module__
        for name in own
        for value in vars(sys.modules[name]).values()
        if isinstance(value, FunctionType) and value.__module__.split(".")[0] == name.split(".")[0]
    }
    return {sys.modules[name] for name in own | {name for name in used if _is_shadowed(name)}}


def _is_shadowed(module: str) -> bool:
    return module in sys.modules and module.split(".")[0] not in {"torch", "builtins", "qrecipe", "typing", "abc"}


def _clear_caches(modules: set[ModuleType]) -> None:
    """Empty every ``functools.lru_cache`` of the modules and their classes, also one behind a decorator.

    A position embedding cached for a symbolic size belongs to one capture: neither the next one nor the model may
    find it.
    """
    for module in modules:
        for value in list(vars(module).values()):
            held = vars(value).values() if isinstance(value, type) else (value,)
            for function in held:
                inner = getattr(function, "__func__", function)
                cells = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or () if _is_filled(cell)]
                for candidate in (inner, *cells):
                    clear = getattr(candidate, "cache_clear", None)
                    if callable(clear) and hasattr(candidate, "__wrapped__"):
                        clear()


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


@contextmanager
def symbolic_sizes(model: nn.Module) -> Iterator[None]:
    """Everything above, for the length of one capture of ``model``."""
    dynamo: Any = importlib.import_module("torch._dynamo.config")  # seconds, which reading students does without
    mode = SymbolicSizes()
    shadows: dict[str, Any] = {"len": _symbolic_len, "int": _symbolic_int(mode.sizes)}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    modules = _modules_of(model)
    _clear_caches(modules)
    for module in modules:
        space = vars(module)
        for name, stand_in in shadows.items():
            changed.append((space, name, space.get(name, _MISSING)))
            space[name] = stand_in
    try:
        with mode, dynamo.patch(fake_tensor_cache_enabled=FAKE_TENSOR_CACHE):
            yield
    finally:
        for space, name, before in reversed(changed):
            if before is _MISSING:
                del space[name]
            else:
                space[name] = before
        _clear_caches(modules)
