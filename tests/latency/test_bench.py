"""``qrecipe bench`` on the tiny run, and what it is made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qrecipe.deploy import read_metadata
from qrecipe.latency.machine import Machine, this_machine
from qrecipe.latency.timing import Latency, interleaved
from qrecipe.run.deployed import bench_of
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

pytest.importorskip("onnx", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxscript", reason="qrecipe[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="qrecipe[onnx] is not installed")


def test_calls_are_interleaved_and_the_first_ones_do_not_count() -> None:
    order: list[str] = []
    ticks = iter(range(100))
    found = interleaved([lambda: order.append("a"), lambda: order.append("b")], 3, lambda: float(next(ticks)))
    assert "".join(order) == "aabb" + "ab" * 3
    assert found == [Latency(1.0, 1.0, 1.0)] * 2
    assert Latency.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Latency(3.0, 2.0, 4.0)
    assert Latency.of([2.0]) == Latency(2.0, 2.0, 2.0)


def test_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert this_machine().cores >= 1
    text = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni amx_bf16\n\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr("qrecipe.latency.machine.CPUINFO", tmp_path / "cpuinfo")
    found = this_machine()
    assert (found.processor, found.flags, found.bf16) == ("Some CPU", ("avx2", "avx512_vnni", "amx_bf16"), True)
    assert "Some CPU" in found.line()
    assert not Machine("other", 2, ("avx2",), None).bf16


@pytest.fixture(scope="module")
def measured(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    kept = tmp_path_factory.mktemp("kept") / "files"
    words = ("--rounds", 3, "--images", 2, "--size", "64x64", "--json", "--keep", kept)
    answer = tiny.qrecipe("bench", finished.folder, *words)
    assert answer.code == 0, answer
    return json.loads(answer.out), kept


def test_a_run_beside_its_float_self_and_other_programs(
    finished: Finished, measured: tuple[dict[str, Any], Path]
) -> None:
    found, kept = measured
    assert bench_of(finished.folder) == found  # kept for its page
    rows = {(row["network"], row["program"]): row for row in found["rows"]}
    assert ("float", "PyTorch") in rows
    for network in ("float", "static QDQ", "ours, integer", "ours, packed"):
        row = rows[network, "ONNX Runtime"]
        assert row["latency"]["lower"] <= row["latency"]["median"] <= row["latency"]["upper"]
        assert row["images_per_second"] == pytest.approx(1 / row["latency"]["median"])
    assert rows["float", "ONNX Runtime"]["integer"] == 0
    assert rows["ours, integer", "ONNX Runtime"]["integer"] > 20
    sizes = [rows[name, "ONNX Runtime"]["size"] for name in ("ours, packed", "ours, integer", "float")]
    assert sizes == sorted(sizes)
    assert 0.5 < rows["float", "PyTorch"]["size"] / sizes[-1] <= 1  # a file says more than values
    assert found["shape"] == [1, 3, 64, 64]
    assert found["macs"] > 0
    assert found["calibration"] == "2 images of the training split"
    here = {left["name"] for left in found["left"]} | {network for network, _ in rows}
    assert {"NNCF int8"} <= here
    assert {"float.onnx", "integer.onnx", "packed.onnx"} <= {path.name for path in kept.iterdir()}


def test_a_file_alone(measured: tuple[dict[str, Any], Path]) -> None:
    _, kept = measured
    said = tiny.qrecipe("bench", kept / "integer.onnx", "--rounds", 2).fine
    assert "integer.onnx" in said
    assert "1x3x64x64, 1 thread, medians of 2 interleaved rounds" in said
    assert "another program's" in tiny.qrecipe("bench", kept / "float.onnx").error


def test_what_a_file_is_fixed_to_is_not_measured_otherwise(
    measured: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fixed.ONNX"
    shutil.copy(measured[1] / "integer.onnx", file)
    said = replace(read_metadata(file), fixed=(1, 64, 64))
    monkeypatch.setattr("qrecipe.commands.bench.read_metadata", lambda path: said)
    refused = ((("--batch", 2), "its batch is fixed to 1, not 2"), (("--size", "64x32"), "its width is fixed to 64"))
    for words, what in refused:
        assert tiny.qrecipe("bench", file, *words).error.startswith(f"{file}: {what}")
    assert "1x3x64x64" in tiny.qrecipe("bench", file, "--rounds", 1, "--size", "64x64").fine


def test_what_cannot_be_measured(finished: Finished, tmp_path: Path) -> None:
    assert "no student here to measure" in tiny.qrecipe("bench", finished.recipe).error
    assert "there is no such file" in tiny.qrecipe("bench", tmp_path / "gone.onnx").error
    assert "the folder is there already" in tiny.qrecipe("bench", finished.folder, "--keep", tmp_path).error
