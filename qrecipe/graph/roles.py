"""What each part of a captured detector is for: backbone, encoder, decoder, attentions, heads; and what can be tapped."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx

from ..errors import PlanError
from .capture import Captured
from .face import Face, QueryPoint, Structure
from .operations import WEIGHTED, Operation, leads_to_softmax
from .shapes import Symbols, shape_of

aten = torch.ops.aten

ROLES = (
    "backbone.stem",
    "backbone.body",
    "encoder.attention",
    "encoder.feed_forward",
    "encoder.convolution",
    "decoder.self_attention",
    "decoder.cross_attention",
    "decoder.feed_forward",
    "decoder.position",
    "head.class",
    "head.box",
    "head.proposal",
)
"""Every role that discovery gives, and that ``roles:`` in a recipe may name."""

TAPS = (
    "decoder.cross_attention.query",
    "decoder.cross_attention.key",
    "decoder.cross_attention.logits",
    "decoder.cross_attention.output",
    "decoder.layer.output",
)

_PRODUCT = {aten.scaled_dot_product_attention.default, aten.matmul.default, aten.bmm.default, aten.baddbmm.default}


@dataclass(frozen=True)
class Roles:
    """The discovered structure. All paths are module paths.

    of: operation name to role.
    backbone: the backbone's path prefix ("" where none was found).
    layers: the decoder layers' paths, in order; cross_attention: the cross-attention modules in them.
    """

    of: Mapping[str, str]
    backbone: str
    layers: tuple[str, ...]
    cross_attention: tuple[str, ...]


def role_matches(pattern: str, role: str) -> bool:
    """Whether a role pattern (a glob) names this role or a part that contains it: ``backbone`` names them all."""
    return fnmatch.fnmatchcase(role, pattern) or fnmatch.fnmatchcase(role, f"{pattern}.*")


def within(module: str, path: str) -> bool:
    """Whether a module path is ``path`` or lies below it."""
    return module == path or module.startswith(f"{path}.")


def discover_roles(
    captured: Captured, operations: Mapping[Structure, list[Operation]], overrides: Mapping[str, str] | None = None
) -> Roles:
    """Discover the roles, and set ``taps`` and ``queries`` of both faces.

    Args:
        overrides: role to a glob over module paths, from the recipe; it wins over what is discovered.

    Raises:
        PlanError: an override that matches no module.
    """
    overrides = overrides or {}
    face = captured.faces["train"]
    names = [name for name, _ in captured.root.named_modules(remove_duplicate=False) if name]
    cross = _cross_attention(face, _matching(names, overrides, "decoder.cross_attention"))
    layers = tuple(_layer_of(path) for path in cross)
    backbone = _matching(names, overrides, "backbone")
    prefix = backbone[0] if backbone else _backbone(operations["train"], layers)
    roles: dict[str, str] = {}
    for structure in ("eval", "train"):
        current = captured.faces[structure]
        roles.update(_assign(current, operations[structure], prefix, layers, cross))
        for layer, path in enumerate(cross):
            _tap_layer(current, layer, path, layers[layer])
    for role in overrides:
        for path in _matching(names, overrides, role):
            for operation in (*operations["train"], *operations["eval"]):
                if within(operation.module, path) and role in ROLES:
                    roles[operation.name] = role
    return Roles(roles, prefix, layers, cross)


def _matching(names: Iterable[str], overrides: Mapping[str, str], role: str) -> list[str]:
    if role not in overrides:
        return []
    found = [name for name in names if fnmatch.fnmatchcase(name, overrides[role])]
    if not found:
        raise PlanError(f"no module matches {overrides[role]!r}", where=f"model.roles.{role}")
    return found


def _cross_attention(face: Face, named: list[str]) -> tuple[str, ...]:
    """The innermost attention modules that hold a linear, read something of the image's extent, and return without it."""
    if named:
        return tuple(dict.fromkeys(named))
    symbols = Symbols.of(face.graph)
    regions: dict[str, list[fx.Node]] = {}
    for node in face.graph.nodes:
        parts = node.meta.get("module", "").split(".")
        for length in range(1, len(parts) + 1):
            if node.op in ("call_function", "call_module") and "att" in parts[length - 1].lower():
                regions.setdefault(".".join(parts[:length]), []).append(node)
    found = []
    for path, region in regions.items():
        inside = set(region)
        reads = [source for node in region for source in node.all_input_nodes if source not in inside]
        results = [node for node in region if any(user not in inside for user in node.users)]
        features = [node for node in results if shape_of(node) is not None and len(shape_of(node) or ()) >= 3]
        mixes = any(node.target in _PRODUCT or node.target is aten.grid_sampler.default for node in region)
        holds_linear = any(node.target is aten.linear.default for node in region)
        reads_image = any(
            symbols.spatial(shape_of(node)) and len(shape_of(node) or ()) >= 3 and _floating(node) for node in reads
        )
        if mixes and holds_linear and reads_image and features and not any(
            symbols.spatial(shape_of(node)) for node in features
        ):
            found.append(path)
    return tuple(path for path in found if not any(other != path and within(other, path) for other in found))


