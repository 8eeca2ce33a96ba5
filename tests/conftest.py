"""Captured detectors for the tests of every room behind ``graph``, each captured once; a finished run for commands'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import tiny_commands as tiny
from tests.specimens import REAL, SPECIMENS, Specimen
from tests.surroundings import command_surroundings

# No test is timed: the first example pays for imports and kernels, and other processes have the machine too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which captures, compiled kernels and synthetic sets of this run are kept, by all processes."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache of all"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRECIPE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def toy() -> Specimen:
    """A detector of a few layers, for what needs no real one."""
    return SPECIMENS["toy"]()


@pytest.fixture(scope="session")
def demo() -> Specimen:
    """The built-in demo detector: BatchNorm, scaled_dot_product_attention, queries chosen by top-k."""
    return SPECIMENS["demo"]()


@pytest.fixture(scope="session")
def detr() -> Specimen:
    """transformers' DETR: frozen BatchNorm written by hand, masks, dropout, heads that training calls twice."""
    return SPECIMENS["detr"]()


@pytest.fixture(scope="session")
def deimv2() -> Specimen:
    """transformers' DEIMv2: deformable cross-attention, another structure in training, tied box heads."""
    return SPECIMENS["deimv2"]()


@pytest.fixture(params=REAL)
def specimen(request: pytest.FixtureRequest) -> Specimen:
    """Each of them in turn."""
    found: Specimen = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def surroundings(cache: Path) -> Iterator[None]:
    """For tests that call whole commands."""
    with command_surroundings(cache):
        yield


@pytest.fixture(scope="session")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tiny.Finished:
    """The tiny recipe, applied."""
    folder = tmp_path_factory.mktemp("finished run")
    recipe = tiny.recipe(folder / "tiny.yaml")
    with command_surroundings(cache):
        answer = tiny.qrecipe("apply", recipe, "--output", folder / "run")
    return tiny.Finished(recipe, folder / "run", answer.fine)
