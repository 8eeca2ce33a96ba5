"""Histograms of the decoder's cross-attention queries: teacher's and student's, before and after alignment.

Source: Q-DETR (arXiv 2304.00253), which shows the distributions that its alignment is to rectify.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 64
TAIL = 0.1
"""Percent of the values at either end that are not drawn apart: they are counted in the outermost bins."""


def histograms(values: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Of one layer, as plain data: all series over the same bins.

    Args:
        values: by series, the first one is what the others are compared with; each of any shape, and finite.

    Returns:
        ``low``, ``high``; and for each series its ``name``, the share of its values in each bin, their ``mean`` and
        ``deviation``, and its overlap with the first: the sum of the smaller shares, 1 where they are alike.
    """
    flat = {name: one.reshape(-1) for name, one in values.items()}
    low = min(float(np.percentile(one, TAIL)) for one in flat.values())
    high = max(float(np.percentile(one, 100 - TAIL)) for one in flat.values())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    shares = {
        name: np.histogram(np.clip(one, low, high), BINS, (low, high))[0] / one.size for name, one in flat.items()
    }
    first = next(iter(shares.values()))
    series = [
        {
            "name": name,
            "shares": [round(float(share), 5) for share in own],
            "mean": float(flat[name].mean(dtype=np.float64)),
            "deviation": float(flat[name].std(dtype=np.float64)),
            "overlap": float(np.minimum(own, first).sum()),
        }
        for name, own in shares.items()
    ]
    return {"low": low, "high": high, "series": series}
