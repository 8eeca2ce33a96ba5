"""Detection loss plus distillation, recomputed slowly; the frozen teacher; gradients to all that is learned."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.data.batch import Batch
from qrecipe.detection.boxes import cxcywh_to_xyxy, pairwise_giou
from qrecipe.distill import LOSSES
from qrecipe.errors import TrainError
from qrecipe.named_code import load
from qrecipe.train.module import TrainingModule
from qrecipe.vocabulary import MAPS, PREDICTIONS
from tests.specimens import ALIGN, TARGETS, Specimen, a_recipe
from tests.train.distilled_pairs import OUTPUT, pair


def slow_distance(
    mine: Tensor, theirs: Tensor, boxes: Tensor, teacher_boxes: Tensor, batch: Batch, tau: float | None, apart: Any
) -> Any:
    """The mean distance over the kept queries (2.33-2.35, 2.37), one after another; tau None keeps all."""
    distances: list[Any] = []
    relative = apart is load(LOSSES["relative"].code)
    for image, label in enumerate(batch.labels):
        pairs = []
        own, other = cxcywh_to_xyxy(boxes[image]), cxcywh_to_xyxy(teacher_boxes[image])
        overlap = pairwise_giou(cxcywh_to_xyxy(label["boxes"]), own)
        for query in range(len(own)):
            near = [row[query] > tau * row.max() for row in overlap if row.max() > 0] if tau is not None else [True]
            if not any(near):
                continue
            giou = pairwise_giou(own[query : query + 1], other)[0]
            off = (boxes[image, query] - teacher_boxes[image]).abs().sum(-1)
            chosen = int((2 * giou - 5 * off).argmax())
            pairs.append((mine[image, query], theirs[image, chosen]))
        mean = sum(float(his.square().sum()) for _, his in pairs) / max(len(pairs), 1)
        distances += [(a - b).square().sum() / mean if relative else apart(a, b) for a, b in pairs]
    return sum(distances) / max(len(distances), 1)


def slow_loss(module: TrainingModule, batch: Batch) -> tuple[Tensor, Tensor]:
    student, teacher = module.student, module.teacher
    torch.manual_seed(0)  # a denoising branch draws noise
    inputs = student.family.training_inputs(batch.pixel_values, batch.pixel_mask, batch.labels)
    outputs, extras, taps = student.run(inputs, mode="train", taps=True)
    detection, _ = student.family.loss(outputs, extras, batch.labels)
    if teacher is None:
        return detection, torch.zeros(())
    with torch.no_grad():
        prediction = teacher.predict(batch.pixel_values, batch.pixel_mask)
        their_taps = teacher.with_taps(batch.pixel_values, batch.pixel_mask)[1]
    distilled: Any = 0.0
    boxes = student.family.read(outputs, extras).boxes.detach()
    for target in student.recipe.distill.targets:
        layers = [layer for layer in range(2) if target.layers == "all" or layer == 1]
        tau = target.match.tau if target.match.kind == "foreground" else None
        read = student.family.read(outputs, extras)
        if target.at in MAPS:
            name = f"{target.at}.0"
            distances = [((a - b) ** 2).sum() / (b**2).sum() for a, b in zip(taps[name], their_taps[name], strict=True)]
            distilled = distilled + target.weight * left(module.over) * sum(distances) / len(distances)
            continue
        for layer in layers if target.at not in PREDICTIONS else [1]:
            name = f"{target.at}.{layer}"
            if target.at == "head.class":
                own, his = read.logits, prediction.logits
            elif target.at == "head.box":
                own, his = read.boxes, prediction.boxes
            else:
                own, his = taps[name][:, taps[name].shape[1] - boxes.shape[1] :], their_taps[name]  # no denoising
            distance = slow_distance(own, his, boxes, prediction.boxes, batch, tau, load(LOSSES[target.loss].code))
            distilled = distilled + target.weight / len(layers) * distance
    return detection, distilled


def left(over: float) -> float:
    return 1 - over


TARGET_SETS = {
    "last": TARGETS,
    "all layers": [{"at": OUTPUT, "layers": "all", "weight": 0.7, "match": {"tau": 0.3}}],
    "all queries": [{"at": OUTPUT, "weight": 2.0, "match": {"kind": "all"}}],
    "two targets": [
        {"at": "decoder.layer.output", "layers": "all", "weight": 0.5, "match": {"kind": "all"}},
        {"at": OUTPUT, "layers": "last", "weight": 3.0},
        {"at": OUTPUT, "layers": "all", "weight": 1.0, "match": {"tau": 0.9}},
    ],
    "predictions": [
        {"at": "head.class", "loss": "bce", "weight": 0.5, "match": {"kind": "all"}},
        {"at": "head.box", "loss": "l1", "weight": 5.0},
        {"at": "head.box", "loss": "giou", "weight": 2.0},
        {"at": OUTPUT, "layers": "all", "loss": "relative", "match": {"kind": "all"}},
    ],
    "maps": [
        {"at": "backbone.output", "loss": "relative", "weight": 3.0, "anneal": "linear"},
        {"at": "encoder.output", "loss": "relative", "layers": "all", "weight": 2.0, "anneal": "linear"},
    ],
}


@pytest.mark.parametrize("targets", list(TARGET_SETS))
@pytest.mark.parametrize("counts", [(2, 1), (0, 3), (0, 0)])
def test_the_loss_is_what_the_equations_say(toy: Specimen, targets: str, counts: tuple[int, ...]) -> None:
    module = pair(toy, TARGET_SETS[targets]).eval()
    module.set_progress(0.3)
    assert module.teacher is not None
    with torch.no_grad():  # its queries are in another order, so that each has to be found
        own = module.teacher.get_parameter("queries")
        own.copy_(own.flip(0))
    batch = toy.batch(counts, seed=3)
    torch.manual_seed(0)
    loss, parts = module(batch)
    detection, distilled = slow_loss(module, batch)
    torch.testing.assert_close(loss, detection + distilled, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts["detection"], detection.detach())
    torch.testing.assert_close(parts["distill"], torch.as_tensor(distilled, dtype=loss.dtype).detach())
    assert not any(part.requires_grad for part in parts.values())
    terms = {f"{target.loss} of {target.at}" for target in module.targets}
    torch.testing.assert_close(torch.stack([parts[name] for name in terms]).sum(), parts["distill"])
    if counts == (0, 0) and targets in ("last", "all layers"):
        assert float(parts["distill"]) == 0
    else:
        assert float(parts["distill"]) > 0
    loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters())


@pytest.mark.parametrize("name", ["demo", "detr", "deimv2"])
def test_the_loss_of_real_detectors(name: str, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    classes = "bce" if specimen.family.scores == "sigmoid" else "kl"
    targets = [
        {**TARGETS[0], "layers": "all", "match": {"kind": "all"}},
        {"at": "head.class", "loss": classes, "match": {"kind": "all"}},
        {"at": "head.box", "loss": "giou", "match": {"kind": "all"}},
    ]
    module = pair(specimen, targets, align=ALIGN).eval()
    batch = specimen.batch((2, 0))
    torch.manual_seed(0)
    loss, parts = module(batch)
    assert ("denoising" in parts) == (name == "deimv2")
    detection, distilled = slow_loss(module, batch)
    assert float(parts["distill"]) > 0
    torch.testing.assert_close(loss.double(), (detection + distilled).double(), rtol=1e-6, atol=1e-6)
    assert {"detection", "class", "l1", "giou", "auxiliary", "distill"} <= set(parts)


def test_gradients_reach_all_that_is_learned(specimen: Specimen) -> None:
    """Every scale, offset, gamma and beta in one step, those of auxiliary heads included, and none of the teacher's."""
    torch.manual_seed(0)  # of every ten draws of dropout one leaves all queries alike, and attention without gradients
    module = pair(specimen, TARGETS, align=ALIGN).train()
    loss, _ = module(specimen.batch((2, 1)))
    loss.backward()
    student = module.student
    for name, quantizer in student.quantizers.items():
        for parameter in (quantizer.scale, quantizer.offset):
            if parameter is not None:
                assert parameter.grad is not None, name
                assert bool(parameter.grad.isfinite().all()), name
    scales = [quantizer.scale.grad for quantizer in student.quantizers.values()]
    alive = [grad for grad in scales if grad is not None and bool(grad.any())]
    assert len(alive) >= 0.9 * len(scales)  # one that sees zeros alone has none
    for alignment in student.query_alignments.values():
        for parameter in (alignment.gamma, alignment.beta):
            assert parameter.grad is not None
            assert float((parameter.grad != 0).double().mean()) > 0.7
    assert module.teacher is not None
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    known = {name for name, parameter in specimen.model.named_parameters() if parameter.requires_grad}
    own = [parameter.grad for name, parameter in student.named_parameters() if name in known]
    assert sum(grad is not None for grad in own) >= 0.9 * len(own)


