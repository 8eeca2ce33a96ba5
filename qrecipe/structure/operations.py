"""Finds what can be quantized: every operation with its operands, under names that both programs share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

from ..errors import CaptureError
from ..graph.captured import Captured
from ..graph.program import GraphMode, Program
from ..graph.shapes import shape_of
from .operands import (
    OPERATORS,
    PASSIVE,
    WEIGHTED,
    Operand,
    is_weighted_sum,
    operand_at,
    reads_features,
    slots_of,
)
from .parameters import canonical_parameters, weight_name
from .value_hash import value_hashes


@dataclass(frozen=True)
class Operation:
    """One operation of one program. ``name`` is the same in the other one where it exists there too."""

    name: str
    module: str
    operator: str
    node: fx.Node
    operands: tuple[Operand, ...]


def find_operations(captured: Captured) -> dict[GraphMode, list[Operation]]:
    """Every operation with quantizable operands, in graph order, for both programs.

    A name is the module's path, the operator where it is no module of its own, and ``@k`` for the k-th call. Where the
    training graph calls a module more often than the evaluation graph, calls are told apart by what they compute.

    Raises:
        CaptureError: a call of the evaluation graph that has no counterpart among several in training.
    """
    canonical = canonical_parameters(captured.root)
    grouped = {mode: _grouped(program, captured.root) for mode, program in captured.programs.items()}
    unread = {
        node.target for node in captured.programs["eval"].graph.nodes if node.op == "placeholder" and not node.users
    }
    hashes = {
        mode: value_hashes(program, captured.root, canonical, unread) for mode, program in captured.programs.items()
    }
    found: dict[GraphMode, list[Operation]] = {"train": [], "eval": []}
    for base, nodes in grouped["train"].items():
        for index, node in enumerate(nodes):
            found["train"].append(_operation(base, index, node, captured.root, canonical))
    for base, nodes in grouped["eval"].items():
        others = [hashes["train"][other] for other in grouped["train"].get(base, [])]
        taken: set[int] = set()
        for index, node in enumerate(nodes):
            if len(others) not in (0, len(nodes)):
                index = _counterpart(base, hashes["eval"][node], others, taken)
                taken.add(index)
            found["eval"].append(_operation(base, index, node, captured.root, canonical))
    for mode, program in captured.programs.items():
        order = {node: position for position, node in enumerate(program.graph.nodes)}
        found[mode].sort(key=lambda operation: order[operation.node])
    return found


def _counterpart(base: str, own: str, others: list[str], taken: set[int]) -> int:
    """Of several calls that compute the same, each is the counterpart of one."""
    matches = [index for index, other in enumerate(others) if other == own and index not in taken]
    if not matches:
        raise CaptureError(
            f"a call in the evaluation graph matches none of the {len(others)} calls in the training graph",
            where=base,
            remedy="quantizers are shared between the two, so each call must compute the same in both",
        )
    return matches[0]


def _grouped(program: Program, root: nn.Module) -> dict[str, list[fx.Node]]:
    groups: dict[str, list[fx.Node]] = defaultdict(list)
    for node in program.graph.nodes:
        if node.op != "call_function" or node.target not in OPERATORS:
            continue
        operator = OPERATORS[node.target]
        if operator in WEIGHTED and len(shape_of(node.args[1]) or ()) < 2:
            continue  # a product with a vector, as in D-FINE's integral: box arithmetic, no layer
        if operator == "weighted_sum" and not is_weighted_sum(node):
            continue
        if operator in PASSIVE and not reads_features(node):
            continue
        module = node.meta["module"]
        own = operator in WEIGHTED and module and not any(root.get_submodule(module).children())
        groups[module if own else f"{module}.{operator}".lstrip(".")].append(node)
    return groups


def _operation(base: str, index: int, node: fx.Node, root: nn.Module, canonical: Mapping[str, str]) -> Operation:
    name = f"{base}@{index}" if index else base
    operator = OPERATORS[node.target]
    operands = []
    for slot, operand, kind in slots_of(node, operator):
        source = operand_at(node, slot)
        site = f"{name}.{operand}"
        if kind == "weight":
            site = weight_name(source, canonical) or site
        operands.append(Operand(site, slot, operand, kind))
    return Operation(name, node.meta["module"], operator, node, tuple(operands))
