"""Puts the planned fake quantizers in front of the operands that they belong to, in both programs."""

from __future__ import annotations

from torch import fx

from ..graph.captured import Captured
from ..graph.program import Program
from ..planning.plan import Plan
from ..quantizers import QuantizedOperand, build
from ..structure.operands import Slot, operand_at
from ..vocabulary import FAKE_QUANTIZERS
from .conditions import NORMS_FOLDED, OPERANDS_ARE_ARGUMENTS, OPERANDS_QUANTIZED, QUERIES_ALIGNED, planned_operands
from .placing import add_module
from .rewrite import Pass, PassReport


def insert_fake_quant(captured: Captured, plan: Plan) -> PassReport:
    """One module per planned quantizer, called once per tensor however many operations read it."""
    quantizers = plan.quantizers
    if not quantizers:
        return PassReport("insert_fake_quant", 0, 0, "operands quantized")
    for name, site in quantizers.items():
        assert site.spec is not None
        operand = QuantizedOperand(
            name, site.extents, site.axis, site.size, is_weight=site.kind == "weight", batched=site.batched
        )
        module = build(site.spec, operand)
        add_module(captured.root, f"{FAKE_QUANTIZERS}.{name}", module)
    done = expected = 0
    for program in captured.programs.values():
        done += _insert(program, plan)
        expected += sum(1 for _ in planned_operands(program, plan))
    return PassReport("insert_fake_quant", done, expected, "operands quantized")


INSERT_FAKE_QUANT = Pass(
    insert_fake_quant,
    requires=(OPERANDS_ARE_ARGUMENTS, NORMS_FOLDED, QUERIES_ALIGNED),
    ensures=(OPERANDS_QUANTIZED,),
)


def _insert(program: Program, plan: Plan) -> int:
    made: dict[tuple[fx.Node, str], fx.Node] = {}
    done = 0
    for node, slot, name in list(planned_operands(program, plan)):
        source = operand_at(node, slot)
        if not isinstance(source, fx.Node):
            continue
        if (source, name) not in made:
            with program.graph.inserting_before(node):
                call = program.graph.call_module(f"{FAKE_QUANTIZERS}.{name}", (source,))
            call.meta = {"module": node.meta.get("module", ""), "val": source.meta.get("val")}
            made[source, name] = call
        _set_operand(node, slot, made[source, name])
        done += 1
    return done


def _set_operand(node: fx.Node, slot: Slot, value: fx.Node) -> None:
    if isinstance(slot, tuple):
        items = node.args[slot[0]]
        assert isinstance(items, list | tuple)
        node.update_arg(slot[0], [value if index == slot[1] else item for index, item in enumerate(items)])
    else:
        assert isinstance(slot, int)
        node.update_arg(slot, value)
