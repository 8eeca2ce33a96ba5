"""What each part of a captured detector is for: backbone, encoder, decoder, attentions, heads."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from ..errors import PlanError
from ..graph.captured import Captured
from ..graph.flow import downstream, upstream, within
from ..graph.program import GraphMode, Program
from ..graph.shapes import Symbols, shape_of
from ..vocabulary import OVERRIDABLE, ROLES
from .attending import attending, layer_of, part_of_layer
from .cross_attention import find_cross_attention, tap_layer
from .operands import WEIGHTED
from .operations import Operation
from .outputs import logits_and_boxes

aten = torch.ops.aten

_COUNTS = {aten.arange.default, aten.arange.start, aten.arange.start_step}
_SCORES = {aten.linear.default, aten.matmul.default}
_ACTIVATIONS = {aten.relu.default, aten.relu_.default, aten.gelu.default, aten.silu.default, aten.silu_.default}


@dataclass(frozen=True)
class Roles:
    """The discovered structure. All paths are module paths.

    of: operation name to role.
    backbone: the backbone's module paths: one that was found, or all that an override names; empty where there is none.
    layers: the decoder layers' paths, in order; cross_attention: the cross-attention modules in them.
    """

    of: Mapping[str, str]
    backbone: tuple[str, ...]
    layers: tuple[str, ...]
    cross_attention: tuple[str, ...]


def role_matches(pattern: str, role: str) -> bool:
    """Whether a role pattern (a glob) names this role or a part that contains it: ``backbone`` names them all."""
    return fnmatch.fnmatchcase(role, pattern) or fnmatch.fnmatchcase(role, f"{pattern}.*")


def discover_roles(
    captured: Captured, operations: Mapping[GraphMode, list[Operation]], overrides: Mapping[str, str] | None = None
) -> Roles:
    """Discover the roles, and set ``taps`` and ``queries`` of both programs.

    Args:
        overrides: role to a glob over module paths, from the recipe; it wins over what is discovered.

    Raises:
        PlanError: an override of no role, or one that matches no module.
    """
    named = _overridden(captured, overrides or {})
    cross = named.get("decoder.cross_attention") or find_cross_attention(captured.programs["train"])
    layers = tuple(layer_of(path) for path in cross)
    backbone = named["backbone"] if "backbone" in named else _backbone(operations["train"], layers)
    roles: dict[str, str] = {}
    for mode in ("eval", "train"):
        program = captured.programs[mode]
        roles.update(_assign(program, operations[mode], backbone, layers, cross))
        for layer, path in enumerate(cross):
            tap_layer(program, layer, path, layers[layer])
    for role, paths in named.items():
        for operation in (*operations["train"], *operations["eval"]):
            if role in ROLES and any(within(operation.module, path) for path in paths):
                roles[operation.name] = role
    return Roles(roles, backbone, layers, cross)


def _overridden(captured: Captured, overrides: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The modules that each override names; of nested ones the outermost."""
    for problem in override_problems(captured, overrides).values():
        raise problem
    names = _module_names(captured)
    found: dict[str, tuple[str, ...]] = {}
    for role, pattern in overrides.items():
        paths = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        found[role] = tuple(path for path in paths if not any(other != path and within(path, other) for other in paths))
    return found


