"""A learned share of an alignment."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from qrecipe.distill import QueryAlignment
from tests.distill.test_alignment import HEADS, LAYOUTS, PER, WIDTH, from_layout, queries, to_layout


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("per", PER)
def test_a_blend_begins_with_the_query_and_learns_its_share(
    per: Literal["head", "query"], layout: Literal["bhld", "bld"]
) -> None:
    blended, plain = (QueryAlignment("a", HEADS, WIDTH, per, layout, blended).double() for blended in (True, False))
    query = to_layout(queries(4), layout)
    for one in (blended, plain):
        one.mode = "observe"
        one(query)
        one.initialise("fit")
        one.mode = "on"
    assert blended.blend is not None
    assert blended.blend.shape == ((HEADS if per == "head" else 1), 1)
    assert torch.equal(blended(query), query)
    assert blended.residual == 0
    assert plain.blend is None
    assert set(plain.state_dict()) == {"gamma", "beta"}
    loss = (blended(query) * torch.randn_like(query)).sum()
    loss.backward()
    assert blended.blend.grad is not None
    assert bool((blended.blend.grad != 0).all())
    with torch.no_grad():
        blended.blend.copy_(torch.linspace(0.2, 0.7, len(blended.blend))[:, None])
    split, aligned = from_layout(query, layout), from_layout(plain(query), layout)
    found = from_layout(blended(query), layout)
    for head in range(HEADS):
        share = blended.blend[head if per == "head" else 0].item()
        expected = split[:, :, head] + share * (aligned[:, :, head] - split[:, :, head])
        torch.testing.assert_close(found[:, :, head], expected)
    blended.initialise("fit")
    error, energy = (found - split).square().sum(), split.square().sum()
    assert blended.residual == pytest.approx((error / energy).item())