def test_the_teacher_is_frozen_and_stays_in_evaluation_mode(toy: Specimen) -> None:
    module = pair(toy)
    teacher = module.teacher
    assert teacher is not None
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert module.train() is module
    assert (module.training, module.student.training, teacher.training) == (True, True, False)
    assert not any(part.training for part in teacher.modules())
    module.eval()
    assert not module.student.training
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    module.train()(toy.batch())[0].backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_distillation_falls_as_the_student_nears_its_teacher(toy: Specimen) -> None:
    module = pair(toy, TARGET_SETS["all queries"], apart=0.0).eval()
    quantized = module(toy.batch())[1]["distill"]
    module.student.switch_off()
    real = module(toy.batch())
    assert float(quantized) > 1e-3
    assert float(real[1]["distill"]) < 1e-9
    real[0].backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters())


def test_a_stage_is_the_students(toy: Specimen) -> None:
    module = pair(toy)
    module.set_stage(["backbone"])
    assert module.student.quantized_roles == ("backbone",)


def test_without_targets_there_is_no_teacher(toy: Specimen) -> None:
    student = toy.student(a_recipe())
    module = TrainingModule(student, toy.student(a_recipe()))
    assert module.teacher is None
    batch = toy.batch()
    loss, parts = module.eval()(batch)
    assert "distill" not in parts
    torch.testing.assert_close(loss, slow_loss(module, batch)[0])
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"student"}


