"""What the plan says of each site: who shares a quantizer, scales per head, alignments, taps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.errors import PlanError, RecipeErrors
from qrecipe.planning import Plan, describe
from qrecipe.student import real_valued
from qrecipe.vocabulary import TAPS
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import captured_toy, plan_of

ATTENTION = "layers.1.cross_attention"


def planned(specimen: Specimen, quantize: dict[str, Any] | None = None, **parts: Any) -> Plan:
    recipe = a_recipe(W4A4 if quantize is None else quantize, **parts)
    return plan_of(specimen.captured, recipe, (16, 24), recipe.model.roles, specimen.family.notes)


def quantizers(plan: Plan, *sites: str) -> list[str | None]:
    return [plan.sites[site].quantizer for site in sites]


def test_readers_of_one_tensor_share_a_quantizer(toy: Specimen) -> None:
    plan = planned(toy)
    key, value = quantizers(plan, f"{ATTENTION}.k_proj.input", f"{ATTENTION}.v_proj.input")
    assert key == value is not None
    # The tokens are one tensor in both layers; the queries are not.
    assert quantizers(plan, "layers.0.cross_attention.k_proj.input") == [key]
    assert quantizers(plan, f"{ATTENTION}.q_proj.input") != quantizers(plan, "layers.0.cross_attention.q_proj.input")
    # The last layer's states go to both heads.
    assert quantizers(plan, "class_head@1.input") == quantizers(plan, "box_head@1.input")
    assert len(plan.quantizers) < len([site for site in plan.sites.values() if site.quantizer])


def test_projections_of_the_same_states_share_in_real_detectors(detr: Specimen) -> None:
    plan = planned(detr)
    layer = "model.decoder.layers.0.self_attn"
    query, key, value = quantizers(plan, *(f"{layer}.{name}_proj.input" for name in "qkv"))
    assert query == key != value  # the value is without the position


def test_no_sharing_across_specs(toy: Specimen) -> None:
    plan = planned(toy, {**W4A4, "rules": [{"match": "re:v_proj", "activation": {"bits": 6}}]})
    key, value = quantizers(plan, f"{ATTENTION}.k_proj.input", f"{ATTENTION}.v_proj.input")
    assert key != value
    assert quantizers(plan, "layers.0.cross_attention.v_proj.input") == quantizers(plan, f"{ATTENTION}.v_proj.input")


class QueryIsKey(nn.Module):
    """One projection serves as query and as key: the same tensor, until the query is aligned."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Module()])
        self.layers[0].attention = self.Inner()
        self.stem, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 4)
        self.queries = nn.Parameter(torch.randn(5, 8))

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.out = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
            both = torch.cat((states, tokens.mean(1, keepdim=True)), 1)
            q = self.project(both).unflatten(-1, (2, 4)).transpose(1, 2)
            mixed = nn.functional.scaled_dot_product_attention(q, q, q)
            out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
            return out

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        tokens = self.stem(pixel_values).flatten(2).mT
        states = self.layers[0].attention(self.queries[None].expand(len(tokens), -1, -1), tokens)
        return {"logits": states, "pred_boxes": self.head(states)}


@pytest.mark.parametrize("align", [False, True])
def test_an_aligned_query_is_another_tensor(align: bool) -> None:
    recipe = a_recipe(W4A4, align=ALIGN if align else ())
    captured = captured_toy(QueryIsKey())
    plan = plan_of(captured, recipe, (16, 24))
    query, key, value = quantizers(
        plan, *(f"layers.0.attention.attention.{name}" for name in ("query", "key", "value"))
    )
    assert key == value
    assert (query == key) is not align


def test_scales_per_head(toy: Specimen) -> None:
    plan = planned(toy)
    for operand in ("query", "key", "value", "probabilities"):
        site = plan.sites[f"{ATTENTION}.attention.{operand}"]
        assert (site.spec.per, site.axis, site.size, site.batched, site.note) == ("head", 1, 2, True, "")
    weight = plan.sites["backbone.0.weight"]
    assert (weight.axis, weight.size, weight.batched) == (0, 8, False)
    assert plan.sites["backbone.0.input"].size == 1


def test_heads_that_are_folded_into_the_batch_share_one_scale_and_it_is_said(deimv2: Specimen) -> None:
    plan = planned(deimv2)
    layer = "model.decoder.layers.0"
    folded = plan.sites[f"{layer}.encoder_attn.weighted_sum.value"]
    assert (folded.spec.per, folded.axis, folded.size, folded.batched) == ("tensor", None, 1, True)
    assert folded.note == "one scale for all heads: they are folded into the batch here"
    apart = plan.sites[f"{layer}.self_attn.attention.query"]
    assert (apart.spec.per, apart.axis, apart.size, apart.note) == ("head", 1, 2, "")


