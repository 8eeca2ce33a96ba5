"""From a captured model to its structure: everything that a plan asks of the graphs, read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import fx, nn

from ..graph.captured import Captured
from ..graph.points import QueryPoint, TapPoint
from ..graph.program import GraphMode, Program
from ..graph.shapes import Extent, Symbols, is_number, shape_of
from .biases import is_biased
from .blocks import find_blocks, up_to_last_weighted
from .chains import find_chains
from .cross_attention import LayerPoints, points_of_layer, shape_at
from .feature_maps import feature_maps
from .operands import WEIGHTED, Operand, Slot, operand_at
from .operations import Operation, find_operations
from .parameters import canonical_parameters, multiplied_parameters, parameter_sizes
from .products import products_of
from .roles import Roles, discover_roles
from .structure import Address, BlockFacts, OperationFacts, ProgramFacts, QueryFacts, SiteFacts, Structure, TapFacts
from .unsupported import count_unsupported


def analyse(captured: Captured, roles: Mapping[str, str] | None = None) -> Structure:
    """Find operations, operands, roles, cross-attention and what can be tapped. Changes nothing.

    Args:
        roles: a recipe's ``model.roles`` or ``teacher.roles``: role to a glob over module paths.

    Raises:
        PlanError: an override of no role, or one that matches no module.
        CaptureError: a call of the evaluation program that has no counterpart in training.
    """
    operations = find_operations(captured)
    found = discover_roles(captured, operations, roles)
    programs: dict[GraphMode, ProgramFacts] = {}
    sites: dict[str, SiteFacts] = {}
    operands: dict[fx.Node, Mapping[Slot, str]] = {}
    held: set[fx.Node] = set()
    for mode in operations:  # the training program first: it has every site
        program, own = captured.programs[mode], operations[mode]
        symbols = Symbols.of(program.graph)
        points = [
            points_of_layer(program, paths, layer) for paths, layer in zip(found.crossing, found.layers, strict=True)
        ]
        programs[mode] = _program(program, own, found, points, symbols, captured.root)
        held |= {tap.node for one in points for tap in one.taps.values()}
        held |= {one.query.node for one in points if one.query is not None}
        operands |= {operation.node: {one.slot: one.site for one in operation.operands} for operation in own}
        aligned = {user for point in points if point.query is not None for user in point.query.users}
        for operation in own:
            for operand in operation.operands:
                if operand.site not in sites:
                    is_aligned = (operation.node, operand.slot) in aligned
                    sites[operand.site] = _site(operation, operand, found, mode, symbols, is_aligned)
    return Structure(
        programs=programs,
        sites=sites,
        roles=found,
        parameters=parameter_sizes(captured.root, captured.programs),
        canonical=canonical_parameters(captured.root),
        unsupported=count_unsupported(captured.programs["eval"]),
        chains=find_chains(captured.root, captured.programs, operands, held),
        blocks=_blocks(captured.programs["eval"].graph, operations["eval"]),
        multiplied=multiplied_parameters(captured.root, _plain_products(operations["train"])),
    )


def _blocks(graph: fx.Graph, operations: list[Operation]) -> tuple[BlockFacts, ...]:
    names = {operation.node: operation.name for operation in operations if operation.operator in WEIGHTED}
    return tuple(
        BlockFacts(block.name, tuple(names[node] for node in block.nodes if node in names))
        for block in up_to_last_weighted(find_blocks(graph))
    )


def _plain_products(operations: Iterable[Operation]) -> list[fx.Node]:
    """The products that are no attention's."""
    products = (one for one in operations if one.operator == "matmul")
    return [one.node for one in products if all(operand.kind == "activation" for operand in one.operands)]


def _program(
    program: Program,
    operations: list[Operation],
    roles: Roles,
    points: list[LayerPoints],
    symbols: Symbols,
    root: nn.Module,
) -> ProgramFacts:
    sites = {operation.node: {one.slot: one.site for one in operation.operands} for operation in operations}
    return ProgramFacts(
        operations=tuple(
            OperationFacts(
                name=operation.name,
                address=_address(operation, roles),
                node=operation.node.name,
                sites=tuple(sites[operation.node].items()),
                attends=operation.name in roles.attending,
                products=products_of(operation) if program.mode == "eval" else (),
                biased=is_biased(root, operation.node),
            )
            for operation in operations
        ),
        queries={layer: _query(one, one.query, sites) for layer, one in enumerate(points) if one.query is not None},
        taps={(role, layer): _tap(tap) for layer, one in enumerate(points) for role, tap in one.taps.items()}
        | {key: _tap(tap) for key, tap in feature_maps(program, roles.backbone, roles.layers).items()},
        symbols=symbols,
        nodes=len(program.graph.nodes),
    )


def _address(operation: Operation, roles: Roles) -> Address:
    return Address(operation.module, operation.operator, roles.of[operation.name])


def _query(layer: LayerPoints, point: QueryPoint, sites: Mapping[fx.Node, Mapping[Slot, str]]) -> QueryFacts:
    users = tuple((user.name, slot) for user, slot in point.users)
    read = [sites.get(user, {}).get(slot) for user, slot in point.users]
    known = tuple(site for site in read if site is not None)
    others = tuple(sites.get(node, {}).get(0, node.name) for node in layer.others)
    return QueryFacts(point.node.name, users, known, point.layout, point.heads, point.head_dim, others)


def _tap(point: TapPoint) -> TapFacts:
    return TapFacts(point.node.name, point.views, shape_at(point))


def _site(
    operation: Operation, operand: Operand, roles: Roles, mode: GraphMode, symbols: Symbols, aligned: bool
) -> SiteFacts:
    shape = _operand_shape(operation, operand)
    source = operand_at(operation.node, operand.slot)
    has_heads = len(shape) == 4 and is_number(shape[1]) and symbols.batched(shape[:1]) and shape[0] == symbols.batch
    return SiteFacts(
        name=operand.site,
        operation=operation.name,
        address=_address(operation, roles),
        operand=operand.name,
        slot=operand.slot,
        kind=operand.kind,
        mode=mode,
        tensor=source.name if isinstance(source, fx.Node) else "",
        shape=shape,
        text=symbols.text(shape),
        extents=tuple(int(extent) if is_number(extent) else None for extent in shape),
        channel_axis=1 if operation.operator == "conv_transpose" else 0,
        heads=int(shape[1]) if has_heads else 0,
        batched=operand.kind != "weight" and symbols.batched(shape),
        aligned=aligned,
    )


def _operand_shape(operation: Operation, operand: Operand) -> tuple[Extent, ...]:
    node = operation.node
    if operand.slot == "probabilities":
        query, key = shape_of(node.args[0]) or (), shape_of(node.args[1]) or ()
        return (*query[:-1], key[-2])
    return shape_of(operand_at(node, operand.slot)) or ()
