"""The evaluation graph of a student made ready for translation: constants computed, quantized operands marked.

Every quantized operand becomes a call of ``qrecipe::operand``, which names its row in a table; the translated file has
a node of the same name there, and ``write`` puts the integers in its place. So no exporter sees, folds or decomposes
what quantizes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..graph.program import erase_dead
from ..models.families import Family
from ..quantizers import Quantizer
from ..student import Student
from .average_pools import settle_average_pools
from .operand import StoredOperand, stored
from .unmask import unmask

aten = torch.ops.aten
CONSTANTS = "exported_constants"
SIGNED = "tensorrt"
"""The target whose activations are int8."""


@torch.library.custom_op("qrecipe::operand", mutates_args=())
def operand(value: Tensor, site: str) -> Tensor:
    """Marks a quantized operand; ``site`` is its key in ``Lowered.operands``."""
    return value.clone()


@operand.register_fake
def _(value: Tensor, site: str) -> Tensor:
    return torch.empty_like(value)


@dataclass
class Lowered:
    """module: images (batch, 3, height, width), float32, to logits and boxes. operands: by the key that marks them."""

    module: nn.Module
    operands: dict[str, StoredOperand] = field(default_factory=dict)


class _Detector(nn.Module):
    """The graph between an image and what its family reads of it. All of every image is image."""

    def __init__(self, graph: fx.GraphModule, family: Family, spec: pytree.TreeSpec, names: tuple[str, ...]) -> None:
        super().__init__()
        self.graph_module = graph
        self._family, self._spec, self._names = family, spec, names

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self._family.inputs(pixel_values, None)
        flat = self.graph_module(*(inputs[name] for name in self._names))
        outputs, extras = pytree.tree_unflatten(flat, self._spec)
        prediction = self._family.read(outputs, extras)
        return prediction.logits, prediction.boxes


@torch.no_grad()
def lower(student: Student) -> Lowered:
    """Lower a copy of a calibrated student, in float32 on the CPU. The student is left as it is.

    Raises:
        ExportError: an operand that integers of a runtime cannot hold, or a pool that runtimes compute otherwise.
        CalibrationError: a quantizer without a range.
    """
    own = copy.deepcopy(student).cpu().float().eval()
    deployable = own.deployable()
    unmask(deployable.graph, _of_one_value(own.family))
    settle_average_pools(deployable.graph)
    operands = _Lowering(own, deployable.graph, own.recipe.target == SIGNED).run()
    graph = fx.GraphModule(own, deployable.graph, "Deployable")
    module = _Detector(graph, own.family, deployable.out_spec, deployable.inputs)
    return Lowered(module.eval(), operands)


def _of_one_value(family: Family) -> dict[str, float]:
    """The inputs beside an image that are the same everywhere: masks, as all of every image is image."""
    inputs = family.inputs(torch.rand(1, 3, 64, 64), None)
    return {name: float(own.min()) for name, own in inputs.items() if own.numel() and own.min() == own.max()}


class _Lowering:
    def __init__(self, root: nn.Module, graph: fx.Graph, signed: bool) -> None:
        self.root, self.graph, self.signed = root, graph, signed
        self.known: dict[fx.Node, Any] = {}
        self.operands: dict[str, StoredOperand] = {}
        self.constants = nn.Module()
        root.add_module(CONSTANTS, self.constants)

    def run(self) -> dict[str, StoredOperand]:
        for node in list(self.graph.nodes):
            self._node(node)
        for node in list(self.graph.nodes):
            if node.target is aten.linear.default:
                self._linear(node)
        self._keep_constants()
        for node in reversed(list(self.graph.nodes)):
            if (node.op in ("get_attr", "call_module") and not node.users) or (node in self.known and not node.users):
                self.graph.erase_node(node)
        erase_dead(self.graph)
        self.graph.lint()
        return self.operands

    def _node(self, node: fx.Node) -> None:
        """Compute what is constant, and mark what is quantized."""
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            self.known[node] = getattr(self.root.get_submodule(owner), name)
            return
        if node.op not in ("call_function", "call_module"):
            return
        module = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, Quantizer) and module.mode == "on":
            self._quantizer(node, module)
        elif node.all_input_nodes and all(source in self.known for source in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: self.known[source])
            call: Any = node.target if module is None else module
            self.known[node] = call(*args, **kwargs)
        elif module is not None and not node.all_input_nodes:
            self.known[node] = module(*node.args, **node.kwargs)  # a corrected bias where there was none

    def _quantizer(self, node: fx.Node, quantizer: Quantizer) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        value = self.known.get(source) if quantizer.operand.is_weight else None
        key = quantizer.name
        if value is not None and all(
            user.target is aten.linear.default and user.args[1] is node and user.args[0] is not node
            for user in node.users
        ):
            key = f"{quantizer.name}.transposed"  # linear layers are products with the transposed weight
        self.operands[key] = stored(
            quantizer, quantizer.name, value, transposed=key != quantizer.name, signed=self.signed
        )
        with self.graph.inserting_before(node):
            marked = self.graph.call_function(torch.ops.qrecipe.operand.default, (source, key))
        marked.meta = dict(node.meta)
        node.replace_all_uses_with(marked)
        if value is not None:
            shown = quantizer(value)
            self.known[node] = shown.t().contiguous() if key != quantizer.name else shown
            marked.args = (self._constant(marked, self.known[node]), key)
        self.graph.erase_node(node)

    def _linear(self, node: fx.Node) -> None:
        """A linear layer as a product and a sum, which is what runtimes fuse with integers on both sides."""
        weight = node.args[1]
        if not (isinstance(weight, fx.Node) and str(weight.args[1:2]).endswith(".transposed',)")):
            return
        bias = node.args[2] if len(node.args) > 2 else None
        with self.graph.inserting_before(node):
            made = self.graph.call_function(aten.matmul.default, (node.args[0], weight))
            made.meta = dict(node.meta)
            if bias is not None:
                made = self.graph.call_function(aten.add.Tensor, (made, bias))
                made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        self.graph.erase_node(node)

    def _keep_constants(self) -> None:
        """Computed constants that something still reads become buffers."""
        alive = set(self.graph.nodes)
        for node, value in list(self.known.items()):
            if node.op == "get_attr" or not isinstance(value, Tensor) or node not in alive:
                continue
            if any(user not in self.known for user in node.users):
                node.replace_all_uses_with(self._constant(node, value))

    def _constant(self, before: fx.Node, value: Tensor) -> fx.Node:
        name = f"constant_{len(list(self.constants.buffers()))}"
        self.constants.register_buffer(name, value.detach().clone())
        with self.graph.inserting_before(before):
            return self.graph.get_attr(f"{CONSTANTS}.{name}")
