"""How constants are stored."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")


def test_equal_constants_are_stored_once() -> None:
    from qrecipe.deploy.equal import once_each

    value = np.arange(20, dtype=np.float32)
    held = {"a": value, "b": value.copy(), "c": value.reshape(4, 5), "d": value + 1, "e": value.view(np.int32)}
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in held.items()]
    nodes = [onnx.helper.make_node("Add", ["a", "b"], ["x"]), onnx.helper.make_node("Add", ["d", "b"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    assert [tensor.name for tensor in once_each(graph, tensors)] == ["a", "c", "d", "e"]
    assert [list(node.input) for node in graph.node] == [["a", "a"], ["d", "a"]]


@pytest.mark.parametrize("shape", [(3, 5), (2, 2), ()])
def test_two_integers_of_four_bits_take_a_byte(shape: tuple[int, ...]) -> None:
    from qrecipe.deploy.integers import pack

    value = np.random.default_rng(0).integers(-8, 8, shape)
    tensor = pack("w", value)
    assert len(tensor.raw_data) == (value.size + 1) // 2
    assert np.array_equal(onnx.numpy_helper.to_array(tensor).astype(np.int64), value)
