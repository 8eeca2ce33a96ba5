"""YAML text to plain data with marks. Nothing in the text is run, and no text makes it slow or large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from .definition import KeyPath, Mark
from .document import Document, LocatedError, shown
from .files import end_of, lines_of
from .scalars import INT, STR, scalar, tag_of

MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_BLANK = 200
"""Characters of a line that are looked through for the end of its white space."""

MarkOf = Callable[[int, int], Mark]
_MAP, _SEQ, _MERGE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "<<"

_TOKENS = {
    "<stream end>": "the end",
    "<block end>": "the end of the block",
    "<block mapping start>": "an indented key",
    "<block sequence start>": "an indented item",
    "<document start>": "---",
    "<document end>": "...",
    "<scalar>": "a value",
    "?": "a key",
    "but found another document": "another document",
    "<anchor>": "an anchor",
    "<alias>": "an alias",
    "<tag>": "a tag",
    "the node content": "a value",
}
"""PyYAML's names of what it reads, and ours."""


class _TooMuchError(Exception):
    def __init__(self, what: str, mark: yaml.Mark) -> None:
        super().__init__(what)
        self.what = what
        self.mark = mark


class _Loader(yaml.SafeLoader):
    """Composes nodes only; reads unquoted words as ``scalars`` says, and refuses deep nesting before it recurses."""

    depth = 0
    composed = 0

    def scan_to_next_token(self) -> None:
        """A tab between two tokens is white space, as in YAML 1.2; PyYAML takes spaces alone."""
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or self._has_begun()):
            self.forward()
            super().scan_to_next_token()

    def _has_begun(self) -> bool:
        """Whether something stands before this place in its line, or nothing behind it."""
        before = self.buffer[self.pointer - self.column : self.pointer]
        behind = self.buffer[self.pointer : self.pointer + MAX_BLANK].lstrip(" \t")
        return bool(before.strip(" \t-?")) or behind[:1] in ("#", "\n", "\r", "\0")

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return tag_of(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.composed += 1
        if self.composed > MAX_VALUES:
            raise _TooMuchError(f"more than {MAX_VALUES} values", self.get_mark())
        if self.depth > MAX_DEPTH:
            raise _TooMuchError(f"nested more than {MAX_DEPTH} levels deep", self.get_mark())
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read_yaml(text: str, mark_of: MarkOf, problems: list[LocatedError]) -> Document | None:
    """Read one YAML document; None for empty text, and where a problem was added that leaves nothing to look at.

    Args:
        text: at most 1 MiB, checked by the caller.
        mark_of: makes a mark of a line and a column, both from 0.
        problems: what is wrong is added here: syntax, duplicate keys, tags, keys that are not text, aliases that grow.
    """
    node = _composed(text, mark_of, problems)
    if node is None:
        return None
    walk = _Walk(mark_of, problems)
    try:
        data = walk.value(node, ())
    except _TooMuchError as error:
        problems.append(LocatedError(error.what, mark=mark_of(error.mark.line, error.mark.column)))
        return None
    return Document(data, walk.marks, walk.keys)


def _composed(text: str, mark_of: MarkOf, problems: list[LocatedError]) -> yaml.Node | None:
    """The text's node graph; None, and perhaps a problem, where it has none."""

    def wrong(what: str, line: int, column: int, remedy: str | None = None) -> None:
        problems.append(LocatedError(what, mark=mark_of(line, column), remedy=remedy))

    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        what = f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
        wrong(what, *end_of(text[: error.position]))
        return None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "could not find expected ':'" in (error.problem or ""):
            mark = error.context_mark or mark  # where the key begins; the problem is seen only on the next line
        line, column = (mark.line, mark.column) if mark else (0, 0)
        lines = lines_of(text)
        source = lines[line] if line < len(lines) else ""
        if "\t" in source[: len(source) - len(source.lstrip())]:
            wrong("a tab in the indentation", line, source.find("\t"), "YAML is indented with spaces")
        elif "'\\t'" in (error.problem or ""):
            wrong("a tab where YAML has a space", line, column, "write a space")
        else:
            wrong(
                f"not valid YAML: {_plainly(error.problem or error.context or '')}", line, column, _syntax_remedy(error)
            )
        return None
    except _TooMuchError as error:
        wrong(error.what, error.mark.line, error.mark.column)
        return None
    except (ValueError, OverflowError):  # PyYAML's chr() and int() of a senseless escape or %YAML version
        mark = loader.get_mark()
        wrong("not valid YAML: an escape or a version that has no meaning", mark.line, mark.column)
        return None
    finally:
        loader.dispose()
    return node


def _syntax_remedy(error: yaml.MarkedYAMLError) -> str | None:
    problem, context = error.problem or "", error.context or ""
    if "mapping values are not allowed" in problem:
        return "quote text that holds a colon, and indent the keys of one mapping alike"
    if "undefined alias" in problem:
        return "name an anchor that stands earlier in the file, or quote text that begins with *"
    if "single document" in context + problem:
        return "one recipe per file: remove the --- lines"
    if "incompatible YAML" in problem:
        return "remove the line; recipes are YAML 1.2, and need none"
    if "cannot start any token" in problem:
        return "quote text that begins with @, `, % or another sign that YAML keeps for itself"
    start = error.context_mark
    if start and ("flow sequence" in context or "flow mapping" in context):
        opened = "list [" if "sequence" in context else "mapping {"
        return f"the {opened} that begins on line {start.line + 1}, column {start.column + 1} is not closed"
    if start and "quoted scalar" in context and "end of stream" in problem:
        return f"the quote that begins on line {start.line + 1}, column {start.column + 1} is not closed"
    if "block mapping" in context or "block collection" in context:
        return "indent the keys of one mapping alike, and the items of one list"
    if "could not find expected ':'" in problem:
        return "a key is followed by a colon and a space"
    return None


def _plainly(problem: str) -> str:
    """PyYAML's words without its names of tokens."""
    for token, words in _TOKENS.items():
        problem = problem.replace(f"'{token}'", words)
        problem = problem.replace(token, words) if len(token) > 1 else problem
    return problem


class _Walk:
    """Turns nodes into plain data, noting where each value and key stands."""

    def __init__(self, mark_of: MarkOf, problems: list[LocatedError]) -> None:
        self.marks: dict[KeyPath, Mark] = {}
        self.keys: dict[KeyPath, Mark] = {}
        self._mark_of = mark_of
        self._problems = problems
        self._count = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooMuchError(f"more than {MAX_VALUES} values once its aliases are written out", node.start_mark)
        if len(path) > MAX_DEPTH:
            raise _TooMuchError("an alias that holds itself, or nesting that is too deep", node.start_mark)
        self.marks[path] = self._mark(node)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return {key: self.value(value, (*path, key)) for key, value in self._entries(node, path)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar(node.tag, node.value)
            except ValueError:
                self._wrong(node, path, f"{shown(ascii(node.value)[1:-1])} cannot be read as {_tag_name(node.tag)}")
                return None
        self._wrong(node, path, f"the tag {_tag_name(node.tag)} has no meaning in a recipe", "remove the tag")
        return None

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> list[tuple[str, yaml.Node]]:
        """A mapping's entries; duplicates and keys that are not text are reported and left out."""
        entries: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, path, "a key that is not text", "a key is one word")
            elif key.tag != STR:
                self._wrong(key, path, f"the key {shown(key.value)} is not text", "write it in quotes")
            elif not _encodes(key.value):
                self._wrong(key, path, "a key that holds half a character")
            elif key.value == _MERGE and key.style is None:
                self._wrong(key, path, "<< is not part of recipes", "write the keys out, or extend another recipe")
            elif key.value in entries:
                first = self.keys[(*path, key.value)].line
                self._wrong(key, (*path, key.value), f"duplicate key, first on line {first}", "keep one of the two")
            else:
                entries[key.value] = value
                self.keys[(*path, key.value)] = self._mark_of(key.start_mark.line, key.start_mark.column)
        return list(entries.items())

    def _mark(self, node: yaml.Node) -> Mark:
        return self._mark_of(node.start_mark.line, node.start_mark.column)

    def _wrong(self, node: yaml.Node, path: KeyPath, what: str, remedy: str | None = None) -> None:
        self._problems.append(LocatedError(what, mark=self._mark(node), path=path, remedy=remedy))


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _tag_name(tag: str) -> str:
    return "a whole number" if tag == INT else tag.replace("tag:yaml.org,2002:", "!!")[:60]
