"""RT-DETR, RT-DETRv2, D-FINE, LW-DETR and RF-DETR against their eager selves: losses, outputs, inputs of any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture
from qrecipe.errors import ModelError
from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.models.families import Family, build_family
from qrecipe.models.families.denoising import BOXES, GROUPS, _mask, meta_values, module_of, noised
from qrecipe.models.families.grouped import GroupedFamily
from qrecipe.models.families.real_time import RealTimeFamily
from qrecipe.recipe.definition import InputSpec, LossSpec
from tests.tiny_detectors import (
    some_images,
    some_labels,
    stir,
    tiny_d_fine,
    tiny_deimv2,
    tiny_lw_detr,
    tiny_rf_detr,
    tiny_rt_detr,
    tiny_rt_detr_v2,
)

Build = Callable[..., nn.Module]
REAL_TIME: dict[str, Build] = {
    "rt_detr": tiny_rt_detr,
    "rt_detr_v2": tiny_rt_detr_v2,
    "d_fine": tiny_d_fine,
    "deimv2": tiny_deimv2,
}
GROUPED: dict[str, Build] = {"lw_detr": tiny_lw_detr, "rf_detr": tiny_rf_detr}
EVERY = {**REAL_TIME, **GROUPED}
FINE = ("d_fine", "deimv2")
"""Boxes decoded from corners. transformers' auxiliary loss pairs them with another layer's logits and boxes."""
COUNTS = [(2, 1), (0, 3), (0, 0)]


PLAIN = LossSpec(denoising=False)


def run(family: Family, model: nn.Module, images: Tensor, mask: Tensor | None = None) -> tuple[Any, dict[str, Tensor]]:
    return family.forward(model, family.inputs(images, mask))


def train(family: Family, model: nn.Module, images: Tensor, labels: Any, seed: int = 5) -> Any:
    """Outputs and extras of a training step, with the noise of a seed."""
    torch.manual_seed(seed)
    return family.forward(model, family.training_inputs(images, None, labels))


def eager_loss(model: Any, images: Tensor, labels: Any, auxiliary: bool = True, seed: int | None = None) -> Tensor:
    """The model's own: with the noise of a seed, or with denoising off."""
    model.config.auxiliary_loss = auxiliary
    if seed is None:
        model.config.num_denoising = 0
    else:
        torch.manual_seed(seed)
    masks = {"pixel_mask": torch.ones_like(images[:, 0], dtype=torch.int64)} if "mask" in signature(model) else {}
    loss: Tensor = model(pixel_values=images, **masks, labels=labels).loss
    return loss


def signature(model: nn.Module) -> str:
    return " ".join(inspect.signature(model.forward).parameters)


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


