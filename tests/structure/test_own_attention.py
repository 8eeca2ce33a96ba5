"""Attention as people write it themselves: nn.MultiheadAttention, fused projections, layers written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from qrecipe.graph.captured import Captured
from qrecipe.graph.shapes import shape_of
from qrecipe.structure import Structure, analyse
from qrecipe.structure.attending import part_of_layer
from qrecipe.structure.operations import Operation, find_operations
from qrecipe.structure.parameters import parameter_sizes

WIDTH, HEADS, QUERIES = 8, 2, 5


class WrittenOutLayer(nn.Module):
    """An encoder layer with its attention in the layer itself: one fused linear, and weights cut by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.qk = nn.Linear(WIDTH, 2 * WIDTH)
        self.value = nn.Parameter(torch.randn(2 * WIDTH, WIDTH) / 3)
        self.merge, self.fc1, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        query, key = self.qk(x).reshape(batch, length, 2, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        value = nn.functional.linear(x, self.value[:WIDTH]) + nn.functional.linear(x, self.value[WIDTH:])
        value = value.reshape(batch, length, HEADS, -1).transpose(1, 2)
        weights = (query @ key.transpose(-2, -1) / 2).softmax(-1)
        x = x + self.merge((weights @ value).transpose(1, 2).flatten(2))
        return x + self.fc2(self.fc1(x).relu())


class DecoderLayer(nn.Module):
    """Sequence first, as nn.MultiheadAttention is by default; called through keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1)
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(x, x, value=x)[0]
        x = x + self.multihead_attn(query=x, key=memory, value=memory, key_padding_mask=mask)[0]
        return x + self.fc(x)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.encoder = nn.ModuleList([WrittenOutLayer()])
        self.decoder = nn.ModuleList([DecoderLayer(), DecoderLayer()])
        self.queries = nn.Embedding(QUERIES, WIDTH)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.stem(pixel_values)
        padding = pixel_mask[:, ::4, ::4].flatten(1) == 0
        tokens = tokens.flatten(2).mT
        for layer in self.encoder:
            tokens = layer(tokens)
        x = self.queries.weight.unsqueeze(1).repeat(1, len(pixel_values), 1)
        for layer in self.decoder:
            x = layer(x, tokens.transpose(0, 1), padding)
        logits = self.head(x.transpose(0, 1))
        return logits, logits.sigmoid()


def call(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    return model(**inputs), {}


def inputs(batch: int, height: int, width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    mask = torch.ones(batch, height, width, dtype=torch.int64)
    mask[0, height // 2 :] = 0
    pixels = torch.rand(batch, 3, height, width, dtype=torch.float64, generator=generator)
    return {"pixel_values": pixels, "pixel_mask": mask}


Found = tuple[nn.Module, Captured, dict[Any, list[Operation]], Structure]


@pytest.fixture(scope="module")
def own() -> Found:
    torch.manual_seed(0)
    model = Own().double()
    captured = capture(model, call, inputs(2, 16, 24))
    operations = find_operations(captured)
    return model, captured, operations, analyse(captured)


def test_it_computes_the_same(own: Found) -> None:
    model, captured, _, _ = own
    found = verify(captured, model, call, [inputs(1, 24, 16), inputs(3, 8, 20)], tolerance=1e-12)
    assert len(found) == 4


def test_heads_have_a_dimension_of_their_own(own: Found) -> None:
    _, captured, operations, _ = own
    for mode, program in captured.programs.items():
        assert not [node for node in program.graph.nodes if node.target is torch.ops.aten.bmm.default]
        products = [operation for operation in operations[mode] if operation.operator == "matmul"]
        assert len(products) == 2 + 2 * 2 * 2  # the encoder's, and two attentions in each of two decoder layers
        assert {shape_of(operation.node)[1] for operation in products} == {HEADS}  # type: ignore[index]
        names = [tuple(operand.name for operand in operation.operands) for operation in products]
        assert names == [("query", "key"), ("probabilities", "value")] * 5


def test_roles(own: Found) -> None:
    roles = own[-1].roles
    assert roles.layers == ("decoder.0", "decoder.1")
    assert roles.cross_attention == ("decoder.0.multihead_attn", "decoder.1.multihead_attn")
    of = {name: role for name, role in roles.of.items() if ".add" not in name}
    written_out = {name.removeprefix("encoder.0."): role for name, role in of.items() if name.startswith("encoder")}
    assert written_out == {
        "qk": "encoder.attention",
        "linear": "encoder.attention",
        "linear@1": "encoder.attention",
        "matmul": "encoder.attention",
        "matmul@1": "encoder.attention",
        "merge": "encoder.attention",
        "fc1": "encoder.feed_forward",
        "fc2": "encoder.feed_forward",
    }
    decoder = {name.removeprefix("decoder.1."): role for name, role in of.items() if name.startswith("decoder.1")}
    assert {role for name, role in decoder.items() if name.startswith("self_attn")} == {"decoder.self_attention"}
    assert {role for name, role in decoder.items() if name.startswith("multihead")} == {"decoder.cross_attention"}
    assert decoder["fc"] == "decoder.feed_forward"


def test_taps_are_batch_first(own: Found) -> None:
    for program in own[-1].programs.values():
        for role in ("decoder.cross_attention.output", "decoder.layer.output"):
            for layer in (0, 1):
                assert program.taps[role, layer].shape == (program.symbols.batch, QUERIES, WIDTH)
        assert {point.heads for point in program.queries.values()} == {HEADS}
        assert {point.layout for point in program.queries.values()} == {"bhld"}


def test_parts_of_fused_weights_are_weights(own: Found) -> None:
    model, captured, operations, _ = own
    weights = {
        operand.site
        for operation in operations["train"]
        for operand in operation.operands
        if operand.kind == "weight"
        and operation.module in ("encoder.0", "decoder.0.self_attn", "decoder.0.multihead_attn")
    }
    assert weights == {
        "encoder.0.value[0:8]",
        "encoder.0.value[8:16]",
        "decoder.0.self_attn.in_proj_weight",
        "decoder.0.self_attn.out_proj.weight",
        "decoder.0.multihead_attn.in_proj_weight[0]",
        "decoder.0.multihead_attn.in_proj_weight[1]",
        "decoder.0.multihead_attn.out_proj.weight",
    }
    sizes = parameter_sizes(captured.root, captured.programs)
    assert weights <= sizes.keys()
    assert "encoder.0.value" not in sizes
    assert sum(sizes.values()) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("decoder.layers.0.self_attn", "decoder.layers.0.self_attn"),
        ("decoder.layers.0.self_attn.inner.q", "decoder.layers.0.self_attn"),
        ("decoder.layers.0.mlp.fc1", "decoder.layers.0.mlp"),
        ("encoder.layers.1.deformable_layer.self_attn.value", "encoder.layers.1.deformable_layer.self_attn"),
        ("encoder.layers.1.deformable_layer.fc1", "encoder.layers.1.deformable_layer"),
        ("text.layer.0.attention.output.dense", "text.layer.0.attention"),
        ("decoder.layers.0", "decoder.layers.0"),
        ("head.fc", "head.fc"),
    ],
)
def test_the_part_of_a_layer(path: str, part: str) -> None:
    assert part_of_layer(path) == part
