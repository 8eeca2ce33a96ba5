"""Detectors composed of what people build theirs from: captured as they compute, every part read for what it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.structure import Structure, analyse
from tests.composed import ATTENTIONS, OTHERS, QUERIES, WIDTH, Composed, Parts, expected_roles
from tests.specimens import ALIGN, W4A4, a_recipe
from tests.toys import captured_toy, picture, plan_of, rewritten

FEATURES = [{"at": "decoder.cross_attention.output", "layers": "all"}]
ALL_OF_IT = {"decoder.cross_attention": "decoder.layers.*.c[ar]*"}
SHARED = "ignore:None of the inputs have requires_grad"

PARTS = st.builds(
    Parts,
    attention=st.sampled_from([*ATTENTIONS]),
    projections=st.sampled_from(["inside", "beside", "above"]),
    name=st.sampled_from(["cross_attention", "mixer", ""]),
    around=st.sampled_from(["nothing", "no_grad", "autocast_off", "checkpoint", "reentrant", "spectral_norm"]),
    heads=st.sampled_from(["last", "every"]),
    layers=st.sampled_from(["list", "shared"]),
    levels=st.sampled_from([1, 2]),
).filter(
    lambda parts: (
        (parts.name != "" or (parts.projections == "beside" and parts.attention != "summed"))
        and (parts.attention != "rows_columns" or parts.levels == 1)
    )
)


def gradients(model: Any, outputs: Any) -> dict[str, Tensor]:
    """Of the sum of logits and boxes, by parameter; those that are none are left out."""
    model.zero_grad()
    (outputs["logits"].sum() + outputs["pred_boxes"].square().sum()).backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def roles_by_module(structure: Structure) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for site in structure.sites.values():
        if site.kind == "weight":
            found.setdefault(site.address.module, set()).add(site.address.role)
    return found


@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(parts=PARTS)
@example(Parts("two_sums", "beside", "", "reentrant", "every"))
@example(Parts("rows_columns", "above", "mixer", "spectral_norm"))
@example(Parts("einsum", "inside", "cross_attention", "no_grad", "every", "shared", 2))
@pytest.mark.filterwarnings(SHARED)
def test_whatever_it_is_made_of(parts: Parts) -> None:
    """Outputs and gradients, roles, the query, and the co-attended feature of each layer as its projection reads it."""
    torch.manual_seed(0)
    model = Composed(parts).double()
    captured = captured_toy(model)
    structure = analyse(captured)
    layers = 1 if parts.layers == "shared" else 2
    assert roles_by_module(structure) == {name: {role} for name, role in expected_roles(model).items()}
    queries = structure.programs["train"].queries
    assert [len(one.others) for one in queries.values()] == [OTHERS.get(parts.attention, 0)] * layers
    compiled, _, _ = rewritten(captured, a_recipe(targets=FEATURES))
    read: list[Tensor] = []
    for name, module in model.named_modules():
        if name.endswith("merge") and "self_attn" not in name:
            module.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    for training in (False, True):
        read.clear()
        images = picture(3, 24, 16)
        expected, found = model.train(training)(**images), compiled.train(training).run(images, taps=True)
        for key in ("logits", "pred_boxes"):
            torch.testing.assert_close(found.outputs[key], expected[key])
        for layer in range(layers):
            torch.testing.assert_close(found.taps[f"decoder.cross_attention.output.{layer}"], read[layer])
        mine, theirs = gradients(model, expected), gradients(compiled, found.outputs)
        assert mine.keys() == {name.removeprefix("root.") for name in theirs}
        for name, gradient in theirs.items():
            torch.testing.assert_close(gradient, mine[name.removeprefix("root.")])


@pytest.fixture(scope="module")
def crossed() -> tuple[Structure, Any]:
    torch.manual_seed(0)
    captured = captured_toy(Composed(Parts("rows_columns", "beside")))
    return analyse(captured, ALL_OF_IT), captured


def test_an_override_of_several_modules_of_a_layer_is_of_one_layer(crossed: tuple[Structure, Any]) -> None:
    structure, _ = crossed
    assert structure.roles.layers == ("decoder.layers.0", "decoder.layers.1")
    assert len(structure.roles.cross_attention) == 2 * 4
    for program in structure.programs.values():
        assert sorted({layer for _, layer in program.taps}) == [0, 1]
        assert sorted(program.queries) == [0, 1]
        for layer in range(2):
            tap = program.taps["decoder.cross_attention.output", layer]
            assert tap.shape == (program.symbols.batch, QUERIES, WIDTH)


def test_a_query_that_is_not_aligned_is_told(crossed: tuple[Structure, Any]) -> None:
    _, captured = crossed
    logits = [{"at": "decoder.cross_attention.logits", "layers": "all"}]
    aligned, compared = plan_of(
        captured, a_recipe(W4A4, [{**ALIGN[0], "blend": "learned"}], logits), roles=ALL_OF_IT
    ).warnings
    assert "distill.align[0].at: the attention of decoder layers 0, 1 has 2 queries, of which one is aligned" in aligned
    assert "decoder.layers.0.cross_attention.matmul@1.query is not" in aligned
    assert "distill.targets[0].at: the attention of decoder layers 0, 1 has logits of several products" in compared
    assert not plan_of(captured, a_recipe(W4A4), roles=ALL_OF_IT).warnings