class TestDenoising:
    @pytest.mark.parametrize("name", [name for name in REAL_TIME if name not in FINE])
    @pytest.mark.parametrize("counts", [(2, 1), (0, 3), (0, 0), (120, 1)])
    def test_loss_and_gradients_are_the_eager_models(self, name: str, counts: tuple[int, ...]) -> None:
        """Given the same noise; 120 objects are more than the 100 denoising queries, and one group of their own."""
        model = stir(REAL_TIME[name]()).train()
        images, labels = some_images(2, 64, 96), some_labels(counts)
        family = build_family(model, LossSpec())
        total, parts = family.loss(*train(family, model, images, labels), labels)
        total.backward()
        found = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
        model.zero_grad()
        eager = eager_loss(model, images, labels, seed=5)
        torch.testing.assert_close(total, eager, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(sum(parts.values()), total.detach())
        assert ("denoising" in parts) == any(counts)
        eager.backward()
        for key, value in model.named_parameters():
            if value.grad is not None:
                torch.testing.assert_close(found[key], value.grad, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("name", FINE)
    def test_each_layer_of_a_fine_decoder_is_denoised_with_its_own_corners(self, name: str) -> None:
        from transformers.loss.loss_d_fine import DFineLoss
        from transformers.loss.loss_deimv2 import Deimv2Loss

        model: Any = stir(REAL_TIME[name](decoder_layers=3)).train()
        images, labels = some_images(2, 64, 96), some_labels((2, 1))
        family = build_family(model, LossSpec())
        out, extras = train(family, model, images, labels)
        _, parts = family.loss(out, extras, labels)
        criterion: Any = {"d_fine": DFineLoss, "deimv2": Deimv2Loss}[name](model.config)
        # 50 groups of two copies of up to two objects: the positive ones of group g are 4g and, if any, 4g + 1.
        first = [position for group in range(50) for position in (4 * group, 4 * group + 1)]
        pairs = [(first, [0, 1] * 50), ([4 * group for group in range(50)], [0] * 50)]
        indices = [(torch.tensor(queries), torch.tensor(objects)) for queries, objects in pairs]
        expected = torch.zeros(())
        for layer in range(4):  # the first guess, then three layers
            given = {
                "logits": out.intermediate_logits[:, layer, :200],
                "pred_boxes": out.intermediate_reference_points[:, layer, :200].clamp(0, 1),
            }
            if layer:
                given["pred_corners"] = out.intermediate_predicted_corners[:, layer - 1, :200]
                given["ref_points"] = out.initial_reference_points[:, layer - 1, :200]
                given["teacher_corners"] = out.intermediate_predicted_corners[:, -1, :200]
                given["teacher_logits"] = out.intermediate_logits[:, -1, :200]
            for loss in criterion.losses:
                for key, value in criterion.get_loss(loss, given, labels, indices, 3 * 50).items():
                    expected = expected + value.sum() * criterion.weight_dict.get(key, 0)
        torch.testing.assert_close(parts["denoising"], expected.detach(), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("name", REAL_TIME)
    def test_the_models_own_queries_see_nothing_of_it(self, name: str) -> None:
        model = stir(REAL_TIME[name]()).train()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        images, labels = some_images(2, 64, 96), some_labels((3, 1))
        family, plain = build_family(model, LossSpec()), build_family(model, PLAIN)
        expected = plain.read(*run(plain, model, images))
        for outputs in (run(family, model, images), train(family, model, images, labels)):
            found = family.read(*outputs)
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-4, atol=1e-5)
            assert len(found.auxiliary) == len(expected.auxiliary)
            for (logits, boxes), (own_logits, own_boxes) in zip(found.auxiliary, expected.auxiliary, strict=True):
                torch.testing.assert_close(logits, own_logits, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(boxes, own_boxes, rtol=1e-4, atol=1e-5)

    def test_the_loss_of_evaluation_has_none(self) -> None:
        model = stir(tiny_rt_detr()).eval()
        family, plain = build_family(model, LossSpec()), build_family(model, PLAIN)
        images, labels = some_images(2, 64, 64), some_labels((2, 1))
        total, parts = family.loss(*train(family, model, images, labels), labels)
        torch.testing.assert_close(total, plain.loss(*run(plain, model, images), labels)[0])
        assert "denoising" not in parts

    @pytest.mark.parametrize("name", REAL_TIME)
    def test_groups_do_not_see_one_another(self, name: str) -> None:
        """Nor in the inputs that stand for nothing, on which every capture is compared with its model."""
        model = stir(REAL_TIME[name]()).train()
        family = build_family(model, LossSpec())
        given = family.inputs(some_images(1, 64, 64), None)
        assert given[GROUPS].tolist() == [[0, 0, 1, 1]]
        torch.manual_seed(0)
        apart = family.forward(model, given)[0].logits
        torch.manual_seed(0)
        together = family.forward(model, {**given, GROUPS: torch.zeros_like(given[GROUPS])})[0].logits
        assert not torch.allclose(apart[:, :4], together[:, :4], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(apart[:, 4:], together[:, 4:], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", REAL_TIME)
    def test_the_model_is_left_as_it_was(self, name: str) -> None:
        model: Any = stir(REAL_TIME[name]()).train()
        module = module_of(name)
        before = module.get_contrastive_denoising_training_group
        family = build_family(model, LossSpec())
        train(family, model, some_images(1, 64, 64), some_labels((1,)))
        with pytest.raises((RuntimeError, ValueError)):
            train(family, model, torch.zeros(1, 4, 64, 64), some_labels((1,)))
        assert module.get_contrastive_denoising_training_group is before
        assert not model.model._forward_pre_hooks

    @pytest.mark.parametrize("counts", [(1,), (3, 0, 2), (60, 2), (120, 3)])
    def test_the_positions_of_the_copies_are_transformers_own(self, counts: tuple[int, ...]) -> None:
        config, labels = tiny_rt_detr().config, some_labels(counts)  # type: ignore[union-attr]
        made: Any = module_of("rt_detr").get_contrastive_denoising_training_group(
            labels,
            3,
            config.num_queries,
            nn.Embedding(4, 8),
            config.num_denoising,  # type: ignore[union-attr]
        )
        theirs, mine = made[3], meta_values(config, labels)
        assert (mine["dn_num_group"], mine["dn_num_split"]) == (theirs["dn_num_group"], theirs["dn_num_split"])
        for own, other in zip(mine["dn_positive_idx"], theirs["dn_positive_idx"], strict=True):
            assert torch.equal(own, other)
        given = noised("rt_detr", config, labels, torch.zeros(len(counts), 3, 8, 8))
        assert torch.equal(_mask(given[GROUPS][0], config.num_queries, given[BOXES]), made[2])  # type: ignore[union-attr]

    def test_outputs_of_inputs_without_these_labels_are_an_error(self) -> None:
        model = stir(tiny_rt_detr()).train()
        family = build_family(model, LossSpec())
        images, labels = some_images(2, 64, 64), some_labels((3, 1))
        for outputs, made in (
            (run(family, model, images), 6),
            (train(family, model, images, some_labels((1, 0))), 200),
        ):
            with pytest.raises(
                ModelError, match=f"need 198 denoising queries, and the outputs have {made}.*training_inputs"
            ):
                family.loss(*outputs, labels)

    def test_where_it_is_off_the_reason_is_said(self) -> None:
        assert build_family(tiny_rt_detr(), LossSpec()).notes == ()
        for spec, changes, reason in (
            (PLAIN, {}, "train.loss.denoising is false"),
            (LossSpec(auxiliary=False), {}, "train.loss.auxiliary is false"),
            (LossSpec(), {"num_denoising": 0}, "made without one"),
        ):
            family = build_family(tiny_rt_detr(**changes), spec)
            assert not family.denoising
            assert reason in family.notes[0]
        assert build_family(tiny_rt_detr(), LossSpec(denoising=True)).denoising


@pytest.mark.parametrize("name", GROUPED)
class TestGrouped:
    def test_training_has_every_group_and_evaluation_the_first(self, name: str) -> None:
        model: Any = stir(GROUPED[name]()).train()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        family = build_family(model, LossSpec())
        images = some_images(2, 64, 64)
        trained = family.read(*run(family, model, images))
        evaluated = family.read(*run(family, model.eval(), images))
        assert trained.logits.shape == (2, 10, 3)
        assert evaluated.logits.shape == (2, 5, 3)
        assert evaluated.auxiliary == ()
        torch.testing.assert_close(trained.boxes[:, :5], evaluated.boxes)
        torch.testing.assert_close(trained.logits[:, :5], evaluated.logits)

    def test_any_size_is_padded_and_masked(self, name: str) -> None:
        model = GROUPED[name]()
        family = build_family(model, LossSpec())
        assert isinstance(family, GroupedFamily)
        assert family.stride == 32
        images = some_images(2, 40, 64)
        given = family.inputs(images, None)
        assert given["pixel_values"].shape == (2, 3, 64, 64)
        assert torch.equal(given["pixel_values"][:, :, :40], images)
        assert given["pixel_mask"].dtype == torch.int64
        assert given["pixel_mask"][:, :40].all()
        assert not given["pixel_mask"][:, 40:].any()
        mask = torch.ones(2, 40, 64, dtype=torch.int64)
        mask[0, :, 32:] = 0
        assert torch.equal(family.inputs(images, mask)["pixel_mask"][:, :40], mask)
        assert family.inputs(some_images(1, 64, 96), None)["pixel_values"].shape[-2:] == (64, 96)

    def test_hooks_are_gone_after_an_error(self, name: str) -> None:
        model: Any = GROUPED[name]().train()
        family = build_family(model, LossSpec())
        run(family, model, some_images(1, 64, 64))
        with pytest.raises(ValueError, match="channel"):
            run(family, model, torch.zeros(1, 4, 64, 64))
        heads = (model.class_embed, model.bbox_embed, model.model.decoder)
        assert not any(head._forward_hooks or head._forward_pre_hooks for head in heads)


def test_default_sizes_are_the_published_ones() -> None:
    lw_detr = build_family(tiny_lw_detr(), LossSpec()).default_input
    rf_detr = build_family(tiny_rf_detr(), LossSpec()).default_input
    assert (lw_detr.size, rf_detr.size) == ((640, 640), (64, 64))  # RF-DETR: the backbone's own image size
    assert lw_detr.mean == rf_detr.mean == (0.485, 0.456, 0.406)
    assert lw_detr.std == rf_detr.std == (0.229, 0.224, 0.225)


@pytest.fixture(scope="module", params=list(GROUPED))
def grouped(request: pytest.FixtureRequest) -> tuple[nn.Module, Family, Captured]:
    """Captured at an image that is not square, as a student is."""
    model = stir(GROUPED[request.param]())
    family = build_family(model, LossSpec())
    return model, family, capture(model, family.forward, family.inputs(some_images(2, 64, 96), None))


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (128, 128)])
def test_one_graph_serves_the_size_of_pre_training_and_others(
    grouped: tuple[nn.Module, Family, Captured], size: tuple[int, int]
) -> None:
    model, family, captured = grouped
    graph = GraphModel(captured.root, captured.programs)
    for training in (False, True):
        inputs = family.inputs(some_images(2, *size), None)
        mine = family.read(*graph.train(training).run(inputs)[:2])
        theirs = family.read(*family.forward(model.train(training), inputs))
        torch.testing.assert_close(mine.logits, theirs.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(mine.boxes, theirs.boxes, rtol=0, atol=1e-5)