def override_problems(captured: Captured, overrides: Mapping[str, str]) -> dict[str, PlanError]:
    """What is wrong with each override that is of no role, or matches no module, by its role."""
    names = _module_names(captured)
    problems = {}
    for role, pattern in overrides.items():
        where = f"model.roles.{role}"
        if role not in OVERRIDABLE:
            near = difflib.get_close_matches(role, OVERRIDABLE, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"roles are {', '.join(OVERRIDABLE)}"
            problems[role] = PlanError(f"there is no role {role!r}", where=where, remedy=remedy)
        elif not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
            given = f"the closest are {', '.join(near)}" if near else None
            problems[role] = PlanError(f"no module matches {pattern!r}", where=where, remedy=given)
    return problems


def _module_names(captured: Captured) -> list[str]:
    return [name for name, _ in captured.root.named_modules(remove_duplicate=False) if name]


def _backbone(operations: list[Operation], layers: tuple[str, ...]) -> tuple[str, ...]:
    """The highest module around the first convolution that holds no decoder layer and no head behind one."""
    stem = next((operation for operation in operations if operation.operator == "conv"), None)
    if stem is None or not stem.module:
        return ()
    parts = stem.module.split(".")
    others = [operation.module for operation in operations if operation.operator in WEIGHTED]
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        holds_decoder = any(within(layer, path) for layer in layers)
        if not holds_decoder and not all(within(other, path) for other in others):
            return (path,)
    return (stem.module,)


def _assign(
    program: Program,
    operations: list[Operation],
    backbone: tuple[str, ...],
    layers: tuple[str, ...],
    cross: tuple[str, ...],
) -> dict[str, str]:
    in_decoder = {
        node for node in program.graph.nodes if any(within(node.meta.get("module", ""), layer) for layer in layers)
    }
    after = downstream(program.graph, in_decoder)
    to_logits, to_boxes = (upstream(outputs, in_decoder) for outputs in logits_and_boxes(program))
    selecting = _selecting(program, after)
    symbols = Symbols.of(program.graph)
    attention = attending(operations)
    crossing = {part_of_layer(path) for path in cross}
    text = _text(program, in_decoder, symbols)
    reading = _reading(operations, in_decoder & attention, text)
    # A module without weights, which scores features by their product with a prompt's, may score the chosen ones again.
    choosers = {one.module for one in operations if one.node in selecting and one.module and _scores(one)}
    heads = set[fx.Node]() if layers else _heads(program)
    decoder = _container(layers)
    roles: dict[str, str] = {}
    stem_seen = False
    for operation in operations:
        module, node = operation.module, operation.node
        attends = node in attention
        if node in heads:
            role = "head.box" if node in to_boxes else "head.class"
        elif any(within(module, path) for path in backbone):
            first = not stem_seen and operation.operator == "conv"
            stem_seen = stem_seen or first
            role = "backbone.stem" if first else "backbone.body"
        elif any(within(module, layer) for layer in layers):
            role = "decoder.feed_forward"
            if any(within(module, path) for path in crossing):
                role = "decoder.cross_attention"
            elif attends:
                role = "decoder.text_attention" if part_of_layer(module) in reading else "decoder.self_attention"
        elif node in after:
            role = "head.box" if node in to_boxes else "head.class" if node in to_logits else "decoder.position"
        elif (node in selecting and (operation.operator in WEIGHTED or _scores(operation))) or module in choosers:
            role = "head.proposal"
        elif node in text:
            role = "encoder.text"
        elif layers and _is_per_query(operation, symbols, bool(decoder) and within(module, decoder)):
            role = "decoder.position"
        elif attends:
            role = "encoder.attention"
        else:
            role = "encoder.convolution" if operation.operator.startswith("conv") else "encoder.feed_forward"
        roles[operation.name] = role
    return _one_per_layer(operations, roles)


def _one_per_layer(operations: list[Operation], roles: Mapping[str, str]) -> dict[str, str]:
    """A weight that is used several times has one role, that of its last use: it is one site, also where two modules
    share it, as a decoder that refines boxes shares the box head."""
    layer = {
        operation.name: operand.site
        for operation in operations
        for operand in operation.operands
        if operand.kind == "weight"
    }
    last = {layer[operation.name]: roles[operation.name] for operation in operations if operation.name in layer}
    return {name: last[layer[name]] if name in layer else role for name, role in roles.items()}


def _is_per_query(operation: Operation, symbols: Symbols, around: bool) -> bool:
    """Before the decoder, what has (batch, queries, ...) without the image's extent belongs to the queries.

    around: whether it lies in the module that holds the decoder's layers. There (queries, ...) will do. What has the
    image's extent is no query's even there: the module may hold the encoder as well.
    """
    shape = shape_of(operation.node)
    enough = around or len(shape or ()) >= 3
    return not operation.operator.startswith("conv") and enough and not symbols.spatial(shape)


def _scores(operation: Operation) -> bool:
    """Whether an operation is a product of features with features, which is no attention's."""
    return operation.operator == "matmul" and not any(one.kind == "attention" for one in operation.operands)


def _text(program: Program, in_decoder: set[fx.Node], symbols: Symbols) -> set[fx.Node]:
    """What is computed from embedded words and goes into the image's features, without having their extent itself.

    Words are looked up by a constant; what is looked up by its own number, as learned queries are, is none.
    """
    embedded = {node for node in program.graph.nodes if node.target is aten.embedding.default}
    words = {node for node in embedded if not any(one.target in _COUNTS for one in upstream([node], set()))}
    if not words:
        return set()
    outside = [node for node in program.graph.nodes if node not in in_decoder]
    features = [node for node in outside if symbols.spatial(shape_of(node))]
    said = downstream(program.graph, words) & upstream(features, in_decoder)
    return {node for node in said if len(shape_of(node) or ()) >= 3 and not symbols.spatial(shape_of(node))}


def _reading(operations: list[Operation], attention: set[fx.Node], text: set[fx.Node]) -> set[str]:
    """The parts of decoder layers in which an attention reads text."""
    return {
        part_of_layer(one.module)
        for one in operations
        if one.node in attention and any(source in text for source in one.node.all_input_nodes)
    }


def _container(layers: tuple[str, ...]) -> str:
    """The module that holds the decoder layers' list, such as ``model.decoder``; "" where that is the model itself."""
    return layers[0].rpartition(".")[0].rpartition(".")[0] if layers else ""


def _selecting(program: Program, after: set[fx.Node]) -> set[fx.Node]:
    """The last linears or products before a top-k, and the small networks whose last linear yields proposal boxes."""
    tops = [node for node in program.graph.nodes if node.target is aten.topk.default]
    if not tops:
        return set()
    linears = {node for node in program.graph.nodes if node.target is aten.linear.default and node not in after}
    found: set[fx.Node] = set()
    pending, seen = list(tops), set[fx.Node]()
    while pending:
        node = pending.pop()
        if node.target in _SCORES:
            found.add(node)
        elif node not in seen:
            seen.add(node)
            pending.extend(node.all_input_nodes)
    for node in linears:
        shape = shape_of(node)
        if shape is not None and shape[-1] == 4:
            found |= _network_before(node)
    return found


def _heads(program: Program) -> set[fx.Node]:
    """Without a decoder: the small networks that end in the logits and the boxes."""
    logits, boxes = logits_and_boxes(program)
    found: set[fx.Node] = set()
    for output in (*logits, *boxes):
        node = output
        while node.target is not aten.linear.default and len(node.all_input_nodes) == 1:
            node = node.all_input_nodes[0]
        if node.target is aten.linear.default:
            found |= _network_before(node)
    return found


def _network_before(linear: fx.Node) -> set[fx.Node]:
    """A linear and the linears before it that only activations part."""
    found = {linear}
    source = linear.args[0]
    while isinstance(source, fx.Node) and (source.target in _ACTIVATIONS or source.target is aten.linear.default):
        if source.target is aten.linear.default:
            found.add(source)
        source = source.args[0]
    return found
