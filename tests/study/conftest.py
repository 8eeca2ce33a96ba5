"""A sweep of two tiny runs, carried out once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_commands as tiny
from tests.study.tiny_sweeps import Carried, write_sweep
from tests.surroundings import command_surroundings


@pytest.fixture(scope="package")
def carried(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    """One variant with two seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    file = write_sweep(folder, seeds=[0, 1])
    with command_surroundings(cache):
        answer = tiny.qrecipe("sweep", file, "--output", folder / "runs")
    return Carried(file, folder / "runs", answer.fine)
