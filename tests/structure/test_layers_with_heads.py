"""Decoder layers that refine boxes, attention without a telling name, prototypes as a parameter of a product."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.graph.captured import Captured
from qrecipe.structure import analyse
from tests.composed import HEADS, QUERIES, WIDTH, joined, split
from tests.specimens import W4A4, a_recipe
from tests.toys import captured_toy, plan_of


class Stage(nn.Module):
    """Normalised queries and keys, a gate behind the attention, and a box head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.merge, self.fc, self.box = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor, tokens: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self.kv(tokens).chunk(2, -1)
        q = F.normalize(split(self.q(x)), dim=-1)
        mixed = F.scaled_dot_product_attention(q, F.normalize(split(k), dim=-1), split(v))
        x = x + self.merge(joined(mixed) * self.gate(x).sigmoid())
        x = x + self.fc(x).relu()
        return x, boxes + self.box(x)


class Refining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, 4)
        self.queries, self.boxes = nn.Parameter(torch.randn(QUERIES, WIDTH)), nn.Parameter(torch.randn(QUERIES, 4))
        self.stages = nn.ModuleList(Stage() for _ in range(2))
        self.prototypes = nn.Parameter(torch.randn(3, WIDTH))

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        tokens = self.stem(pixel_values).flatten(2).mT
        x, boxes = (one.expand(len(tokens), -1, -1) for one in (self.queries, self.boxes))
        for stage in self.stages:
            x, boxes = stage(x, tokens, boxes)
        return {"logits": F.normalize(x, dim=-1) @ self.prototypes.mT, "pred_boxes": boxes.sigmoid()}


@pytest.fixture(scope="module")
def captured() -> Captured:
    torch.manual_seed(0)
    return captured_toy(Refining())


def test_roles_taps_and_queries(captured: Captured) -> None:
    structure = analyse(captured)
    roles = {name.rpartition(".")[2]: role for name, role in structure.roles.of.items() if name.startswith("stages.0")}
    crossing = {name for name, role in roles.items() if role == "decoder.cross_attention"}
    assert crossing == {"q", "kv", "attention", "merge"}
    assert (roles["gate"], roles["fc"], roles["box"]) == ("decoder.feed_forward", "decoder.feed_forward", "head.box")
    assert structure.roles.of["matmul"] == "head.class"
    for program in structure.programs.values():
        assert [point.heads for point in program.queries.values()] == [HEADS, HEADS]
        for role in ("decoder.cross_attention.output", "decoder.layer.output"):
            for layer in range(2):  # the layer's states, not the boxes that it returns behind them
                assert program.taps[role, layer].shape == (program.symbols.batch, QUERIES, WIDTH)


def test_a_parameter_of_a_product_is_no_weight_and_told(captured: Captured) -> None:
    (note,) = plan_of(captured, a_recipe(W4A4)).notes
    assert note.startswith("prototypes is a parameter that a product reads: activations to a recipe, and stored in 32")
