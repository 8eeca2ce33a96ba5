"""What is tapped is what hooks see in the eager model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.passes import run_passes
from qrecipe.passes.expose_taps import expose_taps
from qrecipe.planning import PlannedTap, build_plan
from tests.specimens import TARGETS, Specimen, a_recipe
from tests.toys import ToyDetector, captured_toy, marked, picture

CROSS = "decoder.cross_attention"


def tapped(captured: Captured) -> tuple[GraphModel, Captured]:
    """A graph that returns every tap there is."""
    copied, structure = marked(captured)
    taps = tuple(PlannedTap(f"{role}.{layer}", role, layer, 0) for role, layer in copied.programs["train"].taps)
    expose_taps(copied, replace(build_plan(structure, a_recipe(), (64, 96)), taps=taps))
    return GraphModel(copied.root, copied.programs), copied


@contextmanager
def watching(model: nn.Module, *paths: str) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """First input and (first) output of each module's last call, by path."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for path in paths:

        def keep(
            _: nn.Module, args: tuple[Tensor, ...], options: dict[str, Tensor], out: Tensor, path: str = path
        ) -> None:
            given = args[0] if args else options["hidden_states"]
            seen[path] = (given, out[0] if isinstance(out, tuple) else out)

        hooks.append(model.get_submodule(path).register_forward_hook(keep, with_kwargs=True))
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="module", params=["train", "eval"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(graph: GraphModel, specimen: Specimen, mode: str, paths: list[str]) -> tuple[dict, dict]:  # type: ignore[type-arg]
    """Taps of the graph and what hooks saw, with the same random numbers."""
    inputs, eager = specimen.inputs(3, 32, 160), specimen.eager().train(mode == "train")
    with watching(eager, *paths) as seen:
        torch.manual_seed(0)
        specimen.family.forward(eager, inputs)
    torch.manual_seed(0)
    return graph.train(mode == "train").run(inputs, taps=True).taps, seen


def test_dot_product_attention(mode: str, detr: Specimen) -> None:
    graph, captured = tapped(detr.captured)
    layers = [f"model.decoder.layers.{index}" for index in range(2)]
    own = [f"{layer}.encoder_attn.{name}" for layer in layers for name in ("q_proj", "k_proj", "o_proj")]
    taps, seen = run(graph, detr, mode, [*own, *layers])
    for index, layer in enumerate(layers):
        query = taps[f"{CROSS}.query.{index}"]
        assert query.shape == (3, 2, 6, 8)
        assert torch.equal(query.transpose(1, 2).flatten(2), seen[f"{layer}.encoder_attn.q_proj"][1])
        key = taps[f"{CROSS}.key.{index}"]
        assert torch.equal(key.transpose(1, 2).flatten(2), seen[f"{layer}.encoder_attn.k_proj"][1])
        assert torch.equal(taps[f"{CROSS}.output.{index}"], seen[f"{layer}.encoder_attn.o_proj"][0])
        assert torch.equal(taps[f"decoder.layer.output.{index}"], seen[layer][1])
    points = captured.programs["train"].queries
    assert {layer: (one.layout, one.heads, one.head_dim, len(one.users)) for layer, one in points.items()} == {
        0: ("bhld", 2, 8, 1),
        1: ("bhld", 2, 8, 1),
    }


def test_deformable_attention(mode: str, deimv2: Specimen) -> None:
    graph, captured = tapped(deimv2.captured)
    layers = [f"model.decoder.layers.{index}" for index in range(2)]
    own = [
        f"{layer}.encoder_attn{name}" for layer in layers for name in ("", ".sampling_offsets", ".attention_weights")
    ]
    taps, seen = run(graph, deimv2, mode, [*own, *layers])
    for index, layer in enumerate(layers):
        query = taps[f"{CROSS}.query.{index}"]
        for name in ("sampling_offsets", "attention_weights"):
            assert torch.equal(query, seen[f"{layer}.encoder_attn.{name}"][0])
        logits = taps[f"{CROSS}.logits.{index}"]
        assert torch.equal(logits.flatten(2), seen[f"{layer}.encoder_attn.attention_weights"][1])
        assert torch.equal(taps[f"{CROSS}.output.{index}"], seen[f"{layer}.encoder_attn"][1])
        assert torch.equal(taps[f"decoder.layer.output.{index}"], seen[layer][1])
    points = captured.programs["eval"].queries
    assert {layer: (one.layout, one.heads, one.head_dim, len(one.users)) for layer, one in points.items()} == {
        0: ("bld", 2, 8, 2),
        1: ("bld", 2, 8, 2),
    }


def test_the_demo_detector(mode: str, demo: Specimen) -> None:
    graph, _ = tapped(demo.captured)
    own = [f"decoder.{index}.cross_attention.{name}" for index in range(2) for name in ("q_proj", "out_proj")]
    taps, seen = run(graph, demo, mode, [*own, "decoder.0", "decoder.1"])
    for index in range(2):
        query = taps[f"{CROSS}.query.{index}"]
        assert torch.equal(query.transpose(1, 2).flatten(2), seen[f"decoder.{index}.cross_attention.q_proj"][1])
        assert torch.equal(taps[f"{CROSS}.output.{index}"], seen[f"decoder.{index}.cross_attention.out_proj"][0])
        assert torch.equal(taps[f"decoder.layer.output.{index}"], seen[f"decoder.{index}"][1])


def test_attention_written_out(mode: str) -> None:
    model = ToyDetector(eager=True)
    graph, _ = tapped(captured_toy(model))
    inputs = picture(3, 12, 10)
    model.train(mode == "train")
    with watching(model, "layers.1.cross_attention.q_proj", "layers.1.cross_attention.out_proj") as seen:
        model(**inputs)
    taps = graph.train(mode == "train").run(inputs, taps=True).taps
    assert torch.equal(taps[f"{CROSS}.output.1"], seen["layers.1.cross_attention.out_proj"][0])
    query = taps[f"{CROSS}.query.1"]
    assert torch.equal(query.transpose(1, 2).flatten(2), seen["layers.1.cross_attention.q_proj"][1])
    # The product itself is there already, so its logits can be tapped (before their scaling).
    logits = taps[f"{CROSS}.logits.1"]
    assert logits.shape == (3, 2, 4, 30)


def test_a_planned_tap_that_a_program_does_not_have_is_a_fault(toy: Specimen) -> None:
    """What is counted are the outputs of the graphs, held against the plan."""
    copied, structure = marked(toy.captured)
    plan = build_plan(structure, a_recipe(targets=TARGETS), (16, 24))
    del copied.programs["eval"].taps["decoder.cross_attention.output", 1]
    with pytest.raises(AssertionError, match="expose_taps: 1 values tapped, the plan expects 2"):
        run_passes(copied, plan)
