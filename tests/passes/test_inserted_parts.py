"""Fake quantizers, alignments and taps stand where the plan says, in both graphs, and nowhere else."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import fx

from qrecipe.distill import QueryAlignment
from qrecipe.graph.captured import Captured
from qrecipe.graph.program import Program
from qrecipe.passes import PASSES, Pass, PassReport, run_passes
from qrecipe.planning import Plan, build_plan
from qrecipe.quantizers import QuantizedOperand, Quantizer
from qrecipe.recipe import Recipe
from qrecipe.structure.operands import SITES, operand_at
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import marked, picture, rewritten

ADDITIONS = {"match": "op:add", "activation": {"bits": 8}}
EVERYTHING = {**W4A4, "rules": [ADDITIONS, {"match": "op:cat", "activation": {"bits": 8}}]}


def edited(specimen: Specimen, recipe: Recipe) -> tuple[Captured, Plan]:
    captured, structure = marked(specimen.captured)
    plan = build_plan(structure, recipe, (64, 96))
    run_passes(captured, plan)
    return captured, plan


def calls(program: Program, prefix: str) -> list[fx.Node]:
    return [
        node for node in program.graph.nodes if node.op == "call_module" and str(node.target).startswith(f"{prefix}.")
    ]


@pytest.mark.parametrize("quantize", [W4A4, EVERYTHING])
def test_every_planned_operand_is_quantized_and_no_other(specimen: Specimen, quantize: dict[str, object]) -> None:
    captured, plan = edited(specimen, a_recipe(quantize, align=ALIGN))
    reached = set()
    for program in captured.programs.values():
        inserted = calls(program, "fake_quantizers")
        seen: Counter[fx.Node] = Counter()
        for node in program.graph.nodes:
            for slot, site in node.meta.get(SITES, {}).items():
                operand, expected = operand_at(node, slot), plan.sites[site].quantizer
                if expected is None:
                    assert operand not in inserted
                else:
                    assert operand.target == f"fake_quantizers.{expected}"
                    seen[operand] += 1
        assert set(seen) == set(inserted)
        # A tensor is quantized once however many read it, unless their specs differ.
        assert len({(node.args[0], node.target) for node in inserted}) == len(inserted)
        reached |= {str(node.target).removeprefix("fake_quantizers.") for node in inserted}
    assert reached == set(plan.quantizers)
    modules = [name for name, module in captured.root.named_modules() if isinstance(module, Quantizer)]
    assert {name.removeprefix("fake_quantizers.") for name in modules} == set(plan.quantizers)


def test_quantizers_are_built_as_planned(specimen: Specimen) -> None:
    captured, plan = edited(specimen, a_recipe(W4A4))
    for name, site in plan.quantizers.items():
        module = captured.root.get_submodule(f"fake_quantizers.{name}")
        assert (module.spec, module.name) == (site.spec, name)
        assert module.operand == QuantizedOperand(
            name, site.extents, site.axis, site.size, site.kind == "weight", site.batched
        )
        assert module.scale.dtype == torch.float64


def test_a_weights_shape_is_planned_in_numbers_and_others_as_far_as_they_are(specimen: Specimen) -> None:
    captured, plan = edited(specimen, a_recipe(W4A4))
    parameters = dict(captured.root.named_parameters(remove_duplicate=False))
    weights = [site for site in plan.sites.values() if site.kind == "weight" and site.name in parameters]
    assert len(weights) > 10
    for site in weights:
        assert site.extents == tuple(parameters[site.name].shape)
    shapes = {site.extents for site in plan.sites.values() if site.kind != "weight"}
    assert any(None in shape for shape in shapes)
    assert any(isinstance(extent, int) for shape in shapes for extent in shape)


def test_additions_are_really_quantized(toy: Specimen) -> None:
    graph, plan, _ = rewritten(toy.captured, a_recipe({**W4A4, "rules": [ADDITIONS]}))
    added = [site for site in plan.sites.values() if site.operator == "add"]
    assert len(added) == 4
    assert all(site.quantizer for site in added)
    program = graph.edited.programs["eval"]
    add = next(node for node in program.graph.nodes if node.target is torch.ops.aten.add.Tensor and SITES in node.meta)
    assert all(str(operand.target).startswith("fake_quantizers.") for operand in add.args)


def test_nothing_is_inserted_for_an_empty_recipe(toy: Specimen) -> None:
    captured, _ = edited(toy, a_recipe())
    assert not hasattr(captured.root, "fake_quantizers")
    assert not hasattr(captured.root, "alignments")
    assert [program.exposed for program in captured.programs.values()] == [(), ()]


def test_one_alignment_per_layer_is_shared_by_both_graphs(specimen: Specimen) -> None:
    captured, plan = edited(specimen, a_recipe(W4A4, align=ALIGN))
    assert [one.name for one in plan.alignments] == ["layer0", "layer1"]
    for program in captured.programs.values():
        assert Counter(str(node.target) for node in calls(program, "alignments")) == {
            "alignments.layer0": 1,
            "alignments.layer1": 1,
        }
        for node in calls(program, "alignments"):
            layer = int(str(node.target)[-1])
            # What reads it is quantized behind it: the query before the alignment is read by nothing else.
            assert all(str(user.target).startswith("fake_quantizers.") for user in node.users)
            assert node.args[0] is program.queries[layer].node
            assert list(node.args[0].users) == [node]
    modules = [module for module in captured.root.modules() if isinstance(module, QueryAlignment)]
    assert len(modules) == 2


def test_an_aligned_deformable_query_reaches_both_of_its_linears(deimv2: Specimen) -> None:
    captured, _ = edited(deimv2, a_recipe(align=ALIGN))
    for program in captured.programs.values():
        for node in calls(program, "alignments"):
            layer = f"model.decoder.layers.{str(node.target)[-1]}.encoder_attn"
            assert {user.meta["module"] for user in node.users} == {
                f"{layer}.sampling_offsets",
                f"{layer}.attention_weights",
            }


def test_taps_cost_nothing_where_nobody_asks(specimen: Specimen) -> None:
    """The plain function is the one of a student without taps, node for node; with taps there is only the return."""
    plain, tapped = (rewritten(specimen.captured, a_recipe(targets=targets))[0] for targets in ((), TARGETS))
    for mode in ("train", "eval"):
        without, having = (model.programs[mode] for model in (plain, tapped))
        assert having.exposed == ("decoder.cross_attention.output.1",)
        names = [one.plain.__code__.co_names for one in (without, having)]
        assert names[0] == names[1]
        assert without.plain is without.tapped
        assert having.plain is not having.tapped


def test_a_tap_that_only_a_tap_needs_is_not_computed(toy: Specimen) -> None:
    targets = [{"at": "decoder.layer.output", "layers": "all"}]
    graph, _, _ = rewritten(toy.captured, a_recipe(targets=targets, align=ALIGN))
    inputs = picture(2, 10, 12)
    captured = graph.edited
    with captured.programs["eval"].graph.inserting_before(captured.programs["eval"].output):
        flat = captured.programs["eval"].output.args[0]
        extra = captured.programs["eval"].graph.call_function(_count, (flat[-1],))
    captured.programs["eval"].output.args = ((*flat[:-1], extra),)
    again = type(graph)(captured.root, captured.programs).eval()
    _count.calls = 0
    again.run(inputs)
    assert _count.calls == 0
    taps = again.run(inputs, taps=True).taps
    assert _count.calls == 1
    assert list(taps) == [
        "decoder.cross_attention.logits.0",
        "decoder.cross_attention.logits.1",
        "decoder.layer.output.0",
        "decoder.layer.output.1",
    ]


class _Counting:
    calls = 0
    __name__ = "_count"
    __module__ = __name__

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return value


_count = _Counting()


def test_a_pass_that_does_not_do_what_is_planned_is_a_fault(toy: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    captured, structure = marked(toy.captured)
    plan = build_plan(structure, a_recipe(W4A4), (16, 24))
    mine = Pass(lambda captured, plan: PassReport("mine", 1, 2, "things done"))
    monkeypatch.setattr("qrecipe.passes.pipeline.PASSES", (mine,))
    with pytest.raises(AssertionError, match="mine: 1 things done, the plan expects 2"):
        run_passes(captured, plan)


def test_the_order_of_the_passes() -> None:
    assert [one.name for one in PASSES] == [
        "equalize",
        "decompose_attention",
        "fold_batch_norm",
        "insert_alignment",
        "insert_fake_quant",
        "insert_corrections",
        "expose_taps",
    ]


@pytest.mark.parametrize(
    ("operator", "target", "least"),
    [("silu", torch.ops.aten.silu.default, 11), ("avg_pool", torch.ops.aten.avg_pool2d.default, 2)],
)
def test_what_reads_one_value_is_quantized_where_a_rule_names_it(
    deimv2: Specimen, operator: str, target: object, least: int
) -> None:
    rules = [{"match": f"op:{operator}", "activation": {"bits": 8}}]
    captured, plan = edited(deimv2, a_recipe({**W4A4, "rules": rules}))
    for program in captured.programs.values():
        activations = [node for node in program.graph.nodes if node.target is target]
        assert len(activations) >= least
        assert {str(node.args[0].target).partition(".")[0] for node in activations} == {"fake_quantizers"}
    assert plan.quantizers
