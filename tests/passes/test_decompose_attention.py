"""Attention written as its products is the same attention, with masks and with dropout."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from qrecipe.errors import CaptureError
from qrecipe.graph.captured import Captured
from qrecipe.passes.decompose_attention import masked_softmax
from tests.specimens import ALIGN, W4A4, a_recipe
from tests.toys import Attention, ToyDetector, captured_toy, picture, rewritten

SDPA = torch.ops.aten.scaled_dot_product_attention.default
ATTENTION_ONLY = {"attention": W4A4["attention"]}


def masks(batch: int = 2, queries: int = 3, keys: int = 5) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(3)
    allowed = torch.rand(batch, 1, queries, keys, generator=generator) > 0.5
    allowed[0, 0, 1] = False  # one query may look at nothing
    additive = torch.randn(batch, 1, queries, keys, generator=generator, dtype=torch.float64)
    shut = additive.masked_fill(~allowed, -torch.inf)
    return {
        "none": None,
        "boolean": allowed,
        "boolean per key": torch.rand(batch, 1, 1, keys, generator=generator) > 0.3,
        "nothing allowed": torch.zeros(batch, 1, queries, keys, dtype=torch.bool),
        "additive": additive,
        "additive, infinite": shut,
        "least number": torch.zeros_like(additive).masked_fill(~allowed, torch.finfo(torch.float64).min),
    }


@pytest.mark.parametrize("kind", list(masks()))
def test_masked_softmax_is_torchs_own_attention(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 4, n, 6, generator=generator, dtype=torch.float64) for n in (3, 5, 5))
    found = []
    for written_out in (False, True):
        leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        if written_out:
            weights = masked_softmax(leaves[0] @ leaves[1].mT * 6**-0.5, masks()[kind])
            out = weights @ leaves[2]
        else:
            # torch's other kernel has wrong gradients where a row holds nothing but the least number.
            with sdpa_kernel(SDPBackend.MATH):
                out = nn.functional.scaled_dot_product_attention(*leaves, attn_mask=masks()[kind])
        out.square().sum().backward()
        found.append([out, *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*found, strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


class Masked(nn.Module):
    """Self-attention over the pixels of which some are padding, by a mask computed inside."""

    def __init__(self, kind: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind = kind
        self.mix = nn.Linear(3, 8)
        self.attention = Attention(8, 2, dropout=dropout)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.mix(pixel_values.flatten(2).mT)
        mask = (pixel_values[:, 0] > 0.5).flatten(1)[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        if self.kind == "boolean":
            mask = mask & (pixel_values[:, 1] > 0.1).flatten(1)[:, None, :, None]  # whole rows are shut
        elif self.kind == "additive":
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -torch.inf)
        else:
            mask = None
        out: Tensor = self.attention(x, x, x, mask)
        return out


@cache
def captured_masked(kind: str, dropout: float) -> Captured:
    return captured_toy(Masked(kind, dropout))


@cache
def captured_detector(dropout: float = 0.0, eager: bool = False) -> Captured:
    return captured_toy(ToyDetector(dropout=dropout, eager=eager))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "boolean", "additive"])
def test_a_decomposed_graph_is_the_model(kind: str, dropout: float, mode: str) -> None:
    source = captured_masked(kind, dropout)
    graph, _, reports = rewritten(source, a_recipe(ATTENTION_ONLY))
    model = Masked(kind, dropout).double()
    model.load_state_dict(source.root.state_dict())
    assert reports["decompose_attention"].done == 2
    for module in (graph, model):
        module.train(mode == "train")
    inputs = picture(3, 5, 7)
    results = []
    for run in (lambda: graph.run(inputs).outputs, lambda: model(**inputs)):
        torch.manual_seed(5)
        results.append(run())
        results[-1].square().sum().backward()
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(graph.get_parameter(name).grad, parameter.grad, rtol=0, atol=1e-9)
    if dropout and mode == "train":
        assert not torch.allclose(results[0], model.eval()(**inputs))


def attentions(source: Captured, recipe: dict[str, object], **parts: object) -> dict[str, tuple[int, int]]:
    """Fused attentions and softmaxes of each graph."""
    graph, _, _ = rewritten(source, a_recipe(recipe, **parts))
    return {
        key: (
            sum(node.target is SDPA for node in program.graph.nodes),
            sum(node.target is masked_softmax for node in program.graph.nodes),
        )
        for key, program in graph.edited.programs.items()
    }


def test_only_what_needs_it_is_decomposed() -> None:
    assert attentions(captured_detector(), {}) == {"train": (2, 0), "eval": (2, 0)}
    assert attentions(captured_detector(), ATTENTION_ONLY) == {"train": (0, 2), "eval": (0, 2)}
    one = {**ATTENTION_ONLY, "rules": [{"match": "layers.0", "keep": "float"}]}
    assert attentions(captured_detector(), one) == {"train": (1, 1), "eval": (1, 1)}
    # Dropout must follow train() and eval(), and evaluation has none.
    assert attentions(captured_detector(0.1), {}) == {"train": (0, 2), "eval": (2, 0)}
    # Aligned queries report what becomes of the logits.
    assert attentions(captured_detector(), {}, align=ALIGN) == {"train": (0, 2), "eval": (0, 2)}


@pytest.mark.parametrize("eager", [False, True])
def test_each_operand_goes_through_its_own_quantizer(eager: bool) -> None:
    graph, plan, _ = rewritten(captured_detector(eager=eager), a_recipe(ATTENTION_ONLY))
    first, second = ("matmul", "matmul@1") if eager else ("attention", "attention")
    seen: dict[str, Tensor] = {}
    for name, module in graph.get_submodule("fake_quantizers").named_modules():
        if hasattr(module, "mode"):
            module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: args[0]}))
    graph.eval().run(picture(3, 8, 8))
    layer = "layers.0.cross_attention"
    shapes = {name.removeprefix(f"{layer}."): tuple(value.shape) for name, value in seen.items() if layer in name}
    assert shapes == {
        f"{first}.query": (3, 2, 4, 4),
        f"{first}.key": (3, 2, 4, 16) if eager else (3, 2, 16, 4),
        f"{second}.value": (3, 2, 16, 4),
        f"{second}.probabilities": (3, 2, 4, 16),
    }
    weights = seen[f"{layer}.{second}.probabilities"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4, dtype=torch.float64))
    assert len(plan.quantizers) == 8


class Causal(Masked):
    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.mix(pixel_values.flatten(2).mT)[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)


def test_causal_attention_is_refused_unless_it_stays_real() -> None:
    captured = captured_toy(Causal("none"))
    with pytest.raises(CaptureError, match="causal or grouped-query attention cannot be quantized"):
        rewritten(captured, a_recipe(ATTENTION_ONLY))
    rewritten(captured, a_recipe({**ATTENTION_ONLY, "rules": [{"match": "op:attention", "keep": "float"}]}))
