"""Blocks that one of another block writes into are not computed again; the others are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.graph.graph_model import GraphModel
from qrecipe.graph.program import mutates
from qrecipe.student.checkpointing import InBlocks, function_maker
from tests.toys import captured_toy, picture


class OwnNorm(nn.Module):
    """A normalisation over its own statistics, which no module of torch holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("variance", torch.ones(4))

    def forward(self, pixel_values: Tensor) -> Tensor:
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        found = F.batch_norm(self.first(pixel_values), mean, variance, training=self.training, momentum=0.1)
        out: Tensor = self.third(self.second(found.relu()).relu())
        return out


def chain() -> nn.Sequential:
    return nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(3, 3), nn.Tanh())][:-1])


class Writing(nn.Module):
    """What ``first`` gives is read by ``second``, and then changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = chain(), chain(), chain(), chain()

    def forward(self, pixel_values: Tensor) -> Tensor:
        states = self.first(pixel_values.permute(0, 2, 3, 1))
        other = self.second(states + 1)
        states.view(-1).add_(other.reshape(-1))
        out: Tensor = self.last(self.third(states).sigmoid())
        return out


def test_blocks_that_are_written_into_from_elsewhere_run_once() -> None:
    torch.manual_seed(0)
    captured = captured_toy(Writing())
    assert sum(map(mutates, captured.programs["train"].graph.nodes)) == 1
    found = []
    for on in (False, True):
        copied = captured.copy()
        model = GraphModel(copied.root, copied.programs, function_maker(checkpointing=on)).train()
        model.run(picture(seed=4)).outputs.square().sum().backward()
        found.append([torch.as_tensor(parameter.grad) for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    blocks = model.programs["train"].plain
    assert isinstance(blocks, InBlocks)
    assert [block.again for block in blocks.blocks] == [True, False, False, True]


def test_statistics_that_a_norm_takes_as_operands_are_counted_once() -> None:
    torch.manual_seed(0)
    captured = captured_toy(OwnNorm())
    found = []
    for on in (False, True):
        copied = captured.copy()
        model = GraphModel(copied.root, copied.programs, function_maker(checkpointing=on)).train()
        model.run(picture(seed=4)).outputs.square().sum().backward()
        found.append({name: value.clone() for name, value in model.named_buffers()})
    assert not torch.equal(found[0]["variance"], torch.ones(4))
    assert all(torch.equal(found[0][name], found[1][name]) for name in ("mean", "variance"))
