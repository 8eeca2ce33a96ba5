"""Captured detectors for the tests of every room behind ``graph``: each is captured once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "models"))  # tiny_detectors, wherever a test run starts

from specimens import REAL, SPECIMENS, Specimen


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