def _floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _layer_of(path: str) -> str:
    """The decoder layer around a cross-attention: up to its last part that is a number."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        if parts[length - 1].isdigit():
            return ".".join(parts[:length])
    return path.rpartition(".")[0] or path


def _backbone(operations: list[Operation], layers: tuple[str, ...]) -> str:
    """The highest module around the first convolution that holds no decoder layer and no head behind one."""
    stem = next((operation for operation in operations if operation.operator == "conv"), None)
    if stem is None:
        return ""
    parts = stem.module.split(".")
    others = [operation.module for operation in operations if operation.operator in WEIGHTED]
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        holds_decoder = any(within(layer, path) for layer in layers)
        if not holds_decoder and not all(within(other, path) for other in others):
            return path
    return stem.module


def _assign(
    face: Face, operations: list[Operation], backbone: str, layers: tuple[str, ...], cross: tuple[str, ...]
) -> dict[str, str]:
    in_decoder = {
        node for node in face.graph.nodes if any(within(node.meta.get("module", ""), layer) for layer in layers)
    }
    after = _downstream(face, in_decoder)
    to_logits, to_boxes = _upstream_of_outputs(face, in_decoder)
    selecting = _upstream_of_selection(face, in_decoder)
    softmaxed = {
        operation.module
        for operation in operations
        if operation.operator == "attention" or (operation.operator == "matmul" and leads_to_softmax(operation.node))
    }
    decoder = _container(layers)
    roles: dict[str, str] = {}
    stem_seen = False
    for operation in operations:
        module, node = operation.module, operation.node
        attends = any(within(module, path) for path in softmaxed if path)
        if backbone and within(module, backbone):
            first = not stem_seen and operation.operator == "conv"
            stem_seen = stem_seen or first
            role = "backbone.stem" if first else "backbone.body"
        elif any(within(module, layer) for layer in layers):
            role = "decoder.feed_forward"
            if any(within(module, path) for path in cross):
                role = "decoder.cross_attention"
            elif attends:
                role = "decoder.self_attention"
        elif node in after:
            role = "head.box" if node in to_boxes else "head.class" if node in to_logits else "decoder.position"
        elif decoder and within(module, decoder):
            role = "decoder.position"
        elif node in selecting and operation.operator in WEIGHTED:
            role = "head.proposal"
        elif attends:
            role = "encoder.attention"
        else:
            role = "encoder.convolution" if operation.operator.startswith("conv") else "encoder.feed_forward"
        roles[operation.name] = role
    return roles


def _container(layers: tuple[str, ...]) -> str:
    """The module that holds the decoder layers' list, such as ``model.decoder``; "" where that is the model itself."""
    return layers[0].rpartition(".")[0].rpartition(".")[0] if layers else ""


