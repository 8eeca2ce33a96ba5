"""A recipe and the recipes that it extends, as one document."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Any

from ..errors import RecipeErrors
from .definition import KeyPath, Mark
from .document import Document, LocatedError, merged, shown
from .files import UnreadableError, at_home, read_text
from .names import VERSION
from .reader import read_yaml
from .schema_check import takes_null

MAX_CHAIN = 16
_SWEEP = {"base", "seeds"}
_BEGINS = f"a recipe begins with version: {VERSION}"


class RecipeFiles:
    """The files behind one recipe, and every problem found so far.

    base: the folder for relative paths of values that stand in no file.
    unwritten: texts of files that are not there yet, by their path; they are read as if they were.
    folders: for each file by the name its marks carry, in the order of reading, where its paths start from.
    incomplete: whether a recipe that is extended could not be read, so that a missing key means nothing.
    """

    def __init__(self, base: Path, unwritten: Mapping[Path, str] = MappingProxyType({})) -> None:
        self.base = base
        self._unwritten = {os.path.realpath(path): text for path, text in unwritten.items()}
        self.problems: list[LocatedError] = []
        self.folders: dict[str, Path] = {}
        self.incomplete = False
        self._known: dict[str, Document | None] = {}
        self._open: list[str] = []

    def read(self, path: Path, named: LocatedError | None = None) -> Document | None:
        """A recipe file with all that it extends; None, and a problem, where it cannot be read.

        Args:
            path: the file, as messages are to name it.
            named: a problem where another recipe names this file: what is wrong with the file itself stands there.
        """
        try:
            return self._read(path)
        except UnreadableError as error:
            self._unreadable(path, error, named)
            return None

    def read_alone(self, path: Path, kind: str, begins: str) -> Document | None:
        """A file of another kind, which extends nothing; None, and a problem, where it cannot be read.

        kind, begins: what messages call it, and how it begins.
        """
        self.folders.setdefault(str(path), path.parent.absolute())
        try:
            return self._mapping(path, read_text(path), kind, begins)
        except UnreadableError as error:
            self._unreadable(path, error)
            return None

    def _unreadable(self, path: Path, error: UnreadableError, named: LocatedError | None = None) -> None:
        if error.place:
            problem = LocatedError(error.what, mark=_mark(path, *error.place), remedy=error.remedy)
        elif named:
            what = f"{path}: {error.what}"
            problem = LocatedError(what, mark=named.mark, path=named.path, remedy=error.remedy)
        else:
            problem = LocatedError(error.what, where=str(path), remedy=error.remedy)
        self.problems.append(problem)

    def extend(self, document: Document, folder: Path) -> Document:
        """The document merged over all that it extends, ``extends`` removed."""
        self._check_version(document)
        names = document.data.pop("extends", [])
        listed = isinstance(names, list)
        base = Document({})
        for index, name in enumerate(names if listed else [names]):
            place: KeyPath = ("extends", index) if listed else ("extends",)
            other = None
            if isinstance(name, str) and name:
                file = Path(os.path.normpath(folder / at_home(name)))
                other = self.read(file, document.problem(place, "cannot be read"))
            else:
                what = f"expected a recipe file, found {shown(name)}"
                self.problems.append(document.problem(place, what, "one file, or a list of files"))
            if other is None:
                self.incomplete = True
            else:
                base = merged(base, other)
        document.forget(("extends",))
        _take_back(base, document, document.data, (), blind=self.incomplete)
        return merged(base, document)

    def finish(self) -> None:
        """Raise everything found so far, if anything was: in the order of the files, top to bottom, each once.

        Raises: RecipeErrors.
        """
        if not self.problems:
            return
        order = {file: index for index, file in enumerate(self.folders)}

        def place(problem: LocatedError) -> tuple[int, int, int]:
            mark = problem.mark
            return (order[mark.file], mark.line, mark.column) if mark else (-1, 0, 0)

        unique = {str(problem): problem for problem in self.problems}
        ordered = sorted(unique.values(), key=place)
        raise RecipeErrors(ordered)

    def _read(self, path: Path) -> Document | None:
        try:
            identity = os.path.realpath(path)
        except ValueError as error:  # a null character
            raise UnreadableError(str(error)) from None
        if identity in self._open:
            raise UnreadableError("extends itself, directly or through others", "remove one of the extends")
        if len(self._open) >= MAX_CHAIN:
            raise UnreadableError(f"more than {MAX_CHAIN} recipes extend one another")
        if identity in self._known:
            return self._known[identity]
        self.folders.setdefault(str(path), path.parent.absolute())
        self._open.append(identity)
        try:
            text = self._unwritten.get(identity)
            self._known[identity] = self._parsed(path, read_text(path) if text is None else text)
        finally:
            self._open.pop()
        return self._known[identity]

    def _parsed(self, path: Path, text: str) -> Document | None:
        document = self._mapping(path, text, "a recipe", _BEGINS)
        if document is None:
            return None
        if document.data.keys() >= _SWEEP and "model" not in document.data:
            what, remedy = "this is a sweep, and no recipe", f"qrecipe sweep {quote(str(path))}"
            self.problems.append(LocatedError(what, mark=document.marks[()], remedy=remedy))
            return None
        return self.extend(document, path.parent)

    def _mapping(self, path: Path, text: str, kind: str, begins: str) -> Document | None:
        before = len(self.problems)
        document = read_yaml(text, lambda line, column: _mark(path, line, column), self.problems)
        if document is None or document.data is None:
            if len(self.problems) == before:
                what = f"the {kind.removeprefix('a ')} is empty"
                self.problems.append(LocatedError(what, mark=_mark(path, 0, 0), remedy=begins))
            return None
        if not isinstance(document.data, dict):
            self.problems.append(document.problem((), f"{kind} is a mapping, found {shown(document.data)}", begins))
            return None
        return document

    def _check_version(self, document: Document) -> None:
        """A base of a later version is refused though the recipe that extends it names its own."""
        version = document.data.get("version")
        if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
            what = f"version {shown(version)} is of a later qrecipe; this one reads version {VERSION}"
            self.problems.append(document.problem(("version",), what, "install a newer qrecipe"))
            document.data["version"] = VERSION  # once said is enough


def _take_back(base: Document, document: Document, over: dict[str, Any], path: KeyPath, *, blind: bool) -> None:
    """Null over a key of a base removes the key from both, where null is no value of it. Mutates both documents.

    over: the mapping at ``path`` of the document. blind: a base could not be read, so that any key may be one of its.
    """
    under: Any = base.data
    for part in path:
        under = under.get(part) if isinstance(under, dict) else None
    for key, value in list(over.items()):
        place = (*path, key)
        known = isinstance(under, dict) and key in under
        if value is None and (known or blind) and not takes_null(place):
            del over[key]
            document.forget(place)
            if isinstance(under, dict) and known:
                del under[key]
                base.forget(place)
        elif isinstance(value, dict):
            _take_back(base, document, value, place, blind=blind)


def _mark(path: Path, line: int, column: int) -> Mark:
    return Mark(str(path), line + 1, column + 1)
