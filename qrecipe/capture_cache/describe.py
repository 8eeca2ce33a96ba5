"""Everything that a model and what calls it are made of, but the values of parameters and buffers, as one checksum."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import re
from collections import deque
from collections.abc import Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from .plain import Unkeepable
from .sources import is_own

_SIMPLE = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range)
_TORCH = (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)
_CONTAINERS = (dict, list, tuple, set, frozenset, deque, *_SIMPLE[:-1])
_HEAP_TYPE = 1 << 9
"""The flag of a class that is made at run time, as all that are written in Python."""
_WORD = 8
_BUILTINS = (BuiltinFunctionType, type(len), type(str.join), type(object.__init__), type(object().__str__))
_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)


class Description:
    """Walks over objects in the order in which they hold one another.

    modules: the names of the modules in which the classes and functions that were met are.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._digest = hashlib.sha256()
        self._classes: set[type] = set()
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # an id must not be given to another object

    def checksum(self) -> str:
        return self._digest.hexdigest()

    def add(self, value: Any) -> None:
        """Raises: Unkeepable: an object whose state cannot be told."""
        if isinstance(value, enum.Enum):
            self._class(type(value))
            self._say("enum", value.name)
        elif type(value) in _SIMPLE or isinstance(value, (*_TORCH, PurePath, re.Pattern)):
            self._say(type(value).__name__, repr(value))
        elif isinstance(value, _OPERATORS):
            self._say("operator", str(value))
        elif id(value) in self._known:
            self._say("again", self._known[id(value)])
        else:
            self._known[id(value)] = len(self._known)
            self._alive.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, ModuleType):
            self.modules.add(value.__name__)
            self._say("module", value.__name__)
        elif isinstance(value, Tensor):
            self._tensor(value, values=True)
        elif isinstance(value, numpy.ndarray) and value.dtype != object:
            self._say("array", value.dtype, value.shape, hashlib.sha256(value.tobytes()).hexdigest())
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            self._say("method")
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, functools.partial):
            self._say("partial")
            self.add((value.func, value.args, value.keywords))
        elif isinstance(value, _BUILTINS):
            self._say("builtin", getattr(value, "__module__", ""), value.__qualname__)
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, ModuleType):
                self.add(owner)
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__)
        elif isinstance(value, property):
            self.add((value.fget, value.fset, value.fdel))
        else:
            self._instance(value)

    def _instance(self, value: Any) -> None:
        kind = type(value)
        hidden = [base for base in kind.__mro__ if _hides(base)]
        if isinstance(value, Mapping) and not isinstance(value, dict):  # such as a mapping proxy
            value, hidden = dict(value), []
        if hidden or isinstance(value, torch.jit.ScriptModule):
            raise Unkeepable(f"the model holds a {kind.__module__}.{kind.__qualname__}, whose state cannot be told")
        self._class(kind)
        self._contents(value)
        if isinstance(value, nn.Module):
            self._part(value)
            return
        for base in kind.__mro__:
            for slot in _slots(base):
                if hasattr(value, slot):
                    self._say("slot", slot)
                    self.add(getattr(value, slot))
        state = getattr(value, "__dict__", None)
        if state:
            self.add(dict(state))

    def _contents(self, value: Any) -> None:
        if isinstance(value, dict):
            self._say("dict", len(value))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, set | frozenset):
            self._say("set", *sorted(self._alone(item) for item in value))
        elif isinstance(value, list | tuple | deque):
            self._say("items", len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, _SIMPLE):
            self._say("simple", repr(value))

    def _alone(self, value: Any) -> str:
        """The checksum of a set's element, which has no place."""
        other = Description()
        other.add(value)
        self.modules |= other.modules
        return other.checksum()

    def _part(self, module: nn.Module) -> None:
        """A module: its parameters and buffers without their values; hooks in their order, without their numbers."""
        for name, value in vars(module).items():
            self._say("attribute", name)
            if name in ("_parameters", "_buffers"):
                for own, tensor in value.items():
                    self._say(own)
                    self._stored(tensor)
            elif "hooks" in name and name.startswith("_"):
                self.add(list(value.values()) if isinstance(value, dict) else value)
            else:
                self.add(value)

    def _stored(self, tensor: Tensor | None) -> None:
        if tensor is None or id(tensor) in self._known:
            self.add(tensor)  # one that is tied
            return
        self._known[id(tensor)] = len(self._known)
        self._alive.append(tensor)
        self._tensor(tensor, values=False)

    def _tensor(self, tensor: Tensor, *, values: bool) -> None:
        self._class(type(tensor))
        if tensor.layout is not torch.strided or tensor.is_quantized or type(tensor).__module__.startswith("torch._s"):
            raise Unkeepable(f"the model holds a tensor of layout {tensor.layout}")
        self._say(tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.device, tensor.requires_grad)
        if values and tensor.is_meta:
            raise Unkeepable("the model holds a tensor without values")
        if values:
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            self._say(hashlib.sha256(raw.numpy().tobytes()).hexdigest())

    def _class(self, kind: type) -> None:
        """A class by name; its file says what it does, unless somebody put functions of another one into it."""
        self._say("class", kind.__module__, kind.__qualname__)
        for base in kind.__mro__:
            if base in self._classes:
                continue
            self._classes.add(base)
            self.modules.add(base.__module__)
            for name, value in vars(base).items():
                function = inspect.unwrap(value) if isinstance(value, FunctionType) else value
                if isinstance(function, FunctionType) and function.__module__ != base.__module__:
                    self._say("from elsewhere", name)
                    self.add(function)

    def _function(self, function: FunctionType) -> None:
        self.modules.add(function.__module__)
        self._say("function", function.__module__, function.__qualname__)
        self._code(function.__code__)
        for value in (function.__defaults__, function.__kwdefaults__, function.__dict__ or None):
            self.add(value)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self._say("empty cell")

    def _code(self, code: CodeType) -> None:
        """What a function does: two of one line have the same name."""
        self._say(code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant)
            elif isinstance(constant, frozenset):
                self._say("set", *sorted(map(repr, constant)))
            else:
                self._say(repr(constant))

    def _say(self, *parts: object) -> None:
        for part in parts:
            text = str(part).encode(errors="surrogateescape")
            self._digest.update(f"{len(text)}:".encode() + text)


def globals_of(modules: Mapping[str, ModuleType]) -> str:
    """The checksum of what stands at the top of modules and may have been put there at run time: functions and classes
    by where they are from, plain values of the user's own modules as they are (libraries have counters and the like).
    """
    digest = hashlib.sha256()
    for name, module in sorted(modules.items()):
        own = is_own(str(module.__file__))
        for key, value in sorted(vars(module).items()):
            if key.startswith("__"):
                continue
            if own and type(value) in (int, float, bool, str, type(None)):
                text = repr(value)
            elif isinstance(value, FunctionType | type):
                text = f"{value.__module__}.{value.__qualname__}"
            else:
                continue
            digest.update(f"{name}\0{key}\0{text}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _hides(kind: type) -> bool:
    """Whether instances hold something that Python does not show: memory that no slot, dict or weak reference is."""
    if kind is object or kind in _CONTAINERS:
        return False
    if not kind.__flags__ & _HEAP_TYPE or kind.__base__ is None:
        return True
    shown = len(_slots(kind)) + sum(name in vars(kind) for name in ("__dict__", "__weakref__"))
    return kind.__basicsize__ - kind.__base__.__basicsize__ > _WORD * shown


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    mangled = f"_{kind.__name__.lstrip('_')}"
    return [
        f"{mangled}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    ]