def test_training_outputs_are_used_in_either_mode(toy: Specimen) -> None:
    """Without dropout and with frozen statistics both modes give one loss, that of training's auxiliary outputs too."""
    module = pair(toy)
    batch = toy.batch()
    losses = [float(module.train(mode)(batch)[0].detach()) for mode in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert "auxiliary" in module(batch)[1]


def test_predictions_that_are_not_finite_name_their_images(toy: Specimen) -> None:
    module = pair(toy)
    batch = toy.batch((1, 2))
    batch.pixel_values[1, 0, 0, 0] = torch.nan
    with pytest.raises(TrainError, match="images 1: the predictions are not finite"):
        module(dataclasses.replace(batch, image_ids=[5, 1]))


@pytest.mark.parametrize("at", ["decoder.cross_attention.query", "decoder.cross_attention.logits"])
def test_values_per_head_are_distilled(demo: Specimen, at: str) -> None:
    """Every pair of matched queries adds the distance of their channels, of all heads together."""
    match = {"kind": "all"}
    module = pair(demo, targets=[{"at": at, "layers": "all", "weight": 1.0, "match": match}]).train()
    assert module.teacher is not None
    module.student.switch_off()
    batch = demo.batch()
    inputs = demo.family.inputs(batch.pixel_values, batch.pixel_mask)
    torch.manual_seed(0)
    loss, parts = module(batch)
    loss.backward()
    torch.manual_seed(0)
    outputs, extras, mine = module.student.run(inputs, mode="train", taps=True)
    boxes = demo.family.read(outputs, extras).boxes
    with torch.no_grad():
        outputs, extras, theirs = module.teacher.run(inputs, mode="eval", taps=True)
        teacher_boxes = demo.family.read(outputs, extras).boxes
    expected = []
    for name in (tap.name for tap in module.student.plan.taps):
        assert mine[name].ndim == 4
        for image in range(len(batch)):
            for query in range(boxes.shape[1]):
                own = cxcywh_to_xyxy(boxes[image, query : query + 1])
                giou = pairwise_giou(own, cxcywh_to_xyxy(teacher_boxes[image]))[0]
                off = (boxes[image, query] - teacher_boxes[image]).abs().sum(-1)
                chosen = int((2 * giou - 5 * off).argmax())
                difference = mine[name][image, :, query] - theirs[name][image, :, chosen]
                expected.append(difference.square().sum().sqrt())
    torch.testing.assert_close(parts["distill"], torch.stack(expected).mean().detach())
    slopes = [parameter.grad for parameter in module.student.parameters() if parameter.grad is not None]
    assert all(bool(slope.isfinite().all()) for slope in slopes)
