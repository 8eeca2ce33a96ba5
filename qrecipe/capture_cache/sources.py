"""The files of code that a capture depends on: those of the model's classes and functions, and what they import."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType

from ..calls import watched_calls
from ..code_age import loaded_after
from .plain import Unkeepable

_OWN = Path(__file__).resolve().parents[1]
_PACKAGE = __name__.partition(".")[0]
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
MAKERS = (
    *("capture", "capture_cache", "graph", "models"),
    *("student/original.py", "calls.py", "user_line.py", "vocabulary.py"),
)
"""What of this package decides what a capture holds: folders and files."""


def makers() -> str:
    """The checksum of the code that captures. Raises: Unkeepable: it changed since this process began."""
    files = [
        file for name in MAKERS for file in ([_OWN / name] if name.endswith(".py") else (_OWN / name).rglob("*.py"))
    ]
    package = sys.modules[_PACKAGE]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(_OWN)}\0{_checksum(file, package)}\0".encode())
    return digest.hexdigest()


def is_own(file: str) -> bool:
    """Whether a file is the user's: neither Python's, nor installed, nor of this package."""
    path = Path(file)
    return not (
        file.startswith("<")
        or any(part in _INSTALLED for part in path.parts)
        or any(path.is_relative_to(folder) for folder in _STANDARD)
        or path.is_relative_to(_OWN)
    )


def code_of(names: Iterable[str]) -> tuple[dict[str, ModuleType], dict[str, str], dict[str, str]]:
    """What the modules of these names, in which the model's classes and functions are, depend on.

    The user's own modules are followed through what they import, wherever in a file; installed packages are known by
    their versions, and by the files of the model's classes.

    Returns:
        Those modules by name, the checksums of their files by path, and the versions of packages by name.

    Raises:
        Unkeepable: code is in no file, or a file is not what was loaded from it.
    """
    start, found, files = set(names), dict[str, ModuleType](), dict[str, str]()
    packages: set[str] = set()
    pending = sorted(start)
    while pending:
        name = pending.pop()
        module, top = sys.modules.get(name), name.partition(".")[0]
        if name in found or module is None or top in sys.stdlib_module_names:
            continue
        file = _file_of(module)
        if file is None and name in start:
            raise Unkeepable(f"code of the model is in no file: module {name}")
        if file is None or top == _PACKAGE:
            continue
        own = is_own(file)
        if not own:
            packages.add(top)
        if own or (name in start and top != "torch"):
            found[name] = module
            files[file] = _checksum(Path(file), module)
        if own and file.endswith(".py"):
            pending += _imports(module, Path(file))
    return found, files, {name: _version(name) for name in sorted(packages)}


@contextmanager
def files_that_run() -> Iterator[set[str]]:
    """The files whose Python code runs inside; complete at its end."""
    found: set[str] = set()
    with watched_calls(lambda frame: found.add(frame.f_code.co_filename)):
        yield found


def loaded_from(files: Iterable[str]) -> list[ModuleType]:
    """The loaded modules of these files. Raises: Unkeepable: code that is the user's ran, and is in no module."""
    known = {file: module for module in list(sys.modules.values()) if (file := _file_of(module)) is not None}
    own = [file for file in files if is_own(file)]
    if missing := [file for file in own if file not in known]:
        raise Unkeepable(f"code ran that no module was loaded from: {missing[0]}")
    return [known[file] for file in own]


def file_checksum(path: str) -> str | None:
    """Of what a file holds now; None where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def _checksum(file: Path, module: ModuleType) -> str:
    found = file_checksum(str(file))
    if found is None:
        raise Unkeepable(f"the code of the model cannot be read: {file}")
    if file.stat().st_mtime >= loaded_after(module):
        raise Unkeepable(f"{file} has changed since it was loaded")
    return found


def _file_of(module: object) -> str | None:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) else None


def _imports(module: ModuleType, file: Path) -> Iterator[str]:
    """What a file may import, by the names that its modules would have."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise Unkeepable(f"the code of the model cannot be read: {file}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            package = str(module.__package__ or "").split(".")
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _version(name: str) -> str:
    module = sys.modules[name]
    told = getattr(module, "__version__", None)
    if told is not None:
        return str(told)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
