"""Noise, queries and attention of a real student, against what is computed from tensors by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from qrecipe.detection.prediction import Prediction
from qrecipe.evidence import attended, histograms, is_deformable, measuring_noise, watched_like, why_not_attended
from qrecipe.planning import PlannedTap
from qrecipe.student import Student, calibrate
from qrecipe.vocabulary import LOGITS, QUERY
from tests.specimens import ALIGN, W4A4, Specimen, a_recipe


@pytest.fixture(scope="module")
def student(demo: Specimen) -> Student:
    made = demo.student(a_recipe(W4A4, ALIGN))
    calibrate(made, [demo.batch()])
    return made.eval()


def test_noise_is_what_a_quantizer_does_to_its_input(student: Student, demo: Specimen) -> None:
    name = next(name for name, one in student.quantizers.items() if not one.operand.is_weight)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = student.quantizers[name].register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    with torch.no_grad(), measuring_noise(student) as found:
        for seed in (0, 1):
            student.run(demo.inputs(1, 64, 96, seed))
    handle.remove()
    assert set(found) == set(student.quantizers)
    signal = sum(float((given**2).sum()) for given, _ in seen)
    error = sum(float(((out - given) ** 2).sum()) for given, out in seen)
    assert found[name].decibels == pytest.approx(10 * math.log10(signal / error))
    student.run(demo.inputs(1, 64, 96))
    assert found[name].signal == pytest.approx(signal)  # nothing is measured any more


def test_quantizers_that_are_off_are_left_out(student: Student) -> None:
    student.set_stage(("decoder.*",))
    with measuring_noise(student) as found:
        pass
    student.set_stage(None)
    assert set(found) < set(student.quantizers)


def test_what_is_watched_is_the_same_student(student: Student, demo: Specimen) -> None:
    twin = watched_like(student, demo.original, "model")
    with torch.no_grad():
        own = student.run(demo.inputs(1, 64, 96)).outputs
        ran = twin.run(demo.inputs(1, 64, 96), taps=True)
    torch.testing.assert_close(demo.family.read(ran.outputs, {}).logits, demo.family.read(own, {}).logits)
    roles = {tap.role for tap in twin.plan.taps}
    assert roles == {QUERY, LOGITS}
    assert set(ran.taps) == {tap.name for tap in twin.plan.taps}


def test_attention_is_the_best_querys_over_the_feature_map() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, scores = torch.randn(1, 2, 3, 12, generator=generator), torch.tensor([[[0.1, 0.2], [3.0, 0.1], [0.3, 0.2]]])
    boxes = torch.rand(1, 3, 4, generator=generator)
    tap = PlannedTap("x", LOGITS, 0, 0, "bhqc")
    found = attended(logits, tap, Prediction(scores, boxes), "sigmoid", (96, 128))
    assert found is not None
    assert found.weights.shape == (3, 4)
    expected = (logits[0, 0, 1].softmax(0) + logits[0, 1, 1].softmax(0)) / 2
    np.testing.assert_allclose(found.weights.reshape(-1), expected.numpy(), rtol=1e-5)
    assert found.score == pytest.approx(float(torch.tensor(3.0).sigmoid()))
    assert found.box == pytest.approx(tuple(boxes[0, 1].tolist()))
    turned = attended(
        logits.transpose(1, 2), PlannedTap("x", LOGITS, 0, 0, "bqhc"), Prediction(scores, boxes), "sigmoid", (96, 128)
    )
    assert turned is not None
    np.testing.assert_array_equal(turned.weights, found.weights)
    assert attended(logits, tap, Prediction(scores, boxes), "sigmoid", (96, 130)) is None


def test_deformable_attention_is_known(demo: Specimen) -> None:
    assert not is_deformable(demo.original)
    captured = demo.captured.copy()
    graph = captured.programs["eval"].graph
    with graph.inserting_before():
        given = graph.create_node("get_attr", "anything")
        graph.call_function(torch.ops.aten.grid_sampler.default, (given, given, 0, 0, False))
    deformable = replace(demo, captured=captured).original
    assert is_deformable(deformable)
    student = demo.student(a_recipe())
    assert "samples features" in why_not_attended(student, deformable, "model")
    assert why_not_attended(student, demo.original, "model") == ""


def test_histograms_are_shares_over_the_same_bins() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(0, 1, (3, 1000)).astype(np.float32)
    found = histograms({"teacher": teacher, "same": teacher.copy(), "far": teacher + 100})
    for one in found["series"]:
        assert sum(one["shares"]) == pytest.approx(1.0, abs=1e-3)
    first, same, far = found["series"]
    assert first["mean"] == pytest.approx(float(teacher.mean()), abs=1e-4)
    assert first["deviation"] == pytest.approx(float(teacher.std()), abs=1e-4)
    assert same["overlap"] == pytest.approx(1.0)
    assert far["overlap"] == 0.0
    assert found["low"] < -2
    assert found["high"] > 102


def test_values_that_are_all_alike_have_a_histogram() -> None:
    found = histograms({"teacher": np.full(10, 2.0, dtype=np.float32)})
    assert (found["low"], found["high"]) == (1.5, 2.5)
    assert sum(found["series"][0]["shares"]) == 1.0
