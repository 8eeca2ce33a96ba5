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


def test_what_nothing_reads_goes() -> None:
    """Nodes in a row, their constants, and not what a graph inside a node reads."""
    from qrecipe.deploy.prune import prune

    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    value = np.arange(20, dtype=np.float32)
    held = {name: value + place for place, name in enumerate(("used", "dead", "inner", "unread"))}
    held["same"] = held["used"]
    bodies = [
        make.make_graph(
            [make.make_node("Identity", [name], [f"{name}_out"])],
            name,
            [],
            [make.make_tensor_value_info(f"{name}_out", floats, [20])],
        )
        for name in ("inner", "same")
    ]
    nodes = [
        make.make_node("Add", ["x", "dead"], ["left"]),
        make.make_node("Relu", ["left"], ["alone"]),
        make.make_node("Add", ["x", "used"], ["sum"]),
        make.make_node("If", ["condition"], ["chosen"], then_branch=bodies[0], else_branch=bodies[1]),
        make.make_node("Add", ["sum", "chosen"], ["z"]),
        make.make_node("Add", ["z", "same"], ["y"]),
    ]
    ends = [make.make_tensor_value_info(name, floats, [20]) for name in "xy"]
    condition = make.make_tensor_value_info("condition", onnx.TensorProto.BOOL, [])
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in held.items()]
    model = make.make_model(make.make_graph(nodes, "g", [ends[0], condition], ends[1:], constants))
    prune(model)
    assert [node.op_type for node in model.graph.node] == ["Add", "If", "Add", "Add"]
    assert {tensor.name for tensor in model.graph.initializer} >= {"used", "inner"}
    assert not {tensor.name for tensor in model.graph.initializer} & {"dead", "unread"}
    onnx.checker.check_model(model)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.ones((8, 40, 40, 2), np.float32), 1),
        (np.tile(np.arange(1500, dtype=np.int64), (4, 1)), 1500),
        (np.repeat(np.arange(20.0), 20)[:, None] * np.ones(64) * np.arange(1, 65), 20 * 64),
        (np.tile(np.arange(20.0), 20)[:, None] * np.arange(1, 65), 20 * 64),
        (np.arange(2000, dtype=np.float32), None),
        (np.ones(8, np.float32), None),
        (np.full((2, 2000), np.nan, np.float32), 1),
        (np.array([0.0, -0.0] * 1000, np.float32), 2),
    ],
)
@pytest.mark.parametrize("reader", ["Add", "MatMul"])
def test_constants_that_repeat_themselves(value: np.ndarray, stored: int | None, reader: str) -> None:
    """They have the same bits behind the nodes that expand them; weights stay as they are."""
    from qrecipe.deploy.repeated import store_once

    pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")
    from qrecipe.runtimes import find_runtime

    make = onnx.helper
    kind = make.np_dtype_to_tensor_dtype(value.dtype)
    nodes = [make.make_node(reader, ["x", "c"], ["y"]), make.make_node("Identity", ["c"], ["same"])]
    x = make.make_tensor_value_info("x", kind, [1])
    ends = [make.make_tensor_value_info(name, kind, list(value.shape)) for name in ("same", "y")]
    opset = [make.make_opsetid("", 21)]
    constants = [onnx.numpy_helper.from_array(value, "c")]
    model = make.make_model(make.make_graph(nodes, "g", [x], ends, constants), opset_imports=opset, ir_version=10)
    store_once(model)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if reader == "MatMul" or stored is None:
        assert list(held) == ["c"]
        return
    assert held["c/once"].size == stored
    onnx.checker.check_model(model)
    found = find_runtime().open(model.SerializeToString()).run({"x": np.zeros(1, value.dtype)})
    assert found["same"].tobytes() == value.tobytes()


@pytest.mark.parametrize("shape", [(3, 5), (2, 2), ()])
def test_two_integers_of_four_bits_take_a_byte(shape: tuple[int, ...]) -> None:
    from qrecipe.deploy.integers import pack

    value = np.random.default_rng(0).integers(-8, 8, shape)
    tensor = pack("w", value)
    assert len(tensor.raw_data) == (value.size + 1) // 2
    assert np.array_equal(onnx.numpy_helper.to_array(tensor).astype(np.int64), value)
