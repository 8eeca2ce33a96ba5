"""Every runtime on one small file: a quantized product, and a sum in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qrecipe.errors import ExportError
from qrecipe.runtimes import RUNTIMES, Runtime, find_runtime, need

onnx = pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")

WEIGHT = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
SCALE, STEP, ZERO = np.float32(0.25), np.float32(0.5), np.uint8(3)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """value (n, 2, 4) to (n, 2, 4): both operands of a product in integers, a bias in float behind it."""
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    constants = {"s": SCALE, "z": ZERO, "w": WEIGHT, "t": STEP, "y": np.int8(0), "b": np.ones(4, np.float32)}
    nodes = [
        make("QuantizeLinear", ["value", "s", "z"], ["integers"], "quantize"),
        make("DequantizeLinear", ["integers", "s", "z"], ["shown"], "dequantize"),
        make("DequantizeLinear", ["w", "t", "y"], ["weight"], "weight"),
        make("MatMul", ["shown", "weight"], ["product"], "product"),
        make("Add", ["product", "b"], ["out"], "sum"),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 2, 4]) for name in ("value", "out")]
    held = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "small", ends[:1], ends[1:], held)
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture(params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found = find_runtime(request.param)
    try:
        assert found.version()[0].isdigit()
    except ExportError as error:
        pytest.skip(str(error))
    return found


def test_it_runs_a_file(runtime: Runtime, file: Path) -> None:
    value = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    integers = np.clip(np.rint(value / SCALE) + ZERO, 0, 255)
    expected = (integers - ZERO) * SCALE @ (WEIGHT * STEP) + 1
    for rewrites in (True, False):
        session = runtime.open(file, threads=1, rewrites=rewrites)
        found = session.run({"value": value})
        assert list(found) == ["out"]
        assert np.allclose(found["out"], expected, atol=1e-5)
    found = runtime.open(file.read_bytes(), extra=["integers", "product"]).run({"value": value})
    assert set(found) == {"out", "integers", "product"}
    assert np.array_equal(found["integers"], integers)


def test_it_says_what_it_really_runs(runtime: Runtime, file: Path) -> None:
    operators = runtime.open(file).operators()
    if operators is None:
        pytest.skip(f"{runtime.name} does not say")
    (integer,) = [one for one in operators if one.integer]
    assert integer.names[0] == "product"  # behind it may stand what is fused


def test_what_it_does_not_read(runtime: Runtime, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "text.onnx"
    other.write_text("no graph")
    with pytest.raises(ExportError, match=r"text\.onnx: .* does not read this file"):
        runtime.open(other)
    with pytest.raises(ExportError, match="the graph has no value 'nowhere'"):
        runtime.open(file, extra=["nowhere"])
    with pytest.raises(ExportError, match="fails"):
        runtime.open(file).run({"value": np.zeros((1, 2, 5), np.float32)})


def test_an_unknown_or_missing_runtime_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match='did you mean "onnxruntime"'):
        find_runtime("onnx-runtime")
    with pytest.raises(ExportError, match=r"nothing_here is not installed .*qrecipe\[onnx\]"):
        need("nothing_here")

    def missing(name: str) -> Any:
        return None

    monkeypatch.setattr("qrecipe.runtimes.needs.find_spec", missing)
    for runtime in RUNTIMES.values():
        with pytest.raises(ExportError, match=rf"not installed \(pip install 'qrecipe\[{runtime.extra}\]'\)"):
            runtime.version()
