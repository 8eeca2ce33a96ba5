"""DETR's closest relatives in transformers against their eager selves: losses, auxiliary outputs, inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.detection.boxes import cxcywh_to_xyxy, pairwise_giou
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import (
    some_images,
    some_labels,
    stir,
    tiny_conditional_detr,
    tiny_dab_detr,
    tiny_deformable_detr,
    tiny_detr,
    tiny_table_transformer,
    tiny_yolos,
)

COUNTS = [(2, 1), (0, 3), (0, 0)]
Build = Callable[..., nn.Module]


def refined(**changes: object) -> nn.Module:
    return tiny_deformable_detr(with_box_refine=True, **changes)


def one_level(**changes: object) -> nn.Module:
    from tests.tiny_configurations import RESNET

    return tiny_deformable_detr(backbone_config=RESNET, num_feature_levels=1, **changes)


def two_stage(**changes: object) -> nn.Module:
    return tiny_deformable_detr(with_box_refine=True, two_stage=True, **changes)


LAYERED: dict[str, Build] = {
    "conditional_detr": tiny_conditional_detr,
    "dab-detr": tiny_dab_detr,
    "table-transformer": tiny_table_transformer,
    "deformable_detr": tiny_deformable_detr,
    "deformable_detr one level": one_level,
    "deformable_detr refined": refined,
    "deformable_detr two stage": two_stage,
}
ALL: dict[str, Build] = {**LAYERED, "yolos": tiny_yolos}


def padded(images: Tensor) -> Tensor:
    """A mask with both kinds of padding: the right of the first image, the bottom of the second."""
    mask = torch.ones(images.shape[0], *images.shape[-2:], dtype=torch.int64)
    mask[0, :, images.shape[-1] * 2 // 3 :] = 0
    mask[1, images.shape[-2] * 3 // 4 :] = 0
    return mask


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("name", ALL)
def test_loss_is_the_eager_models(name: str, counts: tuple[int, ...]) -> None:
    model: Any = stir(ALL[name]()).train()
    images, labels = some_images(2), some_labels(counts)
    family = build_family(model, LossSpec())
    inputs = family.inputs(images, padded(images))
    outputs, extras = family.forward(model, inputs)
    proposals = {key: extras.pop(key) for key in list(extras) if key.startswith("proposal")}
    assert bool(proposals) == ("two stage" in name)  # transformers leaves these out; they have a test of their own
    total, parts = family.loss(outputs, extras, labels)
    model.config.auxiliary_loss = name != "yolos"  # it fails with it
    if name in ("conditional_detr", "table-transformer"):
        # There the flag changes the network: the two are compared with it set from the start.
        outputs, extras = family.forward(model, inputs)
        total, parts = family.loss(outputs, extras, labels)
    eager = model(**inputs, labels=labels)
    torch.testing.assert_close(total, eager.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum(parts.values()), total.detach())
    assert set(parts) == {"class", "l1", "giou"} | ({"auxiliary"} if extras else set())
    for own, theirs in zip(family.read(outputs, extras).auxiliary, eager.auxiliary_outputs or (), strict=True):
        torch.testing.assert_close(own[0], theirs["logits"])
        torch.testing.assert_close(own[1], theirs["pred_boxes"])


@pytest.mark.parametrize("name", LAYERED)
def test_gradients_are_the_eager_models(name: str) -> None:
    model: Any = stir(LAYERED[name](auxiliary_loss=True)).train()
    images, labels = some_images(2), some_labels((2, 1))
    family = build_family(model, LossSpec())
    inputs = family.inputs(images, padded(images))
    model(**inputs, labels=labels).loss.backward()
    expected = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    outputs, extras = family.forward(model, inputs)
    family.loss(outputs, {key: value for key, value in extras.items() if key.startswith("aux")}, labels)[0].backward()
    own = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    assert set(own) == set(expected)
    for key, gradient in expected.items():
        torch.testing.assert_close(own[key], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["conditional_detr", "table-transformer"])
def test_without_the_flag_the_network_is_the_one_that_evaluates(name: str) -> None:
    """Earlier layers are read from the states of the network as it is: those that it would return if asked."""
    model: Any = stir(LAYERED[name]()).train()
    family = build_family(model, LossSpec())
    images = some_images(2)
    inputs = family.inputs(images, padded(images))
    outputs, extras = family.forward(model, inputs)
    torch.testing.assert_close(outputs.logits, model.eval()(**inputs).logits)
    states = model(**inputs, output_hidden_states=True).decoder_hidden_states[1:-1]
    assert len(states) == len(extras["aux_logits"]) == 2
    for state, logits in zip(states, extras["aux_logits"], strict=True):
        torch.testing.assert_close(logits, model.class_labels_classifier(model.model.decoder.layernorm(state)))


@pytest.mark.parametrize("name", ALL)
def test_evaluation_and_a_loss_without_auxiliary(name: str) -> None:
    model: Any = stir(ALL[name]())
    images, labels = some_images(2), some_labels((2, 1))
    for training in (True, False):
        model.train(training)
        family = build_family(model, LossSpec(auxiliary=not training))
        inputs = family.inputs(images, padded(images))
        outputs, extras = family.forward(model, inputs)
        assert extras == {}
        assert family.read(outputs, extras).auxiliary == ()
        total, parts = family.loss(outputs, extras, labels)
        assert set(parts) == {"class", "l1", "giou"}
        torch.testing.assert_close(total, model(**inputs, labels=labels).loss)
    assert all(not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", LAYERED)
def test_one_decoder_layer(name: str) -> None:
    # Without ties: transformers' Deformable DETR cannot tie one head to the others that are not there.
    model: Any = stir(LAYERED[name](decoder_layers=1, tie_word_embeddings="two stage" in name)).train()
    family = build_family(model, LossSpec())
    images, labels = some_images(2), some_labels((2, 1))
    outputs, extras = family.forward(model, family.inputs(images, None))
    assert not any(key.startswith("aux") for key in extras)
    assert family.read(outputs, extras).auxiliary == ()
    total, parts = family.loss(outputs, extras, labels)
    torch.testing.assert_close(sum(parts.values()), total.detach())


class TestTwoStage:
    def test_proposals_are_trained_as_in_the_original_code(self) -> None:
        from scipy.optimize import linear_sum_assignment

        model: Any = stir(two_stage()).train()
        family = build_family(model, LossSpec())
        images, labels = some_images(2), some_labels((2, 3))
        inputs = family.inputs(images, padded(images))
        outputs, extras = family.forward(model, inputs)
        total, parts = family.loss(outputs, extras, labels)
        without = {key: value for key, value in extras.items() if key.startswith("aux")}
        config, expected = model.config, torch.zeros(())
        for logits, boxes, label in zip(
            outputs.enc_outputs_class, outputs.enc_outputs_coord_logits, labels, strict=True
        ):
            boxes, score = boxes.sigmoid(), logits.sigmoid()
            # Every object is of class 0; focal costs and losses with alpha 0.25 and gamma 2, spelled out.
            alike = 0.25 * (1 - score[:, :1]) ** 2 * -(score[:, :1] + 1e-8).log()
            unlike = 0.75 * score[:, :1] ** 2 * -(1 - score[:, :1] + 1e-8).log()
            distance = (boxes[:, None] - label["boxes"]).abs().sum(-1)
            giou = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(label["boxes"]))
            cost = config.class_cost * (alike - unlike) + config.bbox_cost * distance - config.giou_cost * giou
            rows, columns = linear_sum_assignment(cost.detach().numpy())
            wanted = torch.zeros_like(logits)
            wanted[rows, 0] = 1
            there = -nn.functional.logsigmoid(logits) * 0.25 * (1 - score) ** 2
            absent = -nn.functional.logsigmoid(-logits) * 0.75 * score**2
            expected = expected + (wanted * there + (1 - wanted) * absent).sum() / 5
            expected = expected + config.bbox_loss_coefficient * distance[rows, columns].sum() / 5
            expected = expected + config.giou_loss_coefficient * (1 - giou[rows, columns]).sum() / 5
        torch.testing.assert_close(total - family.loss(outputs, without, labels)[0], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sum(parts.values()), total.detach())

    def test_they_train_the_heads_that_choose_the_queries(self) -> None:
        model: Any = stir(two_stage()).train()
        family = build_family(model, LossSpec())
        images, labels = some_images(2), some_labels((2, 0))
        family.loss(*family.forward(model, family.inputs(images, padded(images))), labels)[0].backward()
        for head in (model.class_embed[-1], model.bbox_embed[-1], model.model.enc_output):
            for parameter in head.parameters():
                assert parameter.grad.isfinite().all()
                assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ALL)
def test_scores_and_inputs(name: str) -> None:
    family = build_family(ALL[name](), LossSpec())
    softmax = name in ("table-transformer", "yolos")
    assert family.name == name.split()[0]
    assert (family.scores, family.classes) == ("softmax" if softmax else "sigmoid", 3)
    assert family.default_input.shortest == 800
    assert family.default_input.longest == (800 if name == "table-transformer" else 1333)
    assert family.default_input.mask
    assert set(family.inputs(some_images(1), None)) == (
        {"pixel_values"} if name == "yolos" else {"pixel_values", "pixel_mask"}
    )


@pytest.mark.parametrize("name", ALL)
def test_class_heads(name: str) -> None:
    """Those keys whose shape follows the number of classes, and no others."""
    model, wider = ALL[name](), ALL[name](labels=4)
    family = build_family(model, LossSpec())
    own, other = model.state_dict(), wider.state_dict()
    differing = {key for key in own if own[key].shape != other[key].shape}
    assert differing
    assert all(family.is_head(key, own[key].shape, other[key].shape) for key in differing)
    assert not any(family.is_head(key, (1,), (2,)) for key in own if "class" not in key)


def test_yolos_says_what_it_lacks() -> None:
    notes = build_family(tiny_yolos(), LossSpec()).notes
    assert any("no decoder" in note for note in notes)
    assert any("no mask" in note for note in notes)
    assert build_family(tiny_detr(), LossSpec()).notes == ()


def test_yolos_takes_any_size_and_no_mask() -> None:
    model = stir(tiny_yolos()).train()
    family = build_family(model, LossSpec())
    images = some_images(2, 75, 110)
    outputs, _ = family.forward(model, family.inputs(images, padded(images)))
    cropped, _ = family.forward(model, family.inputs(images[..., :64, :96], None))
    torch.testing.assert_close(outputs.logits, cropped.logits)  # what is left over of the patches is not seen
