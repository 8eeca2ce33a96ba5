"""Detectors as people write them: encoder and decoder layers side by side, einsum, fused attention whose heads are
merged by a view, and deformable attention in a loop over feature levels."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.graph.shapes import Symbols
from qrecipe.planning import Plan
from qrecipe.structure import analyse
from qrecipe.structure.deformable import heads_of
from qrecipe.structure.operations import find_operations
from qrecipe.structure.roles import Roles
from tests.specimens import ALIGN, W4A4, a_recipe
from tests.toys import captured_toy, marked, picture, rewritten, running

WIDTH, HEADS, QUERIES, POINTS, LEVELS = 8, 2, 5, 2, 2


class EinsumAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.merge = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part(x).unflatten(-1, (HEADS, -1)) for part in (self.query, self.key, self.value))
        weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(2).softmax(-1)
        merged: Tensor = self.merge(torch.einsum("bhqk,bkhd->bqhd", weights, value).flatten(2))
        return merged


class ViewedAttention(nn.Module):
    """The heads of the fused attention's result are merged by ``contiguous().view()``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.merge = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = (part.view(batch, length, HEADS, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(*parts)
        merged: Tensor = self.merge(mixed.transpose(1, 2).contiguous().view(batch, length, width))
        return merged


class LevelByLevelAttention(nn.Module):
    """Deformable attention that samples one level after the other and adds them up. ``pick`` takes a level's part."""

    def __init__(self, pick: str, merge: str = "at the end") -> None:
        super().__init__()
        self.pick, self.how = pick, merge
        self.offsets = nn.Linear(WIDTH, HEADS * LEVELS * POINTS * 2)
        self.weights = nn.Linear(WIDTH, HEADS * LEVELS * POINTS)
        self.value, self.merge = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, maps: list[Tensor]) -> Tensor:
        batch, length, width = x.shape
        offsets = self.offsets(x).view(batch, length, HEADS, LEVELS, POINTS, 2).tanh()
        weights = self.weights(x).view(batch, length, HEADS, -1).softmax(-1)
        weights = weights.view(batch, length, HEADS, LEVELS, POINTS)
        levels = [weights[:, :, :, i] for i in range(LEVELS)] if self.pick == "select" else weights.unbind(3)
        out: Any = 0
        for level, (features, weight) in enumerate(zip(maps, levels, strict=True)):
            value = self.value(features.flatten(2).mT).mT.reshape(batch * HEADS, -1, *features.shape[-2:])
            grid = offsets[:, :, :, level].transpose(1, 2).flatten(0, 1)
            sampled = F.grid_sample(value, grid, align_corners=False)
            summed = (sampled * weight.transpose(1, 2).reshape(batch * HEADS, 1, length, POINTS)).sum(-1)
            out = out + (summed if self.how == "at the end" else summed.reshape(batch, width, length).mT)
        if self.how == "at the end":
            out = out.view(batch, width, length).mT
        merged: Tensor = self.merge(out) if self.how != "residual" else x + out
        return merged


class Layer(nn.Module):
    def __init__(self, attention: nn.Module, cross: nn.Module | None = None) -> None:
        super().__init__()
        self.attention, self.cross_attention = attention, cross
        self.fc1, self.fc2 = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        x = x + self.attention(x)
        if self.cross_attention is not None:
            x = x + self.cross_attention(x, maps)
        return x + self.fc2(self.fc1(x).relu())


class Transformer(nn.Module):
    """The encoder beside the decoder's layers."""

    def __init__(self, pick: str, merge: str) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([Layer(EinsumAttention())])
        self.position = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([Layer(ViewedAttention(), LevelByLevelAttention(pick, merge)) for _ in range(2)])

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        tokens = features.flatten(2).mT
        for layer in self.encoder:
            tokens = layer(tokens)
        memory = tokens.mT.unflatten(-1, (height, width))
        x = queries + self.position(queries)
        for layer in self.layers:
            x = layer(x, [memory, F.avg_pool2d(memory, 2)])
        return x


class Detector(nn.Module):
    def __init__(self, pick: str, merge: str = "at the end") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.transformer = Transformer(pick, merge)
        self.queries = nn.Embedding(QUERIES, WIDTH)
        self.classes, self.boxes = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 4)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        queries = self.queries.weight[None].repeat(len(pixel_values), 1, 1)
        x = self.transformer(self.stem(pixel_values), queries)
        return {"logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()}


@pytest.fixture(scope="module", params=["select", "unbind"])
def detector(request: pytest.FixtureRequest) -> tuple[nn.Module, Captured]:
    torch.manual_seed(0)
    model = Detector(request.param).double()
    return model, captured_toy(model)


def student(captured: Captured) -> tuple[GraphModel, Plan]:
    model, plan, _ = rewritten(captured, a_recipe(W4A4, ALIGN))
    return model, plan


def roles_of(captured: Captured) -> Roles:
    return analyse(captured).roles


def test_rewritten_it_computes_the_same(detector: tuple[nn.Module, Captured]) -> None:
    model, captured = detector
    rewritten_model, _, _ = rewritten(captured, a_recipe(W4A4))  # an alignment that is not fitted is no identity
    for shape in ((1, 24, 16), (3, 16, 40)):
        given = picture(*shape)
        for training in (True, False):
            expected = model.train(training)(**given)
            for one in (running(captured), rewritten_model):
                (found, *_) = one.train(training).run(given)
                for name, value in expected.items():
                    torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)


