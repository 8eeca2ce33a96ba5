"""Which role each operation of one program has, from where it stands in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from ..graph.flow import downstream, upstream, within
from ..graph.program import Program
from ..graph.shapes import Symbols, shape_of
from .attending import across, part_of_layer
from .heads import heads_without_decoder, refining, what_selects
from .operands import WEIGHTED
from .operations import Operation
from .outputs import logits_and_boxes

aten = torch.ops.aten

_COUNTS = {aten.arange.default, aten.arange.start, aten.arange.start_step}


def find_backbone(operations: list[Operation], layers: tuple[str, ...]) -> tuple[str, ...]:
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


@dataclass(frozen=True)
class _Regions:
    """Parts of one program by what they are for. layers: the decoder layers' paths; decoder: the module around them.

    after: what comes behind the decoder. to_logits, to_boxes: what leads from there to the outputs. heads: without a
    decoder, the networks that end in them. selecting: what a top-k chooses by. choosers: modules that score so.
    crossing, reading: parts of layers with cross-attention, and with attention over text. across: nodes of
    cross-attentions that are written out in their layer. refining: box heads that stand in a layer.
    """

    backbone: tuple[str, ...]
    layers: tuple[str, ...]
    decoder: str
    symbols: Symbols
    attention: Mapping[fx.Node, str]
    after: set[fx.Node]
    to_logits: set[fx.Node]
    to_boxes: set[fx.Node]
    heads: set[fx.Node]
    selecting: set[fx.Node]
    choosers: set[str]
    text: set[fx.Node]
    crossing: set[str]
    across: set[fx.Node]
    reading: set[str]
    refining: set[fx.Node]


def assign_roles(
    program: Program,
    operations: list[Operation],
    attention: Mapping[fx.Node, str],
    backbone: tuple[str, ...],
    layers: tuple[str, ...],
    cross: tuple[str, ...],
) -> dict[str, str]:
    """The role of every operation of one program, by name.

    Args:
        attention: the nodes that belong to an attention, and to which part of a layer. backbone, layers, cross: paths
            of the backbone's modules, of the decoder's layers, and of their cross-attentions.
    """
    regions = _regions(program, operations, attention, backbone, layers, cross)
    roles = {operation.name: _role(operation, regions) for operation in operations}
    for operation in operations:
        if operation.operator == "conv" and roles[operation.name] == "backbone.body":
            roles[operation.name] = "backbone.stem"
            break
    return _one_per_layer(operations, roles)


def _regions(
    program: Program,
    operations: list[Operation],
    attention: Mapping[fx.Node, str],
    backbone: tuple[str, ...],
    layers: tuple[str, ...],
    cross: tuple[str, ...],
) -> _Regions:
    in_decoder = {
        node for node in program.graph.nodes if any(within(node.meta.get("module", ""), layer) for layer in layers)
    }
    after = downstream(program.graph, in_decoder)
    to_logits, to_boxes = (upstream(outputs, in_decoder) for outputs in logits_and_boxes(program))
    selecting = what_selects(program, after)
    symbols = Symbols.of(program.graph)
    text = _text(program, in_decoder, symbols)
    written_out = {part_of_layer(path) for path in cross} & set(layers)
    return _Regions(
        backbone=backbone,
        layers=layers,
        decoder=_container(layers),
        symbols=symbols,
        attention=attention,
        after=after,
        to_logits=to_logits,
        to_boxes=to_boxes,
        heads=set() if layers else heads_without_decoder(program),
        selecting=selecting,
        # A module without weights, which scores features by their product with a prompt's, may score the chosen again.
        choosers={one.module for one in operations if one.node in selecting and one.module and _scores(one)},
        text=text,
        crossing={part_of_layer(path) for path in cross if part_of_layer(path) not in written_out},
        across=across(operations, written_out, symbols),
        reading=_reading(operations, attention, in_decoder, text),
        refining=refining(program, in_decoder),
    )


def _role(operation: Operation, regions: _Regions) -> str:
    module, node = operation.module, operation.node
    if node in regions.heads:
        return "head.box" if node in regions.to_boxes else "head.class"
    if any(within(module, path) for path in regions.backbone):
        return "backbone.body"
    if any(within(module, layer) for layer in regions.layers) or _is_of_layer(node, regions):
        return _role_in_layer(module, node, regions)
    if node in regions.after:
        in_head = "head.class" if node in regions.to_logits else "decoder.position"
        return "head.box" if node in regions.to_boxes else in_head
    selects = node in regions.selecting and (operation.operator in WEIGHTED or _scores(operation))
    if selects or module in regions.choosers:
        return "head.proposal"
    if node in regions.text:
        return "encoder.text"
    around = bool(regions.decoder) and within(module, regions.decoder)
    if regions.layers and _is_per_query(operation, regions.symbols, around):
        return "decoder.position"
    if node in regions.attention:
        return "encoder.attention"
    return "encoder.convolution" if operation.operator.startswith("conv") else "encoder.feed_forward"


def _is_of_layer(node: fx.Node, regions: _Regions) -> bool:
    """Whether a projection outside of all layers belongs to an attention in one of them."""
    part = regions.attention.get(node)
    return part is not None and any(within(part, layer) for layer in regions.layers)


def _role_in_layer(module: str, node: fx.Node, regions: _Regions) -> str:
    part = regions.attention.get(node)
    if node in regions.across or any(
        within(one, path) for one in (module, part or module) for path in regions.crossing
    ):
        return "decoder.cross_attention"
    if part is None:
        return "head.box" if node in regions.refining else "decoder.feed_forward"
    return "decoder.text_attention" if part in regions.reading else "decoder.self_attention"


def _one_per_layer(operations: list[Operation], roles: Mapping[str, str]) -> dict[str, str]:
    """A weight that is used several times has one role: it is one site, also where two modules share it, as a decoder
    that refines boxes shares the box head. It is that of its last use as a head, which another use does not make less
    of one (DINO scores the chosen tokens again for the proposals' own loss); else that of its last use."""
    layer = {
        operation.name: operand.site
        for operation in operations
        for operand in operation.operands
        if operand.kind == "weight"
    }
    used = [(layer[operation.name], roles[operation.name]) for operation in operations if operation.name in layer]
    last = dict(used) | dict(use for use in used if use[1].startswith("head."))
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


def _reading(
    operations: list[Operation], attention: Mapping[fx.Node, str], in_decoder: set[fx.Node], text: set[fx.Node]
) -> set[str]:
    """The parts of decoder layers in which an attention reads text."""
    inside = [one.node for one in operations if one.node in attention and one.node in in_decoder]
    return {attention[node] for node in inside if any(source in text for source in node.all_input_nodes)}


def _container(layers: tuple[str, ...]) -> str:
    """The module that holds the decoder layers' list, such as ``model.decoder``; "" where that is the model itself."""
    return layers[0].rpartition(".")[0].rpartition(".")[0] if layers else ""
