"""A teacher whose head has just been re-initialised is no teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from qrecipe.experiment.events import Event, ModelBuilt
from qrecipe.experiment.workspace import Workspace
from qrecipe.models.demo import DemoDetector
from qrecipe.recipe import recipe_from_mapping

DEMO = {"width": 8, "encoder_layers": 1, "decoder_layers": 2, "queries": 4, "heads": 2}
WEIGHT = {"weight": {"bits": 4, "quantizer": "lsq", "per": "channel"}}


@pytest.mark.parametrize(
    ("stored", "quantize", "warned"), [(5, WEIGHT, True), (5, {}, False), (3, WEIGHT, False), (3, {}, False)]
)
def test_it_is_said_where_something_is_compared_with_it(
    stored: int, quantize: dict[str, Any], warned: bool, tmp_path: Path
) -> None:
    file = tmp_path / "w.safetensors"
    save_file(DemoDetector(stored, **DEMO).state_dict(), file)  # type: ignore[arg-type]
    model = {"architecture": "demo", "config": DEMO, "weights": {"file": str(file)}}
    recipe = recipe_from_mapping({"version": 1, "model": model, "quantize": quantize})
    heard: list[Event] = []
    workspace = Workspace(recipe, ("train",), heard.append)
    vars(workspace)["categories"] = [(1, "dog"), (3, "cat"), (7, "bird")]
    assert bool(workspace.built.fresh) == (stored == 5)
    (built,) = [event for event in heard if isinstance(event, ModelBuilt)]
    assert sum("this is no teacher" in note for note in built.notes) == warned
