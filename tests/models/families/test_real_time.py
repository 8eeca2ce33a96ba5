"""RT-DETR, RT-DETRv2, D-FINE, LW-DETR and RF-DETR against their eager selves: losses, outputs, inputs of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qrecipe.errors import ModelError
from qrecipe.models.families import Family, build_family
from qrecipe.models.families.real_time import RealTimeFamily
from qrecipe.recipe.definition import InputSpec, LossSpec
from tests.models.families.eager import COUNTS, EVERY, FINE, GROUPED, PLAIN, REAL_TIME, eager_loss, run, train
from tests.tiny_detectors import some_images, some_labels, stir


@pytest.mark.parametrize(
    ("name", "auxiliary"), [*((name, True) for name in EVERY if name not in FINE), *((name, False) for name in EVERY)]
)
@pytest.mark.parametrize("counts", COUNTS)
def test_loss_is_the_eager_models(name: str, counts: tuple[int, ...], auxiliary: bool) -> None:
    model = stir(EVERY[name]()).train()
    images, labels = some_images(2, 96, 128), some_labels(counts)
    family = build_family(model, LossSpec(auxiliary=auxiliary, denoising=False))
    total, parts = family.loss(*run(family, model, images), labels)
    apart = parts.get("corners", torch.zeros(()))  # D-FINE's and DEIMv2's last layer: see TestFine
    assert ("corners" in parts) == (name in FINE)
    torch.testing.assert_close(total - apart, eager_loss(model, images, labels, auxiliary), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(sum(parts.values()), total.detach())
    # The grouped ones' loss of the encoder's proposals does not hang on the flag.
    assert ("auxiliary" in parts) == (auxiliary or name in GROUPED)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in FINE])
def test_gradients_are_the_eager_models(name: str) -> None:
    model = stir(EVERY[name]()).train()
    images, labels = some_images(2, 64, 96), some_labels((2, 0))
    family = build_family(model, PLAIN)
    family.loss(*run(family, model, images), labels)[0].backward()
    found = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    eager_loss(model, images, labels).backward()
    assert found.keys() == {key for key, value in model.named_parameters() if value.grad is not None}
    for key, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(found[key], value.grad, rtol=1e-3, atol=1e-5)


class TestFine:
    """Each layer's corners go with that layer's own logits and boxes."""

    def outputs(self, name: str, counts: tuple[int, ...]) -> tuple[Any, Family, Any, Any]:
        model: Any = stir(REAL_TIME[name](decoder_layers=3)).train()
        family = build_family(model, PLAIN)
        return model, family, run(family, model, some_images(2, 64, 96))[0], some_labels(counts)

    @pytest.mark.parametrize("name", FINE)
    def test_a_layers_corners_decode_to_its_boxes(self, name: str) -> None:
        from transformers.models.d_fine.modeling_d_fine import distance2bbox, weighting_function

        model, _, out, _ = self.outputs(name, (2, 1))
        decoder = model.model.decoder
        project = weighting_function(model.config.max_num_bins, decoder.up, decoder.reg_scale)
        for layer in range(3):
            distances = decoder.integral(out.intermediate_predicted_corners[:, layer], project)
            boxes = distance2bbox(out.initial_reference_points[:, layer], distances, decoder.reg_scale)
            torch.testing.assert_close(boxes, out.intermediate_reference_points[:, layer + 1])

    @pytest.mark.parametrize("counts", COUNTS)
    def test_d_fines_loss_is_the_sum_over_layers(self, counts: tuple[int, ...]) -> None:
        from transformers.loss.loss_d_fine import DFineLoss

        model, family, out, labels = self.outputs("d_fine", counts)
        criterion = DFineLoss(model.config)
        expected = torch.zeros(())
        for layer in (*self.layers(out), self.last(out)):
            expected = expected + sum(criterion(layer, labels).values())
        fine = criterion(self.last(out), labels)
        assert float(fine["loss_ddf"].detach()) == 0  # the last layer is its own teacher
        total, parts = family.loss(out, {}, labels)
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sum(parts.values()), total.detach())
        assert set(parts) == {"class", "l1", "giou", "corners", "auxiliary"}
        torch.testing.assert_close(parts["corners"], fine["loss_fgl"].detach())
        total.backward()
        assert all(value.grad is not None for key, value in model.named_parameters() if "class_embed.1" in key)

    @pytest.mark.parametrize("counts", COUNTS)
    def test_deimv2s_loss_matches_all_layers_together(self, counts: tuple[int, ...]) -> None:
        from transformers.loss.loss_deimv2 import Deimv2Loss

        model, family, out, labels = self.outputs("deimv2", counts)
        given = {**self.last(out), "auxiliary_outputs": self.layers(out)}
        expected = sum(Deimv2Loss(model.config)(given, labels).values())
        total, parts = family.loss(out, {}, labels)
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sum(parts.values()), total.detach())

    def last(self, out: Any) -> dict[str, Tensor]:
        corners = out.intermediate_predicted_corners[:, 2]
        return {
            "logits": out.logits,
            "pred_boxes": out.pred_boxes.clamp(0, 1),
            "pred_corners": corners,
            "ref_points": out.initial_reference_points[:, 2],
            "teacher_corners": corners,
            "teacher_logits": out.logits,
        }

    def layers(self, out: Any) -> list[dict[str, Tensor]]:
        """The two earlier layers of three, the first guess, the encoder's proposals; spelled out."""
        logits, boxes = out.intermediate_logits, out.intermediate_reference_points.clamp(0, 1)
        corners, references = out.intermediate_predicted_corners, out.initial_reference_points
        teacher = {"teacher_corners": corners[:, 2], "teacher_logits": logits[:, 3]}
        return [
            {
                "logits": logits[:, 1],
                "pred_boxes": boxes[:, 1],
                "pred_corners": corners[:, 0],
                "ref_points": references[:, 0],
                **teacher,
            },
            {
                "logits": logits[:, 2],
                "pred_boxes": boxes[:, 2],
                "pred_corners": corners[:, 1],
                "ref_points": references[:, 1],
                **teacher,
            },
            {"logits": logits[:, 0], "pred_boxes": boxes[:, 0]},
            {"logits": out.enc_topk_logits, "pred_boxes": out.enc_topk_bboxes.clamp(0, 1)},
        ]


