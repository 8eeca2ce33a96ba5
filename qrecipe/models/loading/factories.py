"""One's own detector from a Python function that the recipe names. This is the only code that a recipe can run."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, final

from torch import nn

from ...code_age import noting_loads
from ...errors import QRecipeError
from ..model_place import ModelPlace

_PREFIX = "qrecipe_factory_"
"""Of the names under which the modules of factories' files are loaded."""
_BROUGHT: dict[str, str] = {}
"""Modules without a package that factories' files have imported from their own folders, and these folders."""


def call_factory(name: str, arguments: Mapping[str, Any], place: ModelPlace) -> nn.Module:
    """The module that ``path/to/file.py:function`` or ``package.module:function`` returns for these keywords.

    A relative path is taken from the working directory. While a file is imported and called, its own folder can be
    imported from, so that a detector may be spread over several files.

    Raises:
        ModelError: no such file, module or function; anything that it raises; a result that is no ``nn.Module``.
    """
    with _Importable(_folder(name), place), _Blame(name, place), noting_loads():
        model = _found(name, place)(**arguments)
    if not isinstance(model, nn.Module):
        raise place.error(("factory",), f"{name} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def factory_parameters(name: str, place: ModelPlace) -> dict[str, inspect.Parameter]:
    """The parameters of such a function, which is found as ``call_factory`` finds it, and not called.

    Raises:
        ModelError: as ``call_factory``.
    """
    with _Importable(_folder(name), place), _Blame(name, place), noting_loads():
        return dict(inspect.signature(_found(name, place)).parameters)


def factory_module(name: str) -> str:
    """The name under which the module of a factory that was called is loaded."""
    source = name.rpartition(":")[0]
    return _module_name(Path(source).resolve()) if _folder(name) else source


def _folder(name: str) -> str | None:
    """The folder of the file that a factory is in; None for a module's."""
    source = name.rpartition(":")[0]
    return str(Path(source).resolve().parent) if source.endswith(".py") else None


def _found(name: str, place: ModelPlace) -> Callable[..., Any]:
    source, _, function = name.rpartition(":")
    if not source or not function:
        raise place.error(
            ("factory",), f'"{name}" names no function', "write path/to/file.py:function or package.module:function"
        )
    module = _from_file(Path(source), place) if _folder(name) else importlib.import_module(source)
    return _function(module, function, name, place)


def _from_file(file: Path, place: ModelPlace) -> ModuleType:
    file = file.resolve()
    if not file.is_file():
        raise place.error(("factory",), f"no file {file}")
    # Named by the whole path: two folders may both have a build.py. Kept in sys.modules, as the capture looks the
    # classes' modules up there, and a teacher and its student should be of one class.
    name = _module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(file: Path) -> str:
    return f"{_PREFIX}{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"


def _function(module: ModuleType, function: str, name: str, place: ModelPlace) -> Callable[..., Any]:
    build = getattr(module, function, None)
    if callable(build):
        return build  # type: ignore[no-any-return]
    own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    raise place.error(
        ("factory",), f'no function "{function}" in {name.rpartition(":")[0]}', f"it has {', '.join(own)}"
    )


@final
class _Importable(AbstractContextManager[None]):
    """Puts a folder first on the import path while it is entered.

    Two folders may both have a ``layers.py``; Python keeps one module of a name, and gives it to both. So whoever
    imports a module inside that this folder has, and another factory's folder has brought already, is told.
    """

    def __init__(self, folder: str | None, place: ModelPlace) -> None:
        self.folder = folder
        self.place = place
        self._known: set[str] = set()

    def __enter__(self) -> None:
        if self.folder is None:
            return
        sys.path.insert(0, self.folder)
        self._known = set(sys.modules)
        self._own_import: Callable[..., ModuleType] = builtins.__import__
        builtins.__import__ = self._import

    def _import(self, name: str, *arguments: Any, **named: Any) -> ModuleType:
        level = named.get("level", arguments[3] if len(arguments) > 3 else 0)
        module = "" if level else name.partition(".")[0]  # what is relative is of its own package
        other = _BROUGHT.get(module, self.folder)
        loaded = sys.modules.get(module)
        if other != self.folder and loaded is not None and _place_of(loaded) == other and self._has(module):
            raise self.place.error(
                ("factory",),
                f"{self.folder} and {other} both have a module {module}, and Python holds one of a name: the second's "
                "is loaded already",
                "rename one of them, or import them as parts of packages of different names",
            )
        return self._own_import(name, *arguments, **named)

    def _has(self, module: str) -> bool:
        own = Path(str(self.folder)) / module
        return own.with_suffix(".py").is_file() or any(own.glob("*.py"))

    def __exit__(self, *_: object) -> None:
        if self.folder is None:
            return
        builtins.__import__ = self._own_import
        if self.folder in sys.path:
            sys.path.remove(self.folder)
        for name in sys.modules.keys() - self._known:
            if "." not in name and not name.startswith(_PREFIX) and _place_of(sys.modules[name]) == self.folder:
                _BROUGHT[name] = self.folder


def _place_of(module: ModuleType) -> str | None:
    """The folder that a module or a package was imported from."""
    file = getattr(module, "__file__", None)
    paths = [file] if isinstance(file, str) else list(getattr(module, "__path__", ()))
    if not paths:
        return None
    found = Path(str(paths[0]))
    return str(found.parent.parent if found.name == "__init__.py" else found.parent)


@final
class _Blame(AbstractContextManager[None]):
    """Somebody else's code may raise anything: whatever it is, say that the factory raised it."""

    def __init__(self, name: str, place: ModelPlace) -> None:
        self.name = name
        self.place = place

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception | SystemExit) and not isinstance(error, QRecipeError):
            raise self.place.error(
                ("factory",), f"the factory {self.name} raised {type(error).__name__}: {error}"
            ) from error
