"""A captured model in one mode, train or eval: its flat graph, how its outputs read, and what can be tapped."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from .points import QueryPoint, TapPoint

GraphMode = Literal["train", "eval"]
_NUMBERS = itertools.count()
MODES: tuple[GraphMode, GraphMode] = ("train", "eval")


@dataclass
class Program:
    """A graph that passes edit in place. ``outputs`` of its output node are flat; ``out_spec`` restores their form.

    taps: role and layer to the value that it names, such as ``("decoder.cross_attention.output", 0)``; and
    queries: by decoder layer; both are empty until they are marked from the model's structure.
    exposed: the taps that became graph outputs, in their order behind the flat outputs.
    """

    mode: GraphMode
    graph: fx.Graph
    out_spec: pytree.TreeSpec
    taps: dict[tuple[str, int], TapPoint] = field(default_factory=dict)
    queries: dict[int, QueryPoint] = field(default_factory=dict)
    exposed: tuple[str, ...] = ()

    @property
    def output(self) -> fx.Node:
        node: fx.Node = next(node for node in reversed(self.graph.nodes) if node.op == "output")
        return node

    @property
    def outputs(self) -> tuple[Any, ...]:
        """What the graph gives: the model's own outputs, flat, and the taps that are exposed."""
        flat = self.output.args[0]
        assert isinstance(flat, list | tuple)
        return tuple(flat)

    def copy(self) -> Program:
        """The same over a graph of its own."""
        graph = fx.Graph()
        mapped: dict[fx.Node, fx.Node] = {}
        flat = graph.graph_copy(self.graph, mapped)
        graph.output(flat)
        return Program(
            self.mode,
            graph,
            self.out_spec,
            {key: point.moved(mapped) for key, point in self.taps.items()},
            {layer: point.moved(mapped) for layer, point in self.queries.items()},
            self.exposed,
        )

    def without_taps(self) -> Program:
        """A copy whose outputs leave the taps out, and from which what only they needed is gone."""
        graph = fx.Graph()
        flat = graph.graph_copy(self.graph, {})
        assert isinstance(flat, tuple)
        graph.output(flat[: self.out_spec.num_leaves])
        erase_dead(graph)
        return Program(self.mode, graph, self.out_spec)

    def lint(self, root: nn.Module) -> None:
        """Check the graph's form, and that every target is there in ``root``. A failure is a fault of ours."""
        self.graph.lint()
        modules = dict(root.named_modules(remove_duplicate=False))  # once: each path would be walked anew
        for node in self.graph.nodes:
            if node.op == "call_module" and node.target not in modules:
                raise AttributeError(f"{node.name} calls {node.target}, which is no module of {type(root).__name__}")
            if node.op == "get_attr":
                owner, _, name = str(node.target).rpartition(".")
                getattr(modules[owner] if owner in modules else root.get_submodule(owner), name)

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Hand every use of ``old`` to ``new``, taps included, and erase it."""
        old.replace_all_uses_with(new)
        self.taps = {key: point.moved({old: new}) for key, point in self.taps.items()}
        self.graph.erase_node(old)


class GraphOutputs(NamedTuple):
    """What one run of a graph gives: the model's own outputs, its extra training outputs, and the taps by name."""

    outputs: Any
    extras: dict[str, Tensor]
    taps: dict[str, Tensor]


FunctionMaker = Callable[[Program, str], Callable[..., Any]]
"""Makes a function of ``(root, **inputs)``, which gives the flat outputs, of a program that it leaves as it is, and of
its name for tracebacks."""


class CompiledProgram:
    """A program turned into Python functions of ``(root, *inputs)``: one without taps, one with. Never changes.

    plain, tapped: these functions; the same where nothing is exposed.
    untapped: the program of the one without.

    Args:
        make: the functions; by default they run the graph node by node.
    """

    def __init__(self, program: Program, make: FunctionMaker | None = None) -> None:
        self.graph = program.graph
        self.out_spec = program.out_spec
        self.exposed = program.exposed
        self.untapped = program.without_taps()
        make = make or _as_it_stands
        self.plain = make(self.untapped, program.mode)
        self.tapped = make(program, f"{program.mode} with taps") if program.exposed else self.plain

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledProgram:
        return self

    def __call__(self, root: Any, inputs: Mapping[str, Tensor], *, taps: bool) -> GraphOutputs:
        flat = (self.tapped if taps else self.plain)(root, **inputs)
        count = self.out_spec.num_leaves
        outputs, extras = pytree.tree_unflatten(flat[:count], self.out_spec)
        return GraphOutputs(outputs, extras, dict(zip(self.exposed, flat[count:], strict=True)) if taps else {})


def _as_it_stands(program: Program, name: str) -> Callable[..., Any]:
    return function_of(program.graph, name)


def erase_dead(graph: fx.Graph) -> int:
    """Erase calls that nobody reads and that change nothing; inputs and parameters stay. Returns how many."""
    count = 0
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and not mutates(node):
            graph.erase_node(node)
            count += 1
    return count


def mutates(node: fx.Node) -> bool:
    """Whether a call writes into one of its operands."""
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def is_view(node: fx.Node) -> bool:
    """Whether a call gives, or may give, its operand's own memory, unchanged."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable or len(schema.returns) != 1:
        return False
    return schema.returns[0].alias_info is not None


def function_of(graph: fx.Graph, name: str) -> Callable[..., Any]:
    code = graph.python_code("self")
    space = dict(code.globals)
    # Known to linecache for as long as it lives: a traceback through a captured model shows the line that failed.
    file = f"<qrecipe {name} {next(_NUMBERS)}>"
    linecache.cache[file] = (len(code.src), None, code.src.splitlines(keepends=True), file)
    exec(compile(code.src, file, "exec"), space)
    function: Callable[..., Any] = space["forward"]
    weakref.finalize(function, linecache.cache.pop, file, None)
    return function
