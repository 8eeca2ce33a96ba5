"""Operations have one name in both graphs, and calls of a shared layer are told apart by what they compute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.errors import CaptureError
from qrecipe.graph.captured import Captured
from qrecipe.structure.operations import Operation, canonical_parameters, find_operations
from tests.specimens import Specimen
from tests.toys import Attention, ToyDetector, captured_toy

TRAIN_ONLY = {
    "demo": {"class_heads.0"},
    "detr": {"class_labels_classifier@1", *(f"bbox_predictor.layers.{index}@1" for index in range(3))},
    "deimv2": {
        "model.decoder.class_embed.0",
        "model.decoder.lqe_layers.0.reg_conf.layers.0",
        "model.decoder.lqe_layers.0.reg_conf.layers.1",
        "model.decoder.lqe_layers.0.add",
        "model.cat@1",  # denoising queries and the model's own
    },
}


@pytest.mark.parametrize("name", list(TRAIN_ONLY))
def test_names_are_those_of_both_graphs(name: str, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    found = find_operations(specimen.captured.copy())
    train, evaluation = ([operation.name for operation in found[key]] for key in ("train", "eval"))
    assert len(train) == len(set(train))
    assert len(evaluation) == len(set(evaluation)) > 60
    assert set(train) - set(evaluation) == TRAIN_ONLY[name]
    assert not set(evaluation) - set(train)


def test_the_same_name_is_the_same_operation(specimen: Specimen) -> None:
    found = find_operations(specimen.captured.copy())
    train = {operation.name: operation for operation in found["train"]}
    for operation in found["eval"]:
        other = train[operation.name]
        assert (operation.module, operation.operator, operation.operands) == (
            other.module,
            other.operator,
            other.operands,
        )
        assert _own_queries(operation.node.meta["val"].shape[1:]) == _own_queries(other.node.meta["val"].shape[1:])


def _own_queries(shape: Sequence[int | torch.SymInt]) -> list[str]:
    """Without those of a denoising branch, which only training has: ``s10 + 8`` is 8."""
    return [re.sub(r"^s\d+ \+ ", "", str(extent)) for extent in shape]


def test_every_weighted_layer_is_found(specimen: Specimen) -> None:
    found = find_operations(specimen.captured.copy())["train"]
    modules = dict(specimen.model.named_modules(remove_duplicate=False))
    weights = {module.weight for module in modules.values() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert {modules[one.module].weight for one in found if one.operator in ("linear", "conv")} == weights


def operations(model: nn.Module) -> tuple[dict[str, Operation], dict[str, Operation], Captured]:
    captured = captured_toy(model)
    found = find_operations(captured)
    train, evaluation = ({operation.name: operation for operation in found[key]} for key in ("train", "eval"))
    return train, evaluation, captured


class SharedHead(nn.Module):
    """Training reads every layer with one head; evaluation reads the layers named in ``read``."""

    def __init__(self, read: tuple[int, ...], dropout: float = 0.5) -> None:
        super().__init__()
        self.read = read
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(3, 7)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        x, out = pixel_values.transpose(1, 3), []
        for index, layer in enumerate(self.layers):
            # Sizes that are found in another way in each mode, and a copy in one of them, are the same thing.
            size = pixel_values if self.training else x
            rows = x.shape[2] * 2 // 2 if self.training else x.shape[2]
            x = self.drop(layer(x).clone() if self.training else layer(x)).view(size.shape[0], -1, rows, 3)
            if self.training or index in self.read:
                out.append(self.head(x))
        return out


@pytest.mark.parametrize("read", [(2,), (1,), (0, 2)])
def test_calls_of_a_shared_head_are_matched_by_what_they_compute(read: tuple[int, ...]) -> None:
    train, evaluation, _ = operations(SharedHead(read))
    names = ["head", "head@1", "head@2"]
    assert [name for name in train if name.startswith("head")] == names
    assert [name for name in evaluation if name.startswith("head")] == [names[index] for index in read]
    sites = {operation.operands[1].site for operation in train.values() if operation.module == "head"}
    assert sites == {"head.weight"}
    assert train["head@1"].operands[0].site == "head@1.input"


class AtSizes(nn.Module):
    """One head at several sizes of the image, of which evaluation leaves the largest out."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        height, width = pixel_values.shape[-2:]
        shares = (1, 2, 4) if self.training else (2, 4)
        return [self.head(F.interpolate(pixel_values, size=(height // k, width // k))) for k in shares]


def test_calls_that_differ_by_a_size_are_told_apart() -> None:
    train, evaluation, _ = operations(AtSizes())
    assert [name for name in train if name.startswith("head")] == ["head", "head@1", "head@2"]
    assert [name for name in evaluation if name.startswith("head")] == ["head@1", "head@2"]


class OtherInEval(SharedHead):
    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        return super().forward(pixel_values if self.training else pixel_values * 2)


def test_a_call_without_a_counterpart_is_an_error() -> None:
    with pytest.raises(CaptureError, match="head: a call in the evaluation graph matches none of the 3 calls"):
        operations(OtherInEval((2,)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.bank = nn.Parameter(torch.randn(5, 3))

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = pixel_values.transpose(1, 3)
        return F.linear(self.second(self.first(x)), self.bank)


def test_tied_parameters_share_a_site() -> None:
    train, _, captured = operations(Tied())
    assert train["first"].operands[1].site == train["second"].operands[1].site == "first.weight"
    assert train["linear"].operands[1].site == "bank"
    assert canonical_parameters(captured.root)["second.weight"] == "first.weight"


class Everything(nn.Module):
    """One of each operator, and operations of the same kind that are no features."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 6, 2, stride=2)
        self.line = nn.Conv1d(6, 6, 1)
        self.eager, self.fused = Attention(6, 2, dropout=0.2, eager=True), Attention(6, 2)
        self.steps = nn.Parameter(torch.arange(6.0), requires_grad=False)

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        x = self.up(pixel_values)
        x = self.line(x.flatten(2)).transpose(1, 2)[:, :5]
        x = torch.cat((self.eager(x, x, x), self.fused(x, x, x)), 1)
        expected = F.linear(x.softmax(-1), self.steps)  # an expected value, as of D-FINE's box corners
        boxes = torch.cat((x[..., :2] + x[..., 2:4], x[..., :2]), -1)
        return {"x": x + x.flip(1), "gram": x @ x.transpose(1, 2), "pairs": torch.bmm(x, x.mT), "y": (expected, boxes)}


def test_operators_and_operands() -> None:
    train, evaluation, _ = operations(Everything())
    found = {name: (operation.operator, [o.name for o in operation.operands]) for name, operation in train.items()}
    kinds = {name: {o.kind for o in operation.operands} for name, operation in train.items()}
    linear = {
        f"{kind}.{name}": ("linear", ["input", "weight"])
        for kind in ("eager", "fused")
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    }
    assert found == {
        "up": ("conv_transpose", ["input", "weight"]),
        "line": ("conv", ["input", "weight"]),
        **linear,
        "eager.matmul": ("matmul", ["query", "key"]),
        "eager.matmul@1": ("matmul", ["probabilities", "value"]),
        "fused.attention": ("attention", ["query", "key", "value", "probabilities"]),
        "cat": ("cat", ["input0", "input1"]),
        "add": ("add", ["left", "right"]),
        "matmul": ("matmul", ["left", "right"]),
        "matmul@1": ("matmul", ["left", "right"]),
    }
    assert {name for name, kind in kinds.items() if "attention" in kind} == {
        "eager.matmul",
        "eager.matmul@1",
        "fused.attention",
    }
    assert kinds["up"] == {"activation", "weight"}
    assert kinds["matmul"] == kinds["cat"] == kinds["add"] == {"activation"}
    assert set(evaluation) == set(train)


def test_deformable_attention_is_a_weighted_sum(deimv2: Specimen) -> None:
    found = {one.name: one for one in find_operations(deimv2.captured.copy())["eval"]}
    one = found["model.decoder.layers.1.encoder_attn.weighted_sum"]
    assert {operand.name for operand in one.operands} == {"value", "probabilities"}
    values = one.node.args[next(o.slot for o in one.operands if o.name == "value")]
    assert values.meta["val"].shape[1:] == one.node.meta["val"].shape[1:]
    assert sum(one.operator == "weighted_sum" for one in found.values()) == 2


def test_toy_heads_are_called_twice_in_training() -> None:
    train, evaluation, _ = operations(ToyDetector())
    assert set(train) - set(evaluation) == {"class_head", "box_head"}
    assert {"class_head@1", "box_head@1"} <= set(evaluation)
