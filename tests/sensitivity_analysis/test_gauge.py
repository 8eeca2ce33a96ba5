"""The gauge against students that are made and calibrated for each choice of bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qrecipe.recipe.definition import QuantizerSpec, Recipe
from qrecipe.sensitivity_analysis import Gauge, Trialled, measure, parts_of, prediction_distance
from qrecipe.student import calibrate, inputs_of, make_plan, make_student
from tests.specimens import ALIGN, W4A4, Specimen, a_recipe


def the_recipe() -> Recipe:
    rules = [{"match": "role:head", "keep": "float"}, {"match": "op:add", "activation": {"bits": 8}}]
    return a_recipe({**W4A4, "rules": rules, "correct_biases": True}, align=ALIGN)


@pytest.fixture(scope="module")
def gauge(demo: Specimen) -> Gauge:
    return Gauge(demo.original, the_recipe(), (8, 3), [demo.batch()], [demo.batch(seed=5), demo.batch(seed=6)])


def slow(demo: Specimen, gauge: Gauge, bits: dict[str, int]) -> float:
    """A student with these bits alone, made, calibrated and run."""
    plan = gauge.plan
    specs: dict[str, QuantizerSpec | None] = {}
    for name, site in plan.sites.items():
        if site.spec is not None:
            width = bits.get(site.quantizer or "")
            specs[name] = None if width is None else replace(site.spec, bits=width)
    student = make_student(demo.original, the_recipe(), make_plan(demo.original, the_recipe(), specs=specs)).eval()
    calibrate(student, [demo.batch()])
    if not any(plan.quantizers[name].role == "decoder.cross_attention" for name in bits):
        for alignment in student.query_alignments.values():
            alignment.mode = "off"
    found = []
    with torch.no_grad():
        for batch in (demo.batch(seed=5), demo.batch(seed=6)):
            ran = student.run(inputs_of(student, batch), mode="eval")
            found.append(student.family.read(ran.outputs, ran.extras))
    return prediction_distance(gauge.reference, found, student.family.scores).total


def test_any_choice_of_bits_is_that_of_a_student_of_its_own(demo: Specimen, gauge: Gauge) -> None:
    everything = dict.fromkeys(gauge.names, 3)
    mixed = {name: (8, 3)[number % 2] for number, name in enumerate(gauge.names) if number % 5}
    for bits in (everything, mixed, {gauge.names[2]: 3}):
        assert gauge.distance(bits).total == pytest.approx(slow(demo, gauge, bits), rel=1e-9)


def test_nothing_quantized_is_the_model_itself(demo: Specimen, gauge: Gauge) -> None:
    assert gauge.distance({}).total == 0
    model = demo.eager()
    batch = demo.batch(seed=5)
    outputs, extras = demo.family.forward(model, demo.family.inputs(batch.pixel_values, batch.pixel_mask))
    torch.testing.assert_close(demo.family.read(outputs, extras).logits, gauge.reference[0].logits)


@pytest.mark.parametrize("by", ["role", "module", "operand"])
def test_parts_share_out_the_quantizers(gauge: Gauge, by: str) -> None:
    parts = parts_of(gauge.plan, gauge.names, by, 2)  # type: ignore[arg-type]
    assert sorted(name for part in parts for name in part.quantizers) == sorted(gauge.names)
    assert all(0 <= part.macs <= 1 for part in parts)
    if by == "role":
        shares = {part.name: part.macs for part in parts}
        assert shares["backbone.body"] == max(shares.values())


def test_what_a_part_costs_and_gives_back(gauge: Gauge) -> None:
    parts = parts_of(gauge.plan, gauge.names, "role")
    told: list[tuple[object, ...]] = []

    def trial(bits: object) -> Trialled:
        return Trialled(gauge.distance(bits).total)  # type: ignore[arg-type]

    rows, whole = measure(gauge, parts, (8, 3), trial, lambda *row: told.append(row))
    assert len(rows) == len(told) == 2 * len(parts)
    row = next(row for row in rows if row.part == "backbone.body" and row.bits == 3)
    own = next(part for part in parts if part.name == "backbone.body").quantizers
    others = {name: 3 for name in gauge.names if name not in own}
    assert row.alone.distance == gauge.distance(dict.fromkeys(own, 3)).total
    assert row.gives_back == whole[3].distance - gauge.distance(others).total
    assert whole[3].distance > whole[8].distance > 0
