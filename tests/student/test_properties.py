"""Any combination of bits, quantizers and granularities compiles, calibrates and runs."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrecipe.quantizers import QUANTIZERS
from qrecipe.recipe.names import GRANULARITIES
from qrecipe.structure.operands import SITES
from qrecipe.student import calibrate
from tests.specimens import ALIGN, Specimen, a_recipe

MATCHES = ("role:backbone", "role:head", "op:add", "op:linear", "decoder.0", "re:ffn", "role:*.cross_attention")


def specs(operand: str) -> st.SearchStrategy[dict[str, Any]]:
    all_of_it = tuple(name for name, row in QUANTIZERS.items() if "activation" in row.offsets)
    names = all_of_it if operand != "weight" else ("lsq", "minmax", "mse")

    def with_offset(spec: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        if operand == "weight" or QUANTIZERS[spec["quantizer"]].offsets["activation"] == ("none",):
            return st.just(spec)
        known = [offset for offset in QUANTIZERS[spec["quantizer"]].offsets["activation"] if offset != "none"]
        return st.sampled_from(known).map(lambda offset: {**spec, "offset": offset})

    return st.fixed_dictionaries(
        {
            "bits": st.integers(2, 8),
            "quantizer": st.sampled_from(names),
            "per": st.sampled_from(GRANULARITIES[operand]),  # type: ignore[index]
        }
    ).flatmap(with_offset)


RULES = st.lists(
    st.fixed_dictionaries({"match": st.sampled_from(MATCHES)}).flatmap(
        lambda rule: st.one_of(
            st.just({**rule, "keep": "float"}),
            st.integers(2, 8).map(lambda bits: {**rule, "activation": {"bits": bits, "quantizer": "mse"}}),
        )
    ),
    max_size=3,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quantize=st.fixed_dictionaries(
        {},
        optional={
            **{operand: specs(operand) for operand in ("weight", "activation", "attention")},
            "rules": RULES,
            "batch_norm": st.sampled_from(["frozen", "live"]),
        },
    ),
    align=st.booleans(),
)
def test_random_recipes(demo: Specimen, quantize: dict[str, Any], align: bool) -> None:
    student = demo.student(a_recipe(quantize, align=ALIGN if align else ()))
    planned = {site.quantizer for site in student.plan.sites.values() if site.quantizer}
    assert set(student.quantizers) == planned
    for program in student.programs.values():
        wanted = {
            student.plan.sites[site].quantizer
            for node in program.graph.nodes
            for site in node.meta.get(SITES, {}).values()
        }
        called = {str(node.target) for node in program.graph.nodes if "fake_quantizers." in str(node.target)}
        assert called == {f"fake_quantizers.{name}" for name in wanted if name}
    batch = demo.batch((1, 0))
    calibrate(student, [batch])
    for mode in (True, False):
        student.train(mode)
        prediction = student.predict(batch.pixel_values)
        assert prediction.logits.shape == (2, 6, 3)
        assert bool(prediction.logits.isfinite().all() & prediction.boxes.isfinite().all())
    loss = student.train().predict(batch.pixel_values).logits.square().mean()
    loss.backward()
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
