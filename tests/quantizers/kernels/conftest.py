from __future__ import annotations

from collections.abc import Iterator

import pytest

from qrecipe.quantizers.kernels import fused


@pytest.fixture(scope="module")
def fused_at_any_size() -> Iterator[None]:
    """Small tensors too, whatever the environment says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "SMALLEST", 0)
        patch.delenv("QRECIPE_FUSED", raising=False)
        yield
