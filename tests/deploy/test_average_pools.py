"""Average pools that round their size up: one value at the edges, in torch and in a runtime's integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qrecipe.deploy.average_pools import POOL, settle_average_pools
from qrecipe.errors import ExportError


class Pooled(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.avg_pool2d.default(x, [2, 2], [2, 2], **self.options)


def graph_of(x: Tensor, **options: object) -> torch.fx.GraphModule:
    return torch.export.export(Pooled(**options), (x,)).module()  # type: ignore[return-value]


@pytest.mark.parametrize("options", [{}, {"ceil_mode": True}, {"padding": [0, 0], "ceil_mode": True}])
def test_nothing_changes_in_torch(options: dict[str, object]) -> None:
    x = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    module = graph_of(x, **options)
    before = module(x)
    settle_average_pools(module.graph)
    module.recompile()
    (pool,) = (node for node in module.graph.nodes if node.target is POOL)
    assert pool.args[5] is False
    assert torch.equal(module(x), before)


def test_padding_that_counts_stays() -> None:
    module = graph_of(torch.rand(1, 3, 8, 8), padding=[1, 1])
    settle_average_pools(module.graph)
    (pool,) = (node for node in module.graph.nodes if node.target is POOL)
    assert len(pool.args) < 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": [1, 1], "ceil_mode": True}, "pads, counts the padding and rounds its size up"),
        ({"divisor_override": 3}, r"divides by a number of its own.*\(leave divisor_override out in the model\)"),
    ],
)
def test_what_runtimes_compute_otherwise_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        settle_average_pools(graph_of(torch.rand(1, 3, 8, 8), **options).graph)


@pytest.mark.parametrize("size", [8, 9])
def test_a_runtime_s_integers_at_the_edge(size: int) -> None:
    """With all rewrites: the pool that files hold, beside torch's, within one step."""
    onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
    pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
    from qrecipe.runtimes import find_runtime

    make, floats, grid = onnx.helper, onnx.TensorProto.FLOAT, ["scale", "zero"]
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 0}
    nodes = [
        make.make_node("QuantizeLinear", ["x", *grid], ["q"], "q"),
        make.make_node("DequantizeLinear", ["q", *grid], ["d"], "d"),
        make.make_node("AveragePool", ["d"], ["p"], "p", **pool),
        make.make_node("QuantizeLinear", ["p", *grid], ["r"], "r"),
        make.make_node("DequantizeLinear", ["r", *grid], ["y"], "y"),
    ]
    held = {"scale": np.float32(0.01), "zero": np.uint8(0)}
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    ends = [make.make_tensor_value_info(name, floats, None) for name in "xy"]
    graph = make.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 21)], ir_version=10)
    x = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0)) * 0.01
    expected = nn.functional.avg_pool2d(x, 2, 2, ceil_mode=True)
    found = find_runtime().open(model.SerializeToString()).run({"x": x.numpy()})["y"]
    assert found.shape == tuple(expected.shape)
    assert np.abs(found - expected.numpy()).max() <= 0.01 * 1.01
