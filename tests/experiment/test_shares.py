"""A batch with fewer images than processes is refused, at the key that says it."""

from __future__ import annotations

import pytest

from qrecipe.errors import RecipeError
from qrecipe.experiment import shares
from qrecipe.experiment.shares import require_shares
from tests.specimens import a_recipe


def test_every_process_has_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "count", lambda: 8)
    require_shares(a_recipe(), ("train", "batch_size"), 8)
    key = ("quantize", "reconstruct", "whole", "batch_size")
    with pytest.raises(RecipeError, match=r"quantize\.reconstruct\.whole\.batch_size: 8 processes share a batch of 4"):
        require_shares(a_recipe(), key, 4)
