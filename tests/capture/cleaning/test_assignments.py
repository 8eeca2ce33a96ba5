"""Writes into slices become values: the graph before and after, its outputs and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from qrecipe.capture import capture
from tests.toys import call, captured_toy, picture, running

aten = torch.ops.aten


class Filled(nn.Module):
    """A head whose result fills part of a larger tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        scores = self.head(pixel_values.flatten(2).transpose(1, 2))
        return {"logits": self.fill(scores)}

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_full((*scores.shape[:-1], 9), -1.0)
        larger[..., :5] = scores
        return larger


class Twice(Filled):
    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 10))
        larger[..., :5] = scores
        larger[..., 5:] = scores * 2
        return larger * 3


class InRows(Filled):
    """A slice of a selection."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 9))
        larger[0, :, 2:7] = scores[1]
        return larger


class Cast(Filled):
    """What is copied has another type than where it goes."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = torch.zeros((*scores.shape[:-1], 9), dtype=torch.float32)
        larger[..., :5] = scores
        return larger


class ReadBefore(Filled):
    """A view of it is taken first, and sees what is written later."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 9))
        view = larger[..., 1:]
        larger[..., :5] = scores
        return view * 2


class Spread(Filled):
    """One column for the whole slice."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 9))
        larger[..., :5].copy_(scores[..., :1])
        return larger


class OfTheInput(Filled):
    """The input itself is written into, after a copy was made of it."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.clone()
        larger[..., :2] = scores[..., 2:4]
        return larger


class OfAView(Filled):
    """The tensor behind the view must get what is written."""

    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 10))
        larger.view(*scores.shape[:-1], 2, 5)[..., 0, :] = scores
        return larger


class OfATranspose(Filled):
    def fill(self, scores: Tensor) -> Tensor:
        larger = scores.new_zeros((*scores.shape[:-1], 9))
        larger.transpose(1, 2)[:, :5] = scores.transpose(1, 2)
        return larger


class OfAReadView(Filled):
    def fill(self, scores: Tensor) -> Tensor:
        larger = scores * 1.0
        view = larger.view(scores.shape[0], -1, 5)
        view[..., :2] = scores[..., 2:4]
        return larger + view


class OneIntoAnother(Filled):
    """What is copied is itself written into afterwards."""

    def fill(self, scores: Tensor) -> Tensor:
        part = scores.new_zeros(scores.shape)
        part[..., :2] = scores[..., :2]
        larger = torch.zeros((*scores.shape[:-1], 9), dtype=torch.float32)
        larger[..., :5] = part
        part[..., 2:] = scores[..., 2:]
        return larger + torch.cat((part, part[..., :4]), -1)


def targets(graph: fx.Graph) -> list[object]:
    return [node.target for node in graph.nodes]


@pytest.mark.parametrize("kind", [Filled, Twice, InRows, Cast, OfTheInput])
def test_a_write_becomes_a_value(kind: type[Filled]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    found = captured_toy(model)
    for program in found.programs.values():
        assert aten.copy_.default not in targets(program.graph)
        assert aten.slice_scatter.default in targets(program.graph)
    check(model, found)


@pytest.mark.parametrize("kind", [ReadBefore, Spread, OfAView, OfATranspose, OfAReadView, OneIntoAnother])
def test_what_would_change_its_meaning_is_left(kind: type[Filled]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    found = captured_toy(model)
    assert aten.copy_.default in targets(found.programs["eval"].graph)
    check(model, found)


def check(model: nn.Module, found: object) -> None:
    """Outputs and gradients of the graph are the model's, at another size too."""
    graph = running(found).eval()  # type: ignore[arg-type]
    for inputs in (picture(), picture(3, 8, 10, seed=1)):
        mine, theirs = graph.run(inputs).outputs["logits"], model(**inputs)["logits"]
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
        slopes = [
            torch.autograd.grad(
                (value * torch.arange(value.shape[-1])).square().sum(), part.get_parameter("head.weight")
            )
            for value, part in ((mine, graph), (theirs, model))
        ]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=1e-12)


def test_the_head_is_seen_to_lead_to_the_logits() -> None:
    from qrecipe.graph.flow import upstream
    from qrecipe.structure.outputs import logits_and_boxes

    found = capture(Filled().double(), call, picture())
    (logits,), _ = logits_and_boxes(found.programs["eval"])
    assert aten.linear.default in {node.target for node in upstream([logits], set())}
