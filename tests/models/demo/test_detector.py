"""The built-in demo detector: shapes, capture, determinism, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.models.demo import DemoDetector
from qrecipe.models.demo.layers import Attention, sine_embedding
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import some_images, some_labels, stir


def small(**changes: Any) -> DemoDetector:
    torch.manual_seed(0)
    return DemoDetector(3, **{"width": 16, "decoder_layers": 2, "queries": 6, "heads": 2, **changes})


def test_size_of_the_default() -> None:
    model = DemoDetector(3)
    assert 0.3e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(33, 150), st.integers(33, 150))
def test_any_size(batch: int, height: int, width: int) -> None:
    outputs = small().eval()(some_images(batch, height, width))
    assert set(outputs) == {"logits", "pred_boxes"}
    assert outputs["logits"].shape == (batch, 6, 3)
    assert outputs["pred_boxes"].shape == (batch, 6, 4)
    assert bool(((outputs["pred_boxes"] > 0) & (outputs["pred_boxes"] < 1)).all())


def test_an_image_does_not_depend_on_its_batch() -> None:
    model = stir(small()).eval()
    images = some_images(3)
    together = model(images)
    for place in range(3):
        alone = model(images[place : place + 1])
        torch.testing.assert_close(alone["pred_boxes"][0], together["pred_boxes"][place], rtol=1e-4, atol=1e-5)


def test_training_has_the_proposals_and_the_earlier_layers() -> None:
    model = stir(small(decoder_layers=3)).train()
    outputs = model(some_images(2))
    assert len(outputs["aux_outputs"]) == 3
    for layer in outputs["aux_outputs"]:
        assert layer["logits"].shape == (2, 6, 3)
        assert layer["pred_boxes"].shape == (2, 6, 4)


def test_first_boxes_are_the_tokens_own_places() -> None:
    model = small(queries=16).train()
    boxes = model(torch.rand(1, 3, 32, 32))["aux_outputs"][0]["pred_boxes"][0].detach()
    centres = sorted((round(float(y) * 32, 3), round(float(x) * 32, 3)) for x, y in boxes[:, :2])
    assert centres == [(y, x) for y in (4.0, 12.0, 20.0, 28.0) for x in (4.0, 12.0, 20.0, 28.0)]


def test_every_parameter_learns() -> None:
    model = stir(small()).train()
    family = build_family(model, LossSpec())
    outputs, extras = family.forward(model, family.inputs(some_images(2), None))
    family.loss(outputs, extras, some_labels((2, 3)))[0].backward()
    # A key's bias adds the same to all logits of a query: softmax does not see it.
    still = [
        name
        for name, p in model.named_parameters()
        if (p.grad is None or not p.grad.abs().sum() > 0) and not name.endswith("k_proj.bias")
    ]
    assert still == []


def test_it_learns_two_boxes() -> None:
    model = small().train()
    family = build_family(model, LossSpec())
    images, labels = some_images(2, 64, 64), some_labels((1, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        outputs, extras = family.forward(model, family.inputs(images, None))
        total, _ = family.loss(outputs, extras, labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("training", [True, False])
def test_capture_with_dynamic_batch_height_and_width(training: bool) -> None:
    model = stir(small()).train(training)
    images = some_images(2, 64, 80)
    dynamic = {"pixel_values": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    exported = torch.export.export(model, (), {"pixel_values": images}, dynamic_shapes=dynamic, strict=False)
    captured = exported.module()
    for shape in ((2, 64, 80), (3, 75, 101), (1, 120, 49)):
        other = some_images(*shape)
        # Training moves the running statistics of both alike; the outputs use the batch's own.
        for found, expected in zip(flat(captured(pixel_values=other)), flat(model(other)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def flat(outputs: dict[str, Any]) -> list[Tensor]:
    return [outputs["logits"], outputs["pred_boxes"], *(t for a in outputs.get("aux_outputs", ()) for t in a.values())]


def test_same_seed_same_outputs() -> None:
    images = some_images(1)
    torch.testing.assert_close(small().eval()(images), small().eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [{"width": 18}, {"width": 20, "heads": 3}, {"queries": 0}, {"decoder_layers": 0}])
def test_wrong_arguments(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"multiple|at least"):
        small(**wrong)


def test_attention_against_a_loop() -> None:
    attention = stir(Attention(8, 2)).double()
    query, key, value = (torch.rand(2, count, 8, dtype=torch.float64) for count in (3, 5, 5))
    q, k, v = attention.q_proj(query), attention.k_proj(key), attention.v_proj(value)
    heads = torch.zeros(2, 3, 8, dtype=torch.float64)
    for image in range(2):
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            for row in range(3):
                scores = torch.stack([q[image, row, own] @ k[image, token, own] / math.sqrt(4) for token in range(5)])
                share = scores.exp() / scores.exp().sum()
                heads[image, row, own] = sum(share[token] * v[image, token, own] for token in range(5))
    torch.testing.assert_close(attention(query, key, value), attention.out_proj(heads))


def test_sine_embedding_tells_places_apart() -> None:
    places = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    embedded = sine_embedding(places, 8)
    assert embedded.shape == (50, 16)
    assert float(torch.pdist(embedded).min()) > 0
    torch.testing.assert_close(embedded.square().sum(-1), torch.full((50,), 8.0))
