"""What a page shows of a run's images, quantizers, queries and files; and what it says where there is nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from qrecipe.errors import RunError
from qrecipe.report.page.contents import contents_of
from qrecipe.report.page.panels import Picture, drawn
from qrecipe.report.page.render import render
from qrecipe.run.deployed import bench_of, exports_of, keep_bench, keep_export
from qrecipe.run.evidence import read_evidence, write_evidence
from tests.tiny_commands import Finished

NASTY = '"></style><script>alert(1)</script>'


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    left = shutil.ignore_patterns("exports.json", "bench.json")  # of other tests
    return Path(shutil.copytree(finished.folder, tmp_path / "run", ignore=left))


def changed(folder: Path, **keys: Any) -> dict[str, Any]:
    """Write other evidence into a copy of a run."""
    found = read_evidence(folder)
    assert found is not None
    found = {**found, **keys}
    write_evidence(folder, found, {})
    return found


def test_all_of_it_stands_on_the_page(finished: Finished) -> None:
    found = read_evidence(finished.folder)
    assert found is not None
    text = render([contents_of(finished.folder)])
    assert text.count('<li class="step"') == len(found["images"]) == text.count('aria-label="truth"')
    assert text.count("data:image/jpeg") == len(found["images"]) + len(found["attention"]["images"])
    assert len(re.findall(r'<rect class="b\d" x="[\d.]+" y="2"', text)) == len(
        [one for one in found["noise"] if one["decibels"] is not None]
    )
    assert f"all {len(found['noise'])} quantizers" in text
    assert "student, before alignment" in text


def test_pictures_can_be_fewer(finished: Finished) -> None:
    text = render([contents_of(finished.folder, 2)])
    assert text.count('<li class="step"') == 2


def test_a_panel_says_in_words_what_it_shows(copy: Path) -> None:
    found = read_evidence(copy)
    assert found is not None
    box = [0.1, 0.1, 0.2, 0.2]
    image = {
        **found["images"][0],
        "disagreement": 2,
        "truth": [[0, *box], [1, *box]],
        "teacher": [[0, *box, 0.9, 0], [1, *box, 0.8, 1]],
        "student": [[1, *box, 0.7, 1], [1, *box, 0.6, None]],
    }
    changed(copy, images=[image], names=["cell", NASTY])
    text = render([contents_of(copy)])
    assert ">finds 2 of 2<" in text
    assert re.search(r">finds 1 of 2; missed: 1 cell; false: 1 [^<]*<", text)
    assert ">2 disagreements<" in text
    assert [text.count(f'<rect class="box {kind}" x="48') for kind in ("truth", "right", "missed", "false")] != [0] * 4
    assert NASTY not in text
    assert "<script>alert" not in text


def test_names_beside_boxes_do_not_cover_each_other() -> None:
    picture = Picture("data:", 480, 360)
    boxes = [("disc", (0.3, 0.4, 0.2, 0.2), "right", 0.5 + number / 10) for number in range(5)]
    boxes.append(("far", (0.95, 0.0, 0.05, 0.05), "missed", None))
    svg = drawn("teacher", boxes, picture)
    found = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="([\d.]+)">', svg)]
    assert len(found) == 4  # above, below and within one place, and the other
    assert len({y for _, y in found[:3]}) == 3
    assert all(0 < x < 480 and 0 < y < 360 for x, y in found)
    assert svg.count("<rect") == 6
    assert "<text" not in drawn("teacher", boxes * 2, picture)


def test_names_of_the_user_are_text(copy: Path) -> None:
    found = read_evidence(copy)
    assert found is not None
    noise = [{**one, "site": NASTY} for one in found["noise"]]
    images = [{**one, "file_name": NASTY} for one in found["images"]]
    changed(copy, noise=noise, images=images)
    keep_export(copy, {"path": f"/tmp/{NASTY}", "mode": "integer", "size": 10, "parity": None})
    text = render([contents_of(copy)])
    assert "<script>alert" not in text
    assert text.count("</style>") == 1


def test_without_any_the_page_says_how_to_make_it(copy: Path) -> None:
    shutil.rmtree(copy / "evidence")
    text = render([contents_of(copy)])
    assert f"qrecipe report {copy} --evidence" in text
    assert "stepper" not in text.partition("<body>")[2].partition("<script>")[0]
    (copy / "summary.json").unlink()
    assert "looked at when the run is through" in render([contents_of(copy)])
    plan = json.loads((copy / "plan.json").read_text())
    plan["totals"]["quantizers"] = 0
    (copy / "plan.json").write_text(json.dumps(plan))
    assert contents_of(copy).no_evidence == ""


def test_evidence_of_another_version_is_none_and_damage_is_an_error(copy: Path) -> None:
    changed(copy, version=99)
    assert contents_of(copy).evidence is None
    path = copy / "evidence" / "evidence.json"
    path.write_text(path.read_text().replace("val", "vol"))
    with pytest.raises(RunError, match="not what was written"):
        contents_of(copy)


def test_attention_that_cannot_be_shown_has_a_reason(copy: Path) -> None:
    changed(copy, attention={"reason": "the decoder samples", "images": []})
    assert "Left out: the decoder samples." in render([contents_of(copy)])


def test_files_and_latencies_stand_on_the_page(copy: Path) -> None:
    parity = {
        "runtime": "onnxruntime", "version": "1.2", "split": "val", "images": 8, "student": 0.5, "file": 0.48,
        "points": -2.0, "tolerance": 0.2, "passed": False,
    }  # fmt: skip
    first = {"path": "/a/student.onnx", "mode": "integer", "size": 2048, "parity": parity}
    keep_export(copy, {**first, "mode": "packed"})
    keep_export(copy, first)
    keep_export(copy, {"path": "/a/other.onnx", "mode": "packed", "size": 10, "parity": None})
    assert [one["mode"] for one in exports_of(copy)] == ["integer", "packed"]
    row = {
        "network": "float", "program": "PyTorch", "size": 4096, "images_per_second": 20.0,
        "latency": {"median": 0.05, "lower": 0.04, "upper": 0.06},
    }  # fmt: skip
    bench = {
        "rows": [row], "threads": 1, "rounds": 20, "shape": [1, 3, 64, 64], "programs": {"torch": "2"},
        "machine": {"processor": "a processor", "cores": 2},
    }  # fmt: skip
    assert bench_of(copy) is None
    keep_bench(copy, bench)
    text = render([contents_of(copy)])
    for cell in ("onnxruntime 1.2", "-2.00 (too much)", "0.480", "50.0", "40.0-60.0", "20.0", "not compared"):
        assert f">{cell}<" in text, cell
    assert "1x3x64x64, 1 thread, medians of 20 interleaved rounds; a processor, 2 cores" in text
