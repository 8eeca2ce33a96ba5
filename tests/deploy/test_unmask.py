"""Masks that mask nothing leave the graph, and nothing else changes; a mask that may mask something stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from qrecipe.deploy.unmask import unmask
from qrecipe.passes.decompose_attention import masked_softmax
from tests.specimens import W4A4, Specimen, a_recipe

aten = torch.ops.aten


class Masked(nn.Module):
    """A mask at another size, sliced and looked up as transformers does; and masks of other forms."""

    def forward(self, scores: Tensor, mask: Tensor) -> Any:
        small = nn.functional.interpolate(mask[None].float(), size=(3, 4)).to(torch.bool)[0]
        flat = small.flatten(1)
        rows = torch.arange(flat.shape[0])[:, None]
        allowed = (rows >= 0) & flat[rows, torch.arange(12)[None]]
        shut = scores.masked_fill(~allowed[:, None], -torch.inf)
        chosen = torch.where(allowed[:, None], scores, torch.zeros_like(scores))
        late = scores.masked_fill(torch.arange(12) >= 3, 0.0)  # masks, whatever the images are
        return shut.softmax(-1), chosen, late, scores + mask.float().mean()


def exported() -> fx.GraphModule:
    given = (torch.rand(2, 5, 12), torch.ones(2, 6, 8, dtype=torch.int64))
    module = torch.export.export(Masked(), given).module()
    assert isinstance(module, fx.GraphModule)
    return module


def test_what_masks_nothing_goes() -> None:
    module = exported()
    scores, mask = torch.rand(2, 5, 12), torch.ones(2, 6, 8, dtype=torch.int64)
    expected = module(scores, mask)
    names = {node.name for node in module.graph.nodes if node.op == "placeholder"}
    assert "mask" in names
    assert unmask(module.graph, {"mask": 1.0}) == 2
    module.graph.eliminate_dead_code()
    module.recompile()
    for found, own in zip(module(scores, mask), expected, strict=True):
        assert torch.equal(found, own)
    left = [node.target for node in module.graph.nodes]
    assert aten.where.self not in left
    assert sum(target in (aten.masked_fill.Scalar, aten.masked_fill.Tensor) for target in left) == 1


@pytest.mark.parametrize("inputs", [{}, {"mask": 0.0}])
def test_what_may_mask_stays(inputs: dict[str, float]) -> None:
    module = exported()
    unmask(module.graph, inputs)
    module.recompile()
    scores, mask = torch.rand(2, 5, 12), torch.zeros(2, 6, 8, dtype=torch.int64)
    for found, own in zip(module(scores, mask), exported()(scores, mask), strict=True):
        assert torch.equal(found, own) or found.isnan().all()


def test_a_detectors_attention_loses_its_masks(detr: Specimen) -> None:
    student = detr.student(a_recipe(W4A4)).eval()
    deployable = student.deployable()
    softmaxes = [node for node in deployable.graph.nodes if node.target is masked_softmax]
    assert any(node.args[1] is not None for node in softmaxes)
    unmask(deployable.graph, {"pixel_mask": 1.0})
    assert all(node.args[1] is None for node in softmaxes)
