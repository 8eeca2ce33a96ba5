"""First ranges and alignments: what they see, what is reported, what is an error."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from qrecipe.data.batch import Batch
from qrecipe.errors import CalibrationError
from qrecipe.quantizers import QuantizedOperand, build
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.student import CalibrationReport, Student, calibrate
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe

LAYER = "layers.1.cross_attention"


def compiled(specimen: Specimen, **parts: object) -> Student:
    return specimen.student(a_recipe(**{"quantize": W4A4, **parts}))


def test_every_quantizer_has_a_range_afterwards(specimen: Specimen) -> None:
    student = compiled(specimen, align=ALIGN)
    report = calibrate(student, [specimen.batch((2, 0)), specimen.batch((1,), seed=1)])
    assert isinstance(report, CalibrationReport)
    assert (report.images, report.quantizers) == (3, len(student.quantizers))
    for quantizer in student.quantizers.values():
        assert bool(quantizer.calibrated)
        assert quantizer.mode == "on"
        assert int(quantizer.count) > 0
        scale, _ = quantizer.scale_and_zero_point()
        assert bool((scale.isfinite() & (scale > 0)).all())
    assert set(report.to_dict()["alignments"]) == {"0", "1"}
    assert student.with_taps(*_pixels(specimen.batch()))[0]["logits"].isfinite().all()


def _pixels(batch: Batch) -> tuple[Tensor, Tensor | None]:
    return batch.pixel_values, batch.pixel_mask


def test_ranges_are_those_of_the_real_valued_model(toy: Specimen) -> None:
    """Each site's range is what its quantizer finds for the tensors of the eager model: no other quantizer is on."""
    student = compiled(toy)
    batches = [toy.batch((1, 1)), toy.batch((2,), seed=5)]
    calibrate(student, batches)
    model = toy.eager()
    for path in (f"{LAYER}.q_proj", "backbone.3", "class_head"):
        site = f"{path}.input"
        own = student.quantizers[str(student.plan.sites[site].quantizer)]
        again = build(own.spec, own.operand).double()
        again.set_mode("observe")
        calls: list[Tensor] = []
        hook = model.get_submodule(path).register_forward_hook(lambda _, args, out, calls=calls: calls.append(args[0]))
        for batch in batches:
            calls.clear()
            model.train(site == "class_head.input")  # the first of training's two calls
            for part in model.modules():
                if part is not model:
                    part.eval()
            model(batch.pixel_values)
            again(calls[0])
        hook.remove()
        again.finish_calibration()
        torch.testing.assert_close(own.scale, again.scale, rtol=1e-9, atol=0)
        torch.testing.assert_close(own.offset, again.offset, rtol=1e-9, atol=1e-12)
        assert int(own.count) == int(again.count)


def test_the_count_is_of_one_sample_even_where_heads_are_in_the_batch(deimv2: Specimen) -> None:
    student = compiled(deimv2)
    calibrate(student, [deimv2.batch((1, 1, 0))])
    folded = student.quantizers["model.decoder.layers.0.encoder_attn.weighted_sum.value"]
    assert int(folded.count) == 16 * 8 * 3  # channels, queries, points


def test_ranges_are_those_of_the_evaluation_graph(deimv2: Specimen) -> None:
    """In training there are denoising queries too."""
    batch = deimv2.batch((1, 1, 0))
    student = compiled(deimv2)
    calibrate(student, [batch])
    seen: dict[str, Tensor] = {}

    def first(name: str, value: Tensor) -> None:
        seen.setdefault(name, value)

    student.switch_off()
    for name, quantizer in student.quantizers.items():
        quantizer.register_forward_pre_hook(lambda _, args, name=name: first(name, args[0]))
    with torch.no_grad():
        student.run(deimv2.family.inputs(batch.pixel_values, batch.pixel_mask), mode="eval")
    training_alone = student.quantizers.keys() - seen.keys()
    assert {name.split(".")[1] for name in training_alone} == {"decoder"}
    for name, quantizer in student.quantizers.items():
        operand = quantizer.operand
        if not operand.is_weight and name not in training_alone:
            per_sample = seen[name].numel() // operand.size // (3 if operand.batched else 1)
            assert int(quantizer.count) == per_sample, name


def test_a_calibration_that_failed_leaves_nothing_behind(toy: Specimen) -> None:
    scales = []
    for failing in (False, True):
        student = compiled(toy)
        good, bad = toy.batch(), toy.batch(seed=4)
        if failing:
            bad.pixel_values.mul_(50)
            with pytest.raises(CalibrationError):
                calibrate(student, [bad, dataclasses.replace(good, pixel_values=good.pixel_values * float("nan"))])
        calibrate(student, [good])
        scales.append(torch.cat([quantizer.scale.detach() for quantizer in student.quantizers.values()]))
    assert torch.equal(*scales)