class Upsamples(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.up(pixel_values)
        return out


def test_channels_of_a_transposed_convolution_are_its_second_dimension() -> None:
    plan = plan_of(captured_toy(Upsamples()), a_recipe(W4A4), (16, 24))
    site = plan.sites["up.weight"]
    assert (site.shape, site.axis, site.size) == ("3x2x2x2", 1, 2)


def test_shapes_for_people(toy: Specimen) -> None:
    plan = planned(toy)
    assert plan.sites["backbone.0.input"].shape == "batchx3x*x*"
    assert plan.sites[f"{ATTENTION}.k_proj.input"].shape == "batchx*x8"
    assert plan.sites[f"{ATTENTION}.attention.query"].shape == "batchx2x4x4"
    assert plan.sites[f"{ATTENTION}.attention.probabilities"].shape == "batchx2x4x*"
    assert plan.sites["class_head.weight"].shape == "5x8"


def test_alignments_and_taps(toy: Specimen) -> None:
    plan = planned(toy, align=[{**ALIGN[0], "per": "query", "init": "identity"}], targets=TARGETS)
    assert [
        (one.name, one.layer, one.heads, one.head_dim, one.per, one.layout, one.init) for one in plan.alignments
    ] == [
        ("layer0", 0, 2, 4, "query", "bhld", "identity"),
        ("layer1", 1, 2, 4, "query", "bhld", "identity"),
    ]
    names = [f"decoder.cross_attention.logits.{layer}" for layer in (0, 1)]
    assert [tap.name for tap in plan.taps] == [*names, "decoder.cross_attention.output.1"]
    assert plan.taps[-1].width == 8


def test_taps_are_in_the_order_of_the_layers(toy: Specimen) -> None:
    last, every = TARGETS[0], {**TARGETS[0], "layers": "all"}
    plan = planned(toy, targets=[last, every, {"at": "decoder.layer.output", "layers": "all"}])
    assert [(tap.role, tap.layer) for tap in plan.taps] == [
        ("decoder.cross_attention.output", 0),
        ("decoder.cross_attention.output", 1),
        ("decoder.layer.output", 0),
        ("decoder.layer.output", 1),
    ]


def test_everything_that_has_a_name_can_be_distilled(specimen: Specimen) -> None:
    """Heads side by side where a tap has them: width is that of one query, 0 where it depends on the image."""
    for at in TAPS:
        for tap in planned(specimen, targets=[{"at": at, "layers": "all"}]).taps:
            assert tap.role == at
            assert (tap.layout == "bqc") is at.endswith("output") or specimen.family.name == "deimv2"
            assert bool(tap.width) is not at.endswith("logits") or specimen.family.name == "deimv2"


def test_alignments_of_anything_else_are_refused(toy: Specimen) -> None:
    with pytest.raises(RecipeErrors, match=r"targets\[0\].at: must be decoder.* found .decoder.output"):
        planned(toy, targets=[{"at": "decoder.output"}])
    with pytest.raises(RecipeErrors, match=r"align\[0\].at: must be decoder.cross_attention.query"):
        planned(toy, align=[{"at": "decoder.self_attention.query"}])


def test_a_model_without_cross_attention_has_nothing_to_align_or_distil() -> None:
    captured = captured_toy(Upsamples())
    for parts in ({"align": ALIGN}, {"targets": TARGETS}):
        with pytest.raises(PlanError, match=r"name the modules under model\.roles"):
            plan_of(captured, a_recipe(**parts), (16, 24))


def test_a_plan_is_plain_data(specimen: Specimen) -> None:
    plan = planned(
        specimen, {**W4A4, "rules": [{"match": "op:add", "activation": {"bits": 8}}]}, align=ALIGN, targets=TARGETS
    )
    data = json.loads(json.dumps(describe(plan)))
    assert len(data["sites"]) == len(plan.sites)
    assert data["sites"][0]["spec"]["bits"] == 4
    assert data["notes"] == list(plan.notes) == list(specimen.family.notes)
    assert {name for one in data["sites"] if (name := one["quantizer"])} == set(plan.quantizers)


def test_parameters_are_counted_once(specimen: Specimen) -> None:
    plan = planned(specimen)
    assert sum(plan.parameters.values()) == sum(parameter.numel() for parameter in specimen.model.parameters())


def test_planning_changes_no_graph(toy: Specimen) -> None:
    captured = toy.captured.copy()
    before = {key: str(program.graph) for key, program in captured.programs.items()}
    plan_of(captured, a_recipe(W4A4, align=ALIGN, targets=TARGETS), (16, 24))
    assert {key: str(program.graph) for key, program in captured.programs.items()} == before


def test_a_real_valued_recipe_quantizes_nothing(toy: Specimen) -> None:
    recipe = a_recipe({**W4A4, "batch_norm": "live"}, align=ALIGN, targets=TARGETS)
    plan = plan_of(toy.captured, real_valued(recipe, targets=True), (16, 24))
    assert not plan.quantizers
    assert not plan.alignments
    assert [tap.name for tap in plan.taps] == ["decoder.cross_attention.output.1"]
    assert plan.batch_norm == "live"
    assert not real_valued(recipe).distill.targets
