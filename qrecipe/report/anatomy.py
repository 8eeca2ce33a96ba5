"""A model in a terminal: its roles, its taps and queries, and its modules as a tree."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..planning import Anatomy, LayerQuery, ModuleNode, ranges
from .amounts import tight
from .table import compact

WORDS = """\
modules: the highest that hold nothing of another role; 0-5 is one after another
MACs: multiply-accumulates of one image, in convolutions, linear and attention"""
TREE_WORDS = """\
params: parameters; MACs: multiply-accumulates of one image, and their share
Both are of all that a line stands for: 0-2 x3 is three modules that are alike.
Modules with neither, and parameters under a second name, are left out."""


def anatomy_tables(anatomy: Anatomy) -> Iterator[Table | str]:
    """Roles with their shares, taps, queries, graphs, and what the words mean."""
    yield _roles(anatomy)
    yield _taps(anatomy)
    yield _queries(anatomy)
    nodes = ", ".join(f"{name} {count}" for name, count in anatomy.nodes.items())
    yield f"Graphs: {nodes} nodes\n{WORDS}"


def module_tree(anatomy: Anatomy) -> Tree:
    """The modules, repeated ones in one line, and one that only wraps another in one line with it."""
    tree = Tree(_label(anatomy.tree, anatomy.tree.name, anatomy))
    _grow(tree, anatomy.tree, anatomy)
    return tree


def _grow(tree: Tree, node: ModuleNode, anatomy: Anatomy) -> None:
    for child in node.children:
        inner, name = child, child.name
        while len(inner.children) == 1 and _wraps(inner):
            inner = inner.children[0]
            name = f"{name}.{inner.name}"
        _grow(tree.add(_label(inner, name, anatomy, node.roles)), inner, anatomy)


def _wraps(node: ModuleNode) -> bool:
    """Whether all of a module is in the one below it."""
    child = node.children[0]
    return (node.parameters, node.macs, node.roles) == (child.parameters, child.macs, child.roles)


def _label(node: ModuleNode, name: str, anatomy: Anatomy, above: tuple[str, ...] = ()) -> Text:
    """One line; the role where it is the only one, and not that of the module above."""
    text = Text()
    if name:
        text.append(name, style="bold")
        repeated = any(part[0].isdecimal() and not part.isdecimal() for part in name.split("."))
        text.append(f" x{node.count} " if repeated else " ")
    text.append(node.kind)
    text.append(f"  {tight(node.parameters)} params", style="dim")
    if node.macs:
        text.append(f", {tight(node.macs)} MACs {node.macs / max(anatomy.macs, 1):.1%}", style="dim")
    if len(node.roles) == 1 and node.roles != above:
        text.append(f"  {node.roles[0]}", style="cyan")
    return text


def _roles(anatomy: Anatomy) -> Table:
    height, width = anatomy.image_size
    title = f"By role, MACs of one image of {height}x{width}"
    table = compact(title, "role", "modules", figures=("params", "share", "MACs", "share"))
    for one in anatomy.roles:
        table.add_row(
            one.role,
            "\n".join(one.modules) or ".",
            tight(one.parameters),
            f"{one.parameters / max(anatomy.parameters, 1):.1%}",
            tight(one.macs),
            f"{one.macs / max(anatomy.macs, 1):.1%}",
        )
    table.add_section()
    table.add_row("in all", "", tight(anatomy.parameters), "100.0%", tight(anatomy.macs), "100.0%")
    for column in table.columns[2:]:
        column.no_wrap = True
    table.columns[0].no_wrap = True
    return table


def _taps(anatomy: Anatomy) -> Table | str:
    if not anatomy.taps:
        return "Taps: none; no decoder layer with cross-attention was found (model.roles can name it)"
    table = compact("Taps", "distill.targets: at", "layers", "width")
    for tap in anatomy.taps:
        width = str(tap.width) if tap.width else "by image"
        table.add_row(tap.role, ranges(tap.layers), width)
    return table


def _queries(anatomy: Anatomy) -> Table | str:
    if not anatomy.queries:
        return "Queries: none, so that there is nothing to align"
    further = any(one.others for one in anatomy.queries)
    labels = ("Cross-attention queries", "decoder layers", *(["not aligned"] if further else []))
    table = compact(*labels, figures=("heads", "head_dim"))
    shapes: dict[tuple[int | None, int | None, int], list[LayerQuery]] = {}
    for one in anatomy.queries:
        shapes.setdefault((one.heads, one.head_dim, len(one.others)), []).append(one)
    for (heads, head_dim, _), alike in shapes.items():
        others = ["\n".join(alike[0].others) or "-"] if further else []
        table.add_row(ranges(one.layer for one in alike), *others, str(heads or "none"), str(head_dim or "none"))
    return table
