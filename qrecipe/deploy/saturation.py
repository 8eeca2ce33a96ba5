"""Whether sums of products of 8-bit integers leave 16 bits, which x86 processors without VNNI do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .integers import END, PAIR
from .products import products

CPUINFO = Path("/proc/cpuinfo")


def has_vnni() -> bool | None:
    """Whether this processor adds products of 8 bits in 32; None where it does not say."""
    try:
        words = set(CPUINFO.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"}) if "flags" in words or "Features" in words else None


def saturating(model: onnx.ModelProto, values: Mapping[str, NDArray[np.generic]]) -> tuple[str, ...]:
    """Modules whose products, added in pairs, can leave 16 bits for activations as large as these.

    values: integers of activations by the names that the graph has for them.
    """
    weights = {one.name: one for one in model.graph.initializer}
    shown = {node.name: node for node in model.graph.node if node.name.endswith(END)}
    kinds = {node.name: node.op_type for node in model.graph.node}
    found = []
    for one in products(model):
        first, second = (shown.get(f"{site}{END}") for site in one.sites)
        if first is None or second is None or first.input[0] not in values or second.input[0] not in weights:
            continue
        weight = numpy_helper.to_array(weights[second.input[0]]).astype(np.int64)
        value = values[first.input[0]]
        if largest_pair(value, weight, convolution=kinds[one.node] == "Conv") > PAIR:
            found.append(one.name)
    return tuple(found)


def largest_pair(value: NDArray[np.generic], weight: NDArray[np.int64], *, convolution: bool) -> int:
    """The most that two neighbouring products add up to, for the largest value of every channel.

    value: (batch, channels, height, width) of a convolution, else (..., channels). weight: (out, channels, ...) or
    (channels, out).
    """
    if convolution:
        most = value.astype(np.int64).max(axis=(0, 2, 3))
        rows = np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
    else:
        most = value.astype(np.int64).reshape(-1, value.shape[-1]).max(axis=0)
        rows = weight
    if len(rows) != len(most):  # a convolution in groups: any two of its channels
        most = np.full(len(rows), most.max())
    sums = [np.maximum(sign * rows, 0) * most[:, None] for sign in (1, -1)]
    odd = len(rows) % 2
    return int(max((np.pad(one, ((0, odd), (0, 0))).reshape(-1, 2, one.shape[1]).sum(1)).max() for one in sums))
