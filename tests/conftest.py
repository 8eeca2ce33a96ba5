"""Captured detectors for the tests of every room behind ``graph``, each captured once; a finished run for commands'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_commands as tiny
from tests.specimens import REAL, SPECIMENS, Specimen
from tests.surroundings import command_surroundings


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Captures and synthetic sets are kept in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRECIPE_CACHE", str(tmp_path_factory.mktemp("cache of all")))
        yield


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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the synthetic sets that tests of commands share."""
    return tmp_path_factory.mktemp("cache")


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