def test_calibrating_twice_is_calibrating_once(deimv2: Specimen) -> None:
    """Noise of a denoising branch too: sites of the training graph alone see it."""
    student = compiled(deimv2)
    scales = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        calibrate(student, [deimv2.batch()])
        assert torch.equal(torch.get_rng_state(), before)
        scales.append(torch.cat([quantizer.scale.detach() for quantizer in student.quantizers.values()]))
    assert torch.equal(*scales)


def test_dropout_and_statistics_stay_out_of_it(detr: Specimen) -> None:
    scales = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        student = compiled(detr).train()
        calibrate(student, [detr.batch()])
        scales.append(torch.cat([quantizer.scale.detach() for quantizer in student.quantizers.values()]))
    assert torch.equal(*scales)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_everything_is_on(toy: Specimen, training: bool) -> None:
    student = compiled(toy, align=ALIGN).train(training)
    student.set_stage(["backbone"])
    buffers = {name: value.clone() for name, value in student.named_buffers() if "running" in name}
    calibrate(student, [toy.batch()])
    assert student.training is training
    assert student.quantized_roles is None
    assert {quantizer.mode for quantizer in student.quantizers.values()} == {"on"}
    assert {alignment.mode for alignment in student.query_alignments.values()} == {"on"}
    assert all(torch.equal(value, student.get_buffer(name)) for name, value in buffers.items())


@pytest.mark.parametrize("kind", ["images", "weights", "aligned"])
def test_values_that_are_not_finite_are_an_error(toy: Specimen, kind: str) -> None:
    student = compiled(toy, align=ALIGN if kind == "aligned" else ()).train()
    student.set_stage(["backbone"])
    batch = toy.batch()
    if kind == "weights":
        with torch.no_grad():
            student.get_parameter("class_head.weight")[0, 0] = torch.inf
    else:
        batch = dataclasses.replace(batch, pixel_values=batch.pixel_values.clone())
        batch.pixel_values[0, 0, 0, 0] = torch.nan
    where = {"images": "backbone.0.input", "weights": "class_head.weight", "aligned": "decoder.cross_attention.query.1"}
    with pytest.raises(CalibrationError) as caught:
        calibrate(student, [batch])
    assert caught.value.where == where[kind]
    assert student.training
    assert student.quantized_roles == ("backbone",)
    assert {alignment.mode for alignment in student.query_alignments.values()} <= {"off"}


def test_a_site_that_saw_no_data_is_an_error_with_its_name(toy: Specimen) -> None:
    student = compiled(toy)
    operand = QuantizedOperand("nowhere.input", (), None, 1, is_weight=False, batched=True)
    lonely = build(QuantizerSpec(4, "lsq+", "tensor", "integer"), operand)
    student.get_submodule("fake_quantizers").add_module("nowhere", lonely)
    with pytest.raises(CalibrationError, match="1 sites saw no data: nowhere"):
        calibrate(student, [toy.batch()])


def test_no_batches_is_an_error(toy: Specimen) -> None:
    with pytest.raises(CalibrationError, match=r"calibration\.batches must be 1 or more"):
        calibrate(compiled(toy), [])


@pytest.mark.parametrize("name", ["toy", "demo", "deimv2"])
def test_alignment_errors_are_those_of_the_definitions(name: str, request: pytest.FixtureRequest) -> None:
    """Residual over all batches, logits over the first, each layer alone."""
    specimen: Specimen = request.getfixturevalue(name)
    batches = [specimen.batch((1, 1)), specimen.batch((1,), seed=7)]
    student = compiled(specimen, quantize={}, align=ALIGN, targets=TARGETS)
    report = calibrate(student, batches)
    for layer, alignment in student.query_alignments.items():
        student.switch_off()
        student.eval()
        error = energy = 0.0
        seen: list[Tensor] = []
        hook = alignment.register_forward_hook(lambda _, args, out, seen=seen: seen.append(args[0]))
        for batch in batches:
            seen.clear()
            with torch.no_grad():
                before = student.with_taps(*_pixels(batch))[1]
                query = seen[0]
                alignment.mode = "on"
                after = student.with_taps(*_pixels(batch))[1]
                aligned = alignment(query)
                alignment.mode = "off"
            error += float((aligned - query).square().sum())
            energy += float(query.square().sum())
            if batch is batches[0]:
                logits = [taps[f"decoder.cross_attention.logits.{layer}"] for taps in (before, after)]
                moved = float((logits[1] - logits[0]).square().sum() / logits[0].square().sum())
        hook.remove()
        residual, logit_error = report.alignments[layer]
        assert residual == pytest.approx(error / energy, rel=1e-6)
        assert logit_error == pytest.approx(moved, rel=1e-6)
        assert 0 < residual < 1


def test_fit_is_nearer_than_identity(toy: Specimen) -> None:
    errors = {}
    for init in ("fit", "identity"):
        student = compiled(toy, align=[{**ALIGN[0], "init": init}])
        errors[init] = calibrate(student, [toy.batch()]).alignments[0][0]
        gamma = student.query_alignments[0].gamma
        assert bool((gamma == 1).all()) == (init == "identity")
    assert errors["fit"] < errors["identity"]
