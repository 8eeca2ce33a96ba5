"""The maps that leave the backbone, and the one that the decoder reads, against what hooks see in the eager model."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from qrecipe.errors import PlanErrors
from qrecipe.vocabulary import BACKBONE_OUTPUT, ENCODER_OUTPUT, MAPS
from tests.passes.test_expose_taps import tapped, watching
from tests.specimens import Specimen, a_recipe


@dataclass(frozen=True)
class Expected:
    """A module whose input (0) or output (1) the backbone gives, and one whose output the decoder reads."""

    given: tuple[str, int]
    read: str


EXPECTED = {
    "demo": Expected(("backbone", 1), "encoder.0"),
    "detr": Expected(("model.input_projection", 0), "model.encoder.layers.0"),
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", EXPECTED)
def test_they_are_what_the_modules_give(name: str, mode: str, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    expected = EXPECTED[name]
    graph, captured = tapped(specimen.captured)
    keys = [key for key in captured.programs["train"].taps if key[0] in MAPS]
    assert keys == [(BACKBONE_OUTPUT, 0), (ENCODER_OUTPUT, 0)]
    path, end = expected.given
    inputs, eager = specimen.inputs(3, 32, 160), specimen.eager().train(mode == "train")
    with watching(eager, path, expected.read) as seen:
        torch.manual_seed(0)
        specimen.family.forward(eager, inputs)
    torch.manual_seed(0)
    taps = graph.train(mode == "train").run(inputs, taps=True).taps
    assert torch.equal(taps[f"{BACKBONE_OUTPUT}.0"], seen[path][end])
    assert torch.equal(taps[f"{ENCODER_OUTPUT}.0"], seen[expected.read][1])


def test_of_a_decoder_that_reads_several_levels_at_once(deimv2: Specimen) -> None:
    """Its maps become tokens, one level's behind the other's; the backbone's have three strides at most."""
    structure = deimv2.original.structure({})
    for program in structure.programs.values():
        assert program.symbols.text(program.taps[ENCODER_OUTPUT, 0].shape) == "batchx*x16"
        assert program.symbols.text(program.taps[BACKBONE_OUTPUT, 0].shape) == "batchx32x*x*"


def test_a_model_without_one_is_told_what_it_has(toy: Specimen) -> None:
    """Where no decoder is known, nothing tells what it reads."""
    roles = {"decoder.cross_attention": "class_head"}
    targets = [{"at": ENCODER_OUTPUT, "loss": "relative"}]
    with pytest.raises(PlanErrors, match=r"no encoder.output that .* \(it has .*head.class, head.box\)"):
        toy.student(a_recipe(targets=targets, roles=roles))