@pytest.mark.parametrize("name", EVERY)
def test_loss_is_in_float32(name: str) -> None:
    model = stir(EVERY[name]()).train()
    family = build_family(model, LossSpec())
    images, labels = some_images(1, 64, 96), some_labels((2,))
    expected, _ = family.loss(*train(family, model, images, labels), labels)
    model.double()
    total, _ = family.loss(*train(family, model, images.double(), labels), labels)
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_earlier_layers_are_what_their_heads_give(name: str) -> None:
    model: Any = stir(EVERY[name](decoder_layers=3)).train()
    images = some_images(2, 64, 96)
    family = build_family(model, PLAIN)
    outputs, extras = run(family, model, images)
    prediction = family.read(outputs, extras)
    assert len(prediction.auxiliary) == 2
    torch.testing.assert_close(prediction.logits, outputs.logits)
    torch.testing.assert_close(prediction.boxes, outputs.pred_boxes)
    if name in FINE:  # a layer's boxes are decoded from its corners: see TestFine
        for index, (logits, boxes) in enumerate(prediction.auxiliary):
            assert torch.equal(logits, outputs.intermediate_logits[:, index + 1])
            assert torch.equal(boxes, outputs.intermediate_reference_points[:, index + 1])
        return
    theirs = model(**family.inputs(images, None), labels=some_labels((2, 1))).auxiliary_outputs[:2]
    for (logits, boxes), layer in zip(prediction.auxiliary, theirs, strict=True):
        torch.testing.assert_close(logits, layer["logits"])
        torch.testing.assert_close(boxes, layer["pred_boxes"])


@pytest.mark.parametrize("name", EVERY)
def test_scores_are_distinct_and_evaluation_is_the_models_own(name: str) -> None:
    model: Any = stir(EVERY[name]()).eval().double()
    images = some_images(2, 64, 96).double()
    family = build_family(model, PLAIN)
    assert (family.name, family.scores, family.classes) == (name, "sigmoid", 3)
    outputs, extras = run(family, model, images)
    assert extras == {}
    own = model(**family.inputs(images, None))
    torch.testing.assert_close(outputs.logits, own.logits, rtol=0, atol=0)
    torch.testing.assert_close(outputs.pred_boxes, own.pred_boxes, rtol=0, atol=0)
    assert own.logits.unique().numel() == own.logits.numel()


@pytest.mark.parametrize("name", REAL_TIME)
class TestRealTime:
    def test_input_and_notes(self, name: str) -> None:
        family = build_family(REAL_TIME[name](), PLAIN)
        assert isinstance(family, RealTimeFamily)
        assert family.default_input == InputSpec(size=(640, 640), mask=False)
        assert set(family.inputs(torch.zeros(1, 3, 64, 32), torch.ones(1, 64, 32))) == {"pixel_values"}
        with pytest.raises(ModelError, match=r"multiples of 32, not 100x64 .*set model.input.size"):
            family.inputs(torch.zeros(1, 3, 100, 64), None)

    def test_anchors_of_a_configured_size(self, name: str) -> None:
        size = [64, 96]
        fixed: Any = stir(REAL_TIME[name](anchor_image_size=size)).eval()
        free = stir(REAL_TIME[name]()).eval()
        free.load_state_dict(fixed.state_dict())
        family = build_family(fixed, LossSpec())
        assert family.default_input.size == (64, 96)
        images = some_images(1, 64, 96)
        torch.testing.assert_close(run(family, fixed, images)[0].logits, fixed(images).logits, rtol=0, atol=0)
        other = some_images(1, 128, 96)
        with pytest.raises(RuntimeError):
            fixed(other)
        torch.testing.assert_close(run(family, fixed, other)[0].logits, free(other).logits, rtol=0, atol=0)
        assert fixed.config.anchor_image_size == size

    def test_position_embeddings_are_always_added(self, name: str) -> None:
        model: Any = stir(REAL_TIME[name]()).eval().double()
        images = some_images(1, 64, 96).double()
        family = build_family(model, LossSpec())
        expected = run(family, model, images)[0].logits
        positioned = [part for part in model.modules() if hasattr(part, "eval_size")]
        for part in positioned:
            part.eval_size = 640
        if name != "deimv2":  # the tiny one's encoder has no attention
            assert not torch.equal(model(images).logits, expected)
        torch.testing.assert_close(run(family, model, images)[0].logits, expected, rtol=0, atol=0)
        with pytest.raises((RuntimeError, ValueError)):
            run(family, model, torch.zeros(1, 4, 64, 64))
        assert all(part.eval_size == 640 for part in positioned)