def test_an_encoder_beside_the_decoders_layers_is_the_encoder(detector: tuple[nn.Module, Captured]) -> None:
    roles = roles_of(detector[1])
    assert roles.layers == ("transformer.layers.0", "transformer.layers.1")
    expected = {
        "transformer.encoder.0.attention": "encoder.attention",
        "transformer.encoder.0.fc": "encoder.feed_forward",
        "transformer.position": "decoder.position",
        "transformer.layers.0.attention": "decoder.self_attention",
        "transformer.layers.1.cross_attention": "decoder.cross_attention",
    }
    for start, role in expected.items():
        found = {own for name, own in roles.of.items() if name.startswith(start) and not name.endswith(".add")}
        assert found == {role}, start


def test_every_level_is_a_weighted_sum(detector: tuple[nn.Module, Captured]) -> None:
    _, plan = student(detector[1])
    for layer in range(2):
        start = f"transformer.layers.{layer}.cross_attention.weighted_sum"
        sites = {name: site for name, site in plan.sites.items() if name.startswith(start)}
        assert set(sites) == {f"{start}{call}.{name}" for call in ("", "@1") for name in ("value", "probabilities")}
        assert all(site.quantizer for site in sites.values())
    assert "product of sampled values" not in plan.unsupported
    assert "einsum" not in plan.unsupported


def feature_of(captured: Captured, layer: int) -> set[Any]:
    """What makes up the tapped feature: every operator from it back to the weighted sums."""
    copied, structure = marked(captured)
    facts = structure.programs["eval"]
    assert facts.taps["decoder.cross_attention.output", layer].shape == (facts.symbols.batch, QUERIES, WIDTH)
    tap = copied.programs["eval"].taps["decoder.cross_attention.output", layer].node
    found, pending = [], [tap]
    while pending:
        node = pending.pop()
        if node.target is not SUM:
            pending.extend(node.all_input_nodes)
        found.append(node)
    assert sum(node.target is SUM for node in found) == LEVELS
    return {user.target for user in tap.users} | {node.target for node in found}


SUM, LINEAR = torch.ops.aten.sum.dim_IntList, torch.ops.aten.linear.default


def test_the_tapped_feature_is_that_of_all_levels(detector: tuple[nn.Module, Captured]) -> None:
    """What the output projection reads, with a row for each query; not the last level's sum."""
    assert LINEAR in feature_of(detector[1], 0) & feature_of(detector[1], 1)


@pytest.mark.parametrize("merge", ["each level", "residual"])
def test_levels_that_are_merged_one_by_one(merge: str) -> None:
    """A residual that the attention adds itself is no part of its feature."""
    torch.manual_seed(0)
    found = feature_of(captured_toy(Detector("select", merge)), 0)
    assert (LINEAR in found) is (merge == "each level")


B = sympy.Symbol("b")


@pytest.mark.parametrize(
    ("weights", "heads"),
    [
        ((B, 10, 4, 8), 4),
        ((B, 4, 10, 8), 4),
        ((B, 10, 4, 2, 4), 4),
        ((B, 8, 8, 8), 8),  # as many queries as heads
        ((B, 10, 8), 1),
        ((4 * B, 10, 8), 4),
        ((B, 10, 3, 8), 1),  # no three heads of 32 channels
    ],
)
def test_heads_of_deformable_weights(weights: tuple[Any, ...], heads: int) -> None:
    queries = 8 if weights[1] == 8 else 10
    assert heads_of(weights, (B, queries, 32), Symbols(B, None, None)) == heads


def test_part_of_a_projection_that_goes_into_a_softmax_is_no_attention() -> None:
    class Gate(Detector):
        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            x = self.stem(pixel_values).flatten(2).mT[:, :QUERIES] @ self.transformer.position.weight
            first, second = x.split([WIDTH // 2, WIDTH // 2], -1)
            x = torch.cat([first * second.softmax(-1), first], -1)
            return {"logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()}

    torch.manual_seed(0)
    (product,) = (one for one in find_operations(captured_toy(Gate("select")))["eval"] if one.operator == "matmul")
    assert [operand.name for operand in product.operands] == ["left", "right"]


def test_a_product_of_sampled_values_that_is_not_recognised_is_named() -> None:
    class Gated(Detector):
        """Sampled values scaled by a gate: no softmax, no sum."""

        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            features = self.stem(pixel_values)
            grid = self.queries.weight[:, :2].tanh()[None, :, None].repeat(len(pixel_values), 1, 1, 1)
            sampled = F.grid_sample(features, grid, align_corners=False).squeeze(-1).mT
            x = sampled * self.queries.weight.sigmoid()
            return {"logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()}

    torch.manual_seed(0)
    _, plan, _ = rewritten(captured_toy(Gated("select")), a_recipe(W4A4))
    assert plan.unsupported["product of sampled values"] == 1


def test_sampled_values_scaled_or_masked_are_not_named() -> None:
    class Masked(Detector):
        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            grid = self.queries.weight[:, :2].tanh()[None, :, None].repeat(len(pixel_values), 1, 1, 1)
            sampled = F.grid_sample(self.stem(pixel_values), grid, align_corners=False).squeeze(-1).mT * 0.5
            x = sampled * (self.queries.weight > 0).to(sampled.dtype)
            return {"logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()}

    torch.manual_seed(0)
    _, plan, _ = rewritten(captured_toy(Masked("select")), a_recipe(W4A4))
    assert "product of sampled values" not in plan.unsupported
