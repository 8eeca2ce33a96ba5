"""A whole student against its real-valued model: what is compared, and that it learns."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qrecipe.data.batch import Batch
from qrecipe.detection.boxes import cxcywh_to_xyxy
from qrecipe.processes import Whole
from qrecipe.recipe.definition import OptimizerSpec
from qrecipe.reconstruct import Imitation, imitation
from qrecipe.reconstruct.imitation import relative_error
from qrecipe.student import Student, calibrate
from qrecipe.train.optimizer import build_optimizer
from tests.specimens import W4A4, Specimen, a_recipe, captured
from tests.tiny_detectors import tiny_lw_detr


def pair(specimen: Specimen) -> tuple[Student, Student, Batch]:
    """A calibrated student, the same again, and a batch."""
    student = specimen.student(a_recipe(quantize=W4A4))
    batch = specimen.batch((2, 1))
    calibrate(student, [batch])
    return student, copy.deepcopy(student), batch


@pytest.mark.parametrize("name", ["demo", "detr"])
def test_a_student_without_quantizers_has_nothing_to_learn(name: str, request: pytest.FixtureRequest) -> None:
    student, real, batch = pair(request.getfixturevalue(name))
    module = Imitation(student, real).train()
    assert not student.training
    assert all(float(part) > 0 for part in module(batch)[1].values())
    module.set_stage(())
    loss, parts = module(batch)
    assert float(loss.detach()) < 1e-12
    assert set(parts) - {"choices"} == {"features", "classes", "boxes"}


def test_labels_are_not_read(demo: Specimen) -> None:
    student, real, batch = pair(demo)
    module = Imitation(student, real).train()
    other = replace(batch, labels=[{"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}] * 2)
    assert torch.equal(module(batch)[0], module(other)[0])


def test_predictions_are_compared_query_by_query(detr: Specimen) -> None:
    """DETR's queries are always the same ones, so that two plain runs give them in the same order."""
    student, real, batch = pair(detr)
    parts = Imitation(student, real).train()(batch)[1]
    with torch.no_grad():
        own = student.predict(batch.pixel_values, batch.pixel_mask)
        wanted = real.predict(batch.pixel_values, batch.pixel_mask)
    classes, boxes, seen = 0.0, 0.0, 0.0
    for image in range(2):
        for query in range(own.logits.shape[1]):
            mine, his = own.logits[image, query].softmax(0), wanted.logits[image, query].softmax(0)
            score = float(his[:-1].max())
            seen += score
            classes += float((his * (his / mine).log()).sum())
            boxes += score * box_distance(own.boxes[image, query], wanted.boxes[image, query])
    assert float(parts["classes"]) == pytest.approx(classes / max(seen, 1.0), rel=1e-6)
    assert float(parts["boxes"]) == pytest.approx(boxes / max(seen, 1.0), rel=1e-6)


def box_distance(one: Tensor, other: Tensor) -> float:
    """5 L1 + 2 (1 - GIoU), written out."""
    a, b = cxcywh_to_xyxy(one), cxcywh_to_xyxy(other)
    width, height = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    around = (torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])).prod()
    overlap = width * height
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap
    giou = overlap / union - (around - union) / around
    return float(5 * (one - other).abs().sum() + 2 * (1 - giou))


def test_the_student_takes_the_real_model_s_queries(demo: Specimen) -> None:
    """Scores that choose other queries change what a plain run gives; what is compared are the same queries still."""
    student, real, batch = pair(demo)
    module = Imitation(student, real).train()
    module.set_stage(())
    with torch.no_grad():
        student.get_parameter("proposal_class_head.weight").neg_()
        apart = student.predict(batch.pixel_values).boxes - real.predict(batch.pixel_values).boxes
    parts = module(batch)[1]
    assert float(apart.abs().max()) > 1e-3
    assert float(parts["boxes"]) < 1e-9
    assert float(parts["choices"]) > 0.1


