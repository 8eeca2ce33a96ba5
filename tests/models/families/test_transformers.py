"""transformers' detectors against their eager selves: losses, outputs, inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.models.families import Family, build_family
from qrecipe.models.families.detr import DetrFamily
from qrecipe.models.families.real_time import RealTimeFamily
from qrecipe.recipe.definition import InputSpec, LossSpec
from tests.tiny_detectors import some_images, some_labels, stir, tiny_deimv2, tiny_detr

COUNTS = [(2, 1), (0, 3), (0, 0)]


def run(family: Family, model: nn.Module, images: Tensor, mask: Tensor | None = None) -> tuple[Any, dict[str, Tensor]]:
    return family.forward(model, family.inputs(images, mask))


def half_mask(images: Tensor) -> Tensor:
    mask = torch.ones(images.shape[0], *images.shape[-2:], dtype=torch.int64)
    mask[0, :, images.shape[-1] // 2 :] = 0
    return mask


class TestDetr:
    @pytest.mark.parametrize("counts", COUNTS)
    def test_loss_is_the_eager_models_with_auxiliary_losses(self, counts: tuple[int, ...]) -> None:
        model = stir(tiny_detr(auxiliary_loss=True)).train()
        images, labels = some_images(2), some_labels(counts)
        mask = half_mask(images)
        eager = model(pixel_values=images, pixel_mask=mask, labels=labels)
        family = build_family(model, LossSpec())
        total, parts = family.loss(*run(family, model, images, mask), labels)
        torch.testing.assert_close(total, eager.loss, rtol=0, atol=1e-4)
        torch.testing.assert_close(sum(parts.values()), total.detach())
        assert set(parts) == {"class", "l1", "giou", "auxiliary"}

    def test_loss_without_the_flag_is_the_eager_models_with_it_where_the_last_norm_is_fresh(self) -> None:
        # With config.auxiliary_loss the network feeds the normalised state forward; two norms in a row that are
        # still the identity change nothing, so there the two networks are one.
        plain, flagged = tiny_detr().train(), tiny_detr(auxiliary_loss=True).train()
        flagged.load_state_dict(plain.state_dict())
        images, labels = some_images(2), some_labels((2, 1))
        family = build_family(plain, LossSpec())
        total, _ = family.loss(*run(family, plain, images), labels)
        eager = flagged(pixel_values=images, labels=labels)
        torch.testing.assert_close(total, eager.loss, rtol=0, atol=1e-4)

    def test_gradients_are_the_eager_models(self) -> None:
        model = stir(tiny_detr(auxiliary_loss=True)).train()
        images, labels = some_images(2), some_labels((2, 1))
        model(pixel_values=images, labels=labels).loss.backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        family = build_family(model, LossSpec())
        family.loss(*run(family, model, images), labels)[0].backward()
        for name, parameter in model.named_parameters():
            if name in expected:
                torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5)

    def test_loss_without_auxiliary(self) -> None:
        model = stir(tiny_detr()).train()
        images, labels = some_images(2), some_labels((2, 1))
        family = build_family(model, LossSpec(auxiliary=False))
        outputs, extras = run(family, model, images)
        total, parts = family.loss(outputs, extras, labels)
        assert extras == {}
        assert "auxiliary" not in parts
        torch.testing.assert_close(total, model(pixel_values=images, labels=labels).loss, rtol=0, atol=1e-4)

    def test_earlier_layers_are_read_by_the_models_own_heads(self) -> None:
        model = stir(tiny_detr()).train()
        family = build_family(model, LossSpec())
        images = some_images(2)
        outputs, extras = run(family, model, images)
        states = model(pixel_values=images, output_hidden_states=True).decoder_hidden_states[1:-1]
        prediction = family.read(outputs, extras)
        assert len(prediction.auxiliary) == len(states) == 2
        for (logits, boxes), state in zip(prediction.auxiliary, states, strict=True):
            normed = model.model.decoder.layernorm(state)
            torch.testing.assert_close(logits, model.class_labels_classifier(normed))
            torch.testing.assert_close(boxes, model.bbox_predictor(normed).sigmoid())
        torch.testing.assert_close(prediction.logits, outputs.logits)
        torch.testing.assert_close(prediction.boxes, outputs.pred_boxes)

    def test_evaluation_has_no_extras_and_hooks_are_gone(self) -> None:
        model = tiny_detr().train()
        family = build_family(model, LossSpec())
        images = some_images(1)
        assert run(family, model, images)[1]
        assert all(not layer._forward_hooks for layer in model.model.decoder.layers)
        outputs, extras = run(family, model.eval(), images)
        assert extras == {}
        assert family.read(outputs, extras).auxiliary == ()
        torch.testing.assert_close(outputs.logits, model(pixel_values=images).logits, rtol=0, atol=0)

    def test_hooks_are_gone_after_an_error(self) -> None:
        model = tiny_detr().train()
        family = build_family(model, LossSpec())
        with pytest.raises(ValueError, match="channel"):
            run(family, model, torch.zeros(1, 4, 64, 64))
        assert all(not layer._forward_hooks for layer in model.model.decoder.layers)

    def test_input_and_scores(self) -> None:
        family = build_family(tiny_detr(), LossSpec())
        assert isinstance(family, DetrFamily)
        assert (family.scores, family.classes) == ("softmax", 3)
        assert (family.default_input.shortest, family.default_input.longest) == (800, 1333)
        assert family.default_input.mask
        given = family.inputs(torch.zeros(2, 3, 8, 9), None)
        assert given["pixel_mask"].dtype == torch.int64
        assert given["pixel_mask"].shape == (2, 8, 9)
        assert bool((given["pixel_mask"] == 1).all())

    def test_the_models_own_configuration_stays_as_it_is(self) -> None:
        model = tiny_detr().train()
        family = build_family(model, LossSpec())
        family.loss(*run(family, model, some_images(1)), some_labels((1,)))
        assert model.config.auxiliary_loss is False

    def test_loss_of_a_float64_model(self) -> None:
        model = stir(tiny_detr()).double().train()
        family = build_family(model, LossSpec())
        total, _ = family.loss(*run(family, model, some_images(1).double()), some_labels((2,)))
        single = model.float()
        expected, _ = family.loss(*run(family, single, some_images(1)), some_labels((2,)))
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)


class TestDeimv2:
    def test_read(self) -> None:
        model = stir(tiny_deimv2())
        family = build_family(model, LossSpec())
        outputs, extras = run(family, model.train(), some_images(2))
        prediction = family.read(outputs, extras)
        assert outputs.logits.shape[1] == 6 + 8  # denoising queries that stand for nothing, and the model's own
        assert len(prediction.auxiliary) == 2
        torch.testing.assert_close(prediction.auxiliary[1][0], outputs.intermediate_logits[:, -2, 6:])
        torch.testing.assert_close(prediction.auxiliary[0][1], outputs.intermediate_reference_points[:, -3, 6:])
        torch.testing.assert_close(prediction.logits, outputs.intermediate_logits[:, -1, 6:])
        outputs, extras = run(family, model.eval(), some_images(2))
        assert family.read(outputs, extras).auxiliary == ()

    def test_input_and_scores(self) -> None:
        family = build_family(tiny_deimv2(), LossSpec())
        assert isinstance(family, RealTimeFamily)
        assert family.default_input == InputSpec(size=(640, 640), mask=False)
        assert (family.scores, family.classes) == ("sigmoid", 3)
        assert "pixel_mask" not in family.inputs(torch.zeros(1, 3, 32, 32), torch.ones(1, 32, 32))

    def test_size_of_the_configuration(self) -> None:
        model = tiny_deimv2(eval_size=[320, 256])
        assert build_family(model, LossSpec()).default_input.size == (320, 256)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (InputSpec(), InputSpec(shortest=800, longest=1333, mask=True)),
        (InputSpec(size=(320, 256)), InputSpec(size=(320, 256), mask=True)),
        (InputSpec(shortest=480), InputSpec(shortest=480, longest=1333, mask=True)),
        (InputSpec(longest=500, mask=False), InputSpec(shortest=800, longest=500, mask=False)),
    ],
)
def test_input_merges(override: InputSpec, expected: InputSpec) -> None:
    merged = build_family(tiny_detr(), LossSpec()).input(override)
    assert (merged.size, merged.shortest, merged.longest, merged.mask) == (
        expected.size,
        expected.shortest,
        expected.longest,
        expected.mask,
    )
    assert merged.mean == (0.485, 0.456, 0.406)


def test_shortest_replaces_a_default_size() -> None:
    merged = build_family(tiny_deimv2(), LossSpec()).input(InputSpec(shortest=480, longest=640, mean=(0.5, 0.5, 0.5)))
    assert merged == InputSpec(shortest=480, longest=640, mean=(0.5, 0.5, 0.5), mask=False)
