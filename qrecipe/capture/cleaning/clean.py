"""Turns what torch.export returns into a graph that passes can edit and that follows train() and eval()."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ...graph.dropout import add_dropout
from ...graph.program import GraphMode, erase_dead
from ...vocabulary import CONSTANTS
from ..wrapper import own_name
from .assignments import unfold_assignments
from .einsum import unfold_products
from .gradients import stop_gradients
from .heads import unfold_heads
from .regions import inline_regions
from .reshaping import unify_reshapes

aten = torch.ops.aten
_ASSERTS = {
    aten._assert_tensor_metadata.default,
    aten._assert_scalar.default,
    aten._assert_async.msg,
    torch._check,
}
_DEAD_CHECKS = {
    aten.item.default,
    aten._is_all_true.default,
    torch.sym_ite,
    operator.ge,
    operator.le,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.gt,
}
_DROPOUTS = {aten.dropout.default, aten.dropout_.default}
_BATCH_NORMS = {aten.batch_norm.default}


def clean(graph_module: fx.GraphModule, root: nn.Module, mode: GraphMode, traced: GraphMode) -> fx.Graph:
    """The graph over ``root``'s names: no guards or asserts; dropout and BatchNorm are modules again.

    In the evaluation mode dropout is gone. Reshaping is written in one way, einsum's products of matrices as
    products of matrices; attention products have their heads in a dimension of their own, and parts of tensors are
    replaced rather than written into. Regions without gradients or with another precision switched off are part of the
    graph, with gradients stopped where the model stops them. Constants become non-persistent buffers of
    ``root.constants``.

    traced: the mode that the model was in; where evaluation serves for training, all of its dropout is active there.
    """
    graph = inline_regions(graph_module)  # that no GraphModule owns: its names are looked up in ``root``
    _strip_checks(graph)
    _name_modules(graph, root)
    _rename_attributes(graph, graph_module, root, mode)
    _restore_batch_norm(graph, root)
    _restore_opaque_norms(graph, root)
    _restore_dropout(graph, root, mode, traced)
    unfold_assignments(graph)
    unify_reshapes(graph)
    unfold_products(graph)
    unfold_heads(graph)
    stop_gradients(graph)
    erase_dead(graph)
    for node in graph.nodes:  # what later rooms read of a node, and no more: a capture that was kept on disk has it too
        node.meta = {key: node.meta[key] for key in ("module", "val") if key in node.meta}
    return graph


def _strip_checks(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        guard = node.op == "call_module" and "_guards_fn" in str(node.target)
        check = node.op == "call_function" and node.target in _ASSERTS
        dead = node.op == "call_function" and node.target in _DEAD_CHECKS and not node.users
        if guard or check or dead:
            graph.erase_node(node)


def _name_modules(graph: fx.Graph, root: nn.Module) -> None:
    """``meta['module']``: the innermost module's path in the model, ``""`` outside all of its parts."""
    known = dict(root.named_modules(remove_duplicate=False))
    for node in graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        paths = [own_name(path) for path, _ in stack.values()]
        node.meta["module"] = next((path for path in reversed(paths) if path in known), "")


def _rename_attributes(graph: fx.Graph, module: fx.GraphModule, root: nn.Module, mode: GraphMode) -> None:
    known = (
        dict(root.named_parameters(remove_duplicate=False)).keys()
        | dict(root.named_buffers(remove_duplicate=False)).keys()
    )
    for node in graph.nodes:
        if node.op != "get_attr":
            continue
        name = str(node.target)
        if own_name(name) in known:
            node.target = own_name(name)
            continue
        value: Any = module
        for part in name.split("."):
            value = getattr(value, part)
        if not hasattr(root, CONSTANTS):
            root.add_module(CONSTANTS, nn.Module())
        own = f"{mode}_{name.replace('.', '_')}"
        constants = root.get_submodule(CONSTANTS)
        if not hasattr(constants, own):
            constants.register_buffer(own, value, persistent=False)
        node.target = f"{CONSTANTS}.{own}"


def _restore_batch_norm(graph: fx.Graph, root: nn.Module) -> None:
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _BATCH_NORMS:
            continue
        mean = node.args[3]
        if not (isinstance(mean, fx.Node) and mean.op == "get_attr"):
            continue
        path = str(mean.target).rpartition(".")[0]
        if not isinstance(root.get_submodule(path), _BatchNorm):
            continue
        _call_instead(graph, node, path, node.args[0])
        _erase_counter(graph, f"{path}.num_batches_tracked")


def _erase_counter(graph: fx.Graph, target: str) -> None:
    """The module counts its own batches. Where it is called twice, the second sum hangs on the first."""
    chain = {node for node in graph.nodes if node.op == "get_attr" and node.target == target}
    for node in graph.nodes:
        if any(source in chain for source in node.all_input_nodes):
            chain.add(node)
    for node in reversed(list(graph.nodes)):
        if node in chain:
            graph.erase_node(node)


def _restore_opaque_norms(graph: fx.Graph, root: nn.Module) -> None:
    """Frozen BatchNorms written by hand (any module with running_mean and running_var) become one call each."""
    regions: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_function" and node.meta["module"]:
            regions.setdefault(node.meta["module"], []).append(node)
    for path, region in regions.items():
        part = root.get_submodule(path)
        if isinstance(part, _BatchNorm | _InstanceNorm):
            continue
        if not {"running_mean", "running_var"} <= dict(part.named_buffers()).keys():
            continue
        inside = set(region)
        inputs = {source for node in region for source in node.all_input_nodes if source not in inside}
        sources = [source for source in inputs if source.op != "get_attr"]
        exits = [node for node in region if any(user not in inside for user in node.users)]
        if len(sources) == 1 and len(exits) == 1:
            _call_instead(graph, exits[0], path, sources[0])
            for node in reversed(region):
                if node is not exits[0] and not node.users:
                    graph.erase_node(node)


def _restore_dropout(graph: fx.Graph, root: nn.Module, mode: GraphMode, traced: GraphMode) -> None:
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _DROPOUTS:
            continue
        kept_off = traced == "train" and node.args[2] is False  # by a train() of the model's own
        if mode == "eval" or node.args[1] == 0 or kept_off:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            node.replace_all_uses_with(source)
            graph.erase_node(node)
            continue
        probability = node.args[1]
        assert isinstance(probability, float | int)
        _call_instead(graph, node, add_dropout(root, float(probability)), node.args[0])


def _call_instead(graph: fx.Graph, node: fx.Node, target: str, source: Any) -> None:
    with graph.inserting_before(node):
        call = graph.call_module(target, (source,))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)