def test_the_last_boxes_say_how_good_the_first_ones_have_to_be(demo: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model detaches proposals' boxes; here the distance of the last ones has a gradient for them: the slope."""
    student, real, batch = pair(demo)
    monkeypatch.setattr(imitation, "WEIGHTS", {"features": 0.0, "choices": 0.0, "classes": 0.0, "boxes": 1.0})
    module = Imitation(student.double(), real.double()).train()
    module.set_stage(())
    bias = list(student.get_submodule("proposal_box_head").parameters())[-1]
    batch = replace(batch, pixel_values=batch.pixel_values.double())
    with torch.no_grad():
        bias += 0.05
    module(batch)[0].backward()  # type: ignore[no-untyped-call]
    assert bias.grad is not None
    for index in range(4):
        losses = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                bias[index] += step
                losses.append(float(module(batch)[0]))
                bias[index] -= step
        assert float(bias.grad[index]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-3)
        assert abs(losses[0] - losses[1]) > 1e-9


def test_what_stands_where_nothing_may_be_chosen_is_not_compared() -> None:
    """Infinities and the type's largest number are left out, of the distance, of the energy and of the gradient."""
    wanted = torch.tensor([[1.0, -2.0, math.inf], [3.0, torch.finfo().max, -math.inf]])
    own = torch.tensor([[1.5, -2.0, math.inf], [2.0, 7.0, math.nan]], requires_grad=True)
    for around_mean, energy in ((False, 1 + 4 + 9), (True, (1 - 2 / 3) ** 2 + (2 + 2 / 3) ** 2 + (3 - 2 / 3) ** 2)):
        error = relative_error(own, wanted, around_mean=around_mean)
        assert float(error.detach()) == pytest.approx((0.25 + 1) / energy)
        (slope,) = torch.autograd.grad(error, own)
        assert slope[0].tolist() == pytest.approx([1 / energy, 0, 0])
        assert slope[1].tolist() == pytest.approx([-2 / energy, 0, 0])
    assert float(relative_error(own, torch.full_like(wanted, math.inf)).detach()) == 0


@pytest.mark.parametrize("scores", [[3.7], [3.7] * 7, [3.7, 3.7001, 3.6999], [-1e4, -1e4, -1e4]])
def test_nothing_is_chosen_by_scores_that_are_all_alike(scores: list[float]) -> None:
    wanted = torch.tensor([*scores, math.inf])
    own = (wanted + 0.5).requires_grad_()
    error = relative_error(own, wanted, around_mean=True)
    assert float(error.detach()) == 0
    (slope,) = torch.autograd.grad(error, own)
    assert slope.tolist() == [0.0] * len(wanted)
    assert float(relative_error(own, wanted).detach()) == pytest.approx(0.25 / scores[0] ** 2, rel=1e-4)


@pytest.mark.parametrize("name", ["deimv2", "lw_detr"])
def test_loss_and_gradients_are_finite(name: str, request: pytest.FixtureRequest) -> None:
    """LW-DETR puts an infinity in place of proposals that cannot be ones."""
    student, real, batch = pair(captured(tiny_lw_detr(), ()) if name == "lw_detr" else request.getfixturevalue(name))
    loss, parts = Imitation(student, real).train()(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(part) for part in parts.values()), parts
    found = [value.grad for value in student.parameters() if value.grad is not None]
    assert found
    assert all(torch.isfinite(grad).all() for grad in found)


def test_processes_count_by_their_images(demo: Specimen) -> None:
    """Two of three images here, the third elsewhere, and a process that has none."""
    student, real, batch = pair(demo)
    module = Imitation(student, real).train()
    loss, parts = module(batch)
    part = replace(batch, whole=Whole((0,) * (len(batch) + 1), 3, 1.0))
    weight = 3 * len(batch) / (len(batch) + 1)
    scaled, own = module(part)
    assert float(scaled.detach()) == pytest.approx(weight * float(loss.detach()))
    assert {name: float(value) for name, value in own.items()} == pytest.approx(
        {name: weight * float(value) for name, value in parts.items()}
    )
    assert float(module(replace(part, idle=True))[0].detach()) == 0


def test_it_learns(demo: Specimen) -> None:
    """A student whose weights are no longer the real model's comes nearer to it, which stays as it is."""
    student, real, batch = pair(demo)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in student.named_parameters():
            if name.endswith(".weight") and value.ndim > 1:
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                value += 0.5 * value.std() * noise
    before = copy.deepcopy(real.state_dict())
    module = Imitation(student, real).train()
    rates = OptimizerSpec(lr=1e-3, weight_decay=0.0, lr_quantizer=2e-3)
    optimizer, _ = build_optimizer(student.named_parameters(), rates, lambda name: False, student.modules())
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss, _ = module(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0], losses
    assert all(torch.equal(value, real.state_dict()[name]) for name, value in before.items())
