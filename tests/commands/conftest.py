"""One finished tiny run for all tests of the commands, and captures that are made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_commands as tiny
import torch
from torch import nn

from qrecipe.commands import workshop
from qrecipe.student import Source, capture_source, store
from qrecipe.train.denormals import are_flushed, set_flushed

_SOURCES: dict[str, Source] = {}


@dataclass(frozen=True)
class Finished:
    """A run that went through: its recipe, its folder, and what it printed."""

    recipe: Path
    folder: Path
    out: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    @property
    def phases(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "phases.json").read_text())
        return found


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The synthetic sets go into a folder of the tests, and torch is left as it was."""
    flushed, state = are_flushed(), torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRECIPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    set_flushed(flushed)
    torch.set_rng_state(state)


@pytest.fixture(scope="session")
def finished(_surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny recipe, applied; nothing is replaced here."""
    folder = tmp_path_factory.mktemp("finished run")
    recipe = tiny.recipe(folder / "tiny.yaml")
    answer = tiny.qrecipe("apply", recipe, "--output", folder / "run")
    return Finished(recipe, folder / "run", answer.fine)


@pytest.fixture(autouse=True)
def _captured_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capturing is most of a tiny command's time; the same model is captured once for all tests.

    A saved student's weights are loaded after its capture, so there the structure alone tells models apart.
    """

    def once(model: nn.Module, family: Any, image_input: Any, example: Any = None, label_map: Any = None) -> Source:
        return _source(model, family, image_input, label_map, weights=True)

    def structure(model: nn.Module, family: Any, image_input: Any, label_map: Any = None) -> Source:
        return _source(model, family, image_input, label_map, weights=False)

    monkeypatch.setattr(workshop, "capture_source", once)
    monkeypatch.setattr(store, "capture_source", structure)


def _source(model: nn.Module, family: Any, image_input: Any, label_map: Any, weights: bool) -> Source:
    digest = hashlib.sha256(repr((model, vars(family)["loss_spec"], image_input, label_map, weights)).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if weights:
            digest.update(value.numpy().tobytes())
    key = digest.hexdigest()
    if key not in _SOURCES:
        _SOURCES[key] = capture_source(model, family, image_input, label_map=label_map)
    return _SOURCES[key]
