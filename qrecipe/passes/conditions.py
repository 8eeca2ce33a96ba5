"""What passes require of one another and ensure: each is looked up in the graphs, not remembered."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from ..graph.captured import Captured
from ..graph.program import Program
from ..planning.plan import Plan
from ..structure.norms import is_norm
from ..structure.operands import SITES, Slot, operand_at
from ..vocabulary import ALIGNMENTS, CORRECTIONS, FAKE_QUANTIZERS
from .rewrite import Condition


def planned_operands(program: Program, plan: Plan) -> Iterator[tuple[fx.Node, Slot, str]]:
    """Every operand that the plan quantizes in one program: its node, its slot, its quantizer's name."""
    for node in program.graph.nodes:
        for slot, site in node.meta.get(SITES, {}).items():
            quantizer = plan.sites[site].quantizer
            if quantizer is not None:
                yield node, slot, quantizer


def _quantized(captured: Captured, plan: Plan) -> str | None:
    return next((f"{node.target} is called" for node in _nodes(captured) if _calls(node, FAKE_QUANTIZERS)), None)


def _no_argument(captured: Captured, plan: Plan) -> str | None:
    for program in captured.programs.values():
        for node, slot, quantizer in planned_operands(program, plan):
            if not isinstance(operand_at(node, slot), fx.Node):
                return f"{quantizer} is to quantize {slot} of {node.name}, which has no such argument"
    return None


def _unfolded(captured: Captured, plan: Plan) -> str | None:
    if plan.batch_norm != "frozen":
        return None
    return next((f"{node.target} is called" for node in _nodes(captured) if is_norm(captured.root, node)), None)


def _unaligned(captured: Captured, plan: Plan) -> str | None:
    for program in captured.programs.values():
        called = [str(node.target) for node in program.graph.nodes if _calls(node, ALIGNMENTS)]
        wanted = [f"{ALIGNMENTS}.{planned.name}" for planned in plan.alignments]
        if sorted(called) != sorted(wanted):
            return f"the {program.mode} program calls {called}, where {wanted} are planned"
    return None


def _unquantized(captured: Captured, plan: Plan) -> str | None:
    for program in captured.programs.values():
        for node, slot, quantizer in planned_operands(program, plan):
            source = operand_at(node, slot)
            if not isinstance(source, fx.Node) or source.target != f"{FAKE_QUANTIZERS}.{quantizer}":
                return f"{slot} of {node.name} does not read {quantizer}"
    return None


def _uncorrected(captured: Captured, plan: Plan) -> str | None:
    wanted = {planned.site: f"{CORRECTIONS}.{planned.site}" for planned in plan.corrections}
    for node in _nodes(captured):
        correction = wanted.get(node.meta.get(SITES, {}).get(1, ""))
        bias = node.args[2] if correction is not None and len(node.args) > 2 else None
        if correction is not None and not (isinstance(bias, fx.Node) and bias.target == correction):
            return f"the bias of {node.name} does not read {correction}"
    return None


def _untapped(captured: Captured, plan: Plan) -> str | None:
    wanted = tuple(tap.name for tap in plan.taps)
    for program in captured.programs.values():
        count = len(program.outputs) - program.out_spec.num_leaves
        if program.exposed != wanted or count != len(wanted):
            return f"the {program.mode} program gives {count} values as {program.exposed}, where {wanted} are planned"
    return None


def _nodes(captured: Captured) -> Iterator[fx.Node]:
    for program in captured.programs.values():
        yield from program.graph.nodes


def _calls(node: fx.Node, added: str) -> bool:
    return node.op == "call_module" and str(node.target).startswith(f"{added}.")


NOTHING_QUANTIZED = Condition("no operand is quantized yet", _quantized)
OPERANDS_ARE_ARGUMENTS = Condition("every operand that is to be quantized is an argument", _no_argument)
NORMS_FOLDED = Condition("no BatchNorm that is frozen is left as a module", _unfolded)
QUERIES_ALIGNED = Condition("every planned alignment is called once", _unaligned)
OPERANDS_QUANTIZED = Condition("every planned operand reads its quantizer", _unquantized)
BIASES_CORRECTED = Condition("every planned correction stands at the biases of its weight's layers", _uncorrected)
TAPS_EXPOSED = Condition("the planned taps, and no others, are outputs", _untapped)
