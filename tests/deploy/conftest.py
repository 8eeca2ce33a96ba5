"""One tiny run's student, exported in both modes, once."""

from __future__ import annotations

import json

import pytest

import qrecipe
from tests import tiny_commands as tiny
from tests.deploy.exported import Files, translated_once
from tests.tiny_commands import Finished


@pytest.fixture(scope="session")
def files(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The tiny run's student in both modes."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {mode: folder / f"{mode}.onnx" for mode in ("integer", "packed")}
    with translated_once():
        said = {
            mode: tiny.qrecipe("export", finished.folder, "--to", "onnx", "--out", path, "--mode", mode).fine
            for mode, path in paths.items()
        }
        told = json.loads(tiny.qrecipe("export", finished.folder, "--out", folder / "again.onnx", "--json").out)
    return Files(qrecipe.load(finished.folder / "student"), paths, said, told)