def _downstream(face: Face, starts: set[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set(starts)
    for node in face.graph.nodes:
        if node not in found and any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _walk_up(starts: Iterable[fx.Node], stop: set[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    pending = [node for node in starts if node not in stop]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(source for source in node.all_input_nodes if source not in stop)
    return found


def _upstream_of_outputs(face: Face, stop: set[fx.Node]) -> tuple[set[fx.Node], set[fx.Node]]:
    """What reaches class logits, and what reaches boxes (outputs with four columns), without a decoder layer between."""
    flat = face.output.args[0]
    assert isinstance(flat, list | tuple)
    logits, boxes = [], []
    for value in flat:
        shape = shape_of(value)
        if isinstance(value, fx.Node) and shape is not None and len(shape) >= 3 and value not in stop:
            (boxes if shape[-1] == 4 else logits).append(value)
    return _walk_up(logits, stop), _walk_up(boxes, stop)


def _upstream_of_selection(face: Face, stop: set[fx.Node]) -> set[fx.Node]:
    """The last linears before a top-k, and the small networks whose last linear yields proposal boxes."""
    before_layers = _downstream(face, stop)
    found: set[fx.Node] = set()
    linears = [node for node in face.graph.nodes if node.target is aten.linear.default and node not in before_layers]
    tops = [node for node in face.graph.nodes if node.target is aten.topk.default]
    if not tops:
        return found
    for top in tops:
        pending, seen = list(top.all_input_nodes), set[fx.Node]()
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.target is aten.linear.default:
                found.add(node)
            else:
                pending.extend(node.all_input_nodes)
    for node in linears:
        shape = shape_of(node)
        if shape is not None and shape[-1] == 4:
            family = _head_family(node.meta["module"])
            found.update(other for other in linears if within(other.meta["module"], family))
    return found


def _head_family(module: str) -> str:
    """The small network around a box layer: ``enc_bbox_head.layers.2`` belongs to ``enc_bbox_head``."""
    parts = module.split(".")
    while len(parts) > 1 and (parts[-1].isdigit() or parts[-1] == "layers"):
        parts.pop()
    return ".".join(parts)


def _tap_layer(face: Face, layer: int, path: str, layer_path: str) -> None:
    region = [node for node in face.graph.nodes if within(node.meta.get("module", ""), path) and node.op != "get_attr"]
    inside = set(region)
    exits = [node for node in region if any(user not in inside for user in node.users)]
    shaped = [node for node in exits if len(shape_of(node) or ()) == 3]
    if not shaped:
        return
    point, output = _dot_product(face, layer, region) or _deformable(face, layer, region) or (None, None)
    if point is not None:
        face.queries[layer] = point
        face.taps["decoder.cross_attention.query", layer] = point.node
    face.taps["decoder.cross_attention.output", layer] = output if output is not None else shaped[-1]
    layer_nodes = {node for node in face.graph.nodes if within(node.meta.get("module", ""), layer_path)}
    ends = [
        node
        for node in layer_nodes
        if len(shape_of(node) or ()) == 3 and any(user not in layer_nodes for user in node.users)
    ]
    if ends:
        order = {node: index for index, node in enumerate(face.graph.nodes)}
        face.taps["decoder.layer.output", layer] = max(ends, key=order.__getitem__)


def _dot_product(face: Face, layer: int, region: list[fx.Node]) -> tuple[QueryPoint, fx.Node | None] | None:
    """Query, key and co-attended feature of softmax(q k^T) v: the feature is what the output projection reads (2.26)."""
    for node in region:
        if node.target is aten.scaled_dot_product_attention.default:
            last = node
        elif node.target is aten.matmul.default and leads_to_softmax(node):
            last = _value_product(node, region)
        else:
            continue
        query, key = node.args[0], node.args[1]
        shape = shape_of(query)
        if not isinstance(query, fx.Node) or shape is None or len(shape) != 4:
            return None
        if isinstance(key, fx.Node) and node.target is aten.scaled_dot_product_attention.default:
            face.taps["decoder.cross_attention.key", layer] = key
        elif isinstance(key, fx.Node):
            face.taps["decoder.cross_attention.logits", layer] = node
        return QueryPoint(query, ((node, 0),), "bhld", int(shape[1]), int(shape[3])), _projection_input(last)
    return None


def _value_product(product: fx.Node, region: list[fx.Node]) -> fx.Node:
    later = region[region.index(product) + 1 :]
    return next((node for node in later if node.target is aten.matmul.default), product)


def _projection_input(node: fx.Node) -> fx.Node | None:
    """Follow the heads' merge to the tensor that the output projection reads; the merged tensor where there is none."""
    current = node
    for _ in range(8):
        users = [user for user in current.users if user.op == "call_function"]
        following = next((user for user in users if user.target is not aten.linear.default), None)
        if any(user.target is aten.linear.default for user in users):
            return current
        if following is None or following.target not in (
            aten.transpose.int,
            aten.reshape.default,
            aten.view.default,
            aten.permute.default,
            aten.contiguous.default,
            aten.clone.default,
            aten.flatten.using_ints,
        ):
            break
        current = following
    return current if len(shape_of(current) or ()) == 3 else None


def _deformable(face: Face, layer: int, region: list[fx.Node]) -> tuple[QueryPoint, fx.Node | None] | None:
    """The query is what sampling offsets and attention weights are computed from; the feature, the weighted sum."""
    softmax = next((node for node in region if node.target is aten.softmax.int), None)
    if softmax is None or not any(node.target is aten.grid_sampler.default for node in region):
        return None
    logits = softmax.args[0]
    assert isinstance(logits, fx.Node)
    face.taps["decoder.cross_attention.logits", layer] = logits
    linear = logits
    while linear.target is not aten.linear.default:
        sources = [source for source in linear.all_input_nodes if shape_of(source) is not None]
        if not sources:
            return None
        linear = sources[0]
    query = linear.args[0]
    assert isinstance(query, fx.Node)
    users = tuple((node, 0) for node in region if node.target is aten.linear.default and node.args[0] is query)
    width, weights = shape_of(query), shape_of(softmax)
    assert width is not None
    assert weights is not None
    heads = int(weights[2])
    sums = [node for node in region if node.target in (aten.sum.dim_IntList, aten.sum.default)]
    merged = _projection_input(sums[-1]) if sums else None
    layout: Literal["bld"] = "bld"
    return QueryPoint(query, users, layout, heads, int(width[-1]) // heads), merged
