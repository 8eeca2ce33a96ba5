"""Blocks that one of another block writes into are not computed again; the others are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qrecipe.graph.graph_model import GraphModel
from qrecipe.graph.program import mutates
from qrecipe.student.checkpointing import InBlocks, function_maker
from tests.toys import captured_toy, picture


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
