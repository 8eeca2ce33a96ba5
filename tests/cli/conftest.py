from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _as_a_command_runs(surroundings: None) -> None:
    """Every test here calls whole commands."""
