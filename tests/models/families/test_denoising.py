"""The denoising branches of RT-DETR, RT-DETRv2, D-FINE and DEIMv2 against their eager selves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from qrecipe.errors import ModelError
from qrecipe.models.families import build_family
from qrecipe.models.families.denoising import BOXES, GROUPS, denoising_mask, meta_values, module_of, noised
from qrecipe.recipe.definition import LossSpec
from tests.models.families.eager import FINE, PLAIN, REAL_TIME, eager_loss, run, train
from tests.tiny_detectors import some_images, some_labels, stir, tiny_rt_detr


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
        assert torch.equal(denoising_mask(given[GROUPS][0], config.num_queries, given[BOXES]), made[2])  # type: ignore[union-attr]

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
