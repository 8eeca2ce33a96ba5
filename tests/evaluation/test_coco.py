from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from qrecipe.errors import EvaluateError
from qrecipe.evaluation import Evaluation, evaluate_results
from qrecipe.evaluation.coco import NUMBERS
from tests.evaluation.truths import read_truth

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 90, "name": "owl"}]


def write(path: Path, annotations: Sequence[dict[str, Any]], images: int = 3, **more: Any) -> Path:
    document = {
        "images": [{"id": 10 + n, "file_name": f"{n}.png", "width": 200, "height": 200} for n in range(images)],
        "annotations": list(annotations),
        "categories": CATEGORIES,
        **more,
    }
    path.write_text(json.dumps(document))
    return path


def truth(number: int, image: int, box: Sequence[float], category: int = 3, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "area": box[2] * box[3],
        "iscrowd": crowd,
    }


def result(image: int, box: Sequence[float], score: float, category: int = 3) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


def direct(path: Path, results: Sequence[dict[str, Any]], image_ids: Sequence[int] | None = None) -> list[float | None]:
    """pycocotools as its own demo uses it. The json needs info, ids from 1, area and iscrowd."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        run = COCOeval(coco, coco.loadRes(copy.deepcopy(list(results))), "bbox")
        if image_ids is not None:
            run.params.imgIds = list(image_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [None if value == -1 else float(value) for value in run.stats]


def twelve(evaluation: Evaluation) -> list[float | None]:
    return [getattr(evaluation, name) for name in NUMBERS]


def random_case(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for number in range(int(rng.integers(1, 12))):
        box = [float(v) for v in (*rng.uniform(0, 80, 2), *rng.uniform(4, 110, 2))]
        image, category = 10 + int(rng.integers(0, 3)), int(rng.choice([3, 90]))
        annotations.append(truth(number + 1, image, box, category, int(rng.random() < 0.2)))
        for _ in range(int(rng.integers(0, 3))):
            near = [float(v + rng.normal(0, 4)) for v in box[:2]] + [float(v * rng.uniform(0.8, 1.2)) for v in box[2:]]
            results.append(result(image, near, float(rng.random()), category))
    for _ in range(int(rng.integers(1, 5))):
        box = [float(v) for v in (*rng.uniform(0, 80, 2), *rng.uniform(4, 110, 2))]
        results.append(result(10 + int(rng.integers(0, 3)), box, float(rng.random()), int(rng.choice([3, 90]))))
    return annotations, results


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_the_twelve_numbers_are_pycocotools_own(tmp_path: Path, seed: int) -> None:
    annotations, results = random_case(seed)
    path = write(tmp_path / "a.json", annotations, info={})
    before = copy.deepcopy(results)
    assert twelve(evaluate_results(read_truth(path), results)) == direct(path, results)
    assert twelve(evaluate_results(read_truth(path), results, [11, 10])) == direct(path, results, [10, 11])
    assert results == before


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(0.0, w) * max(0.0, h)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap)


def slow_ap(annotations: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], threshold: float) -> float:
    """Average precision of one class at one IoU, 101 recalls, in plain loops."""
    taken: set[int] = set()
    hits = []
    for found in sorted(results, key=lambda entry: -entry["score"]):
        best, chosen = threshold, None
        for entry in annotations:
            if entry["image_id"] == found["image_id"] and entry["id"] not in taken:
                overlap = iou(entry["bbox"], found["bbox"])
                if overlap >= best:
                    best, chosen = overlap, entry["id"]
        hits.append(chosen is not None)
        if chosen is not None:
            taken.add(chosen)
    total = 0.0
    for recall in np.linspace(0, 1, 101):  # pycocotools compares recalls with these very floats
        reached = [
            sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if sum(hits[: n + 1]) / len(annotations) >= recall
        ]
        total += max(reached, default=0.0)
    return total / 101


@pytest.mark.parametrize("seed", range(8))
def test_against_a_slow_average_precision(tmp_path: Path, seed: int) -> None:
    annotations, results = random_case(seed)
    annotations = [{**entry, "iscrowd": 0, "category_id": 3} for entry in annotations]
    results = [{**entry, "category_id": 3} for entry in results]
    evaluation = evaluate_results(read_truth(write(tmp_path / "a.json", annotations)), results)
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    per_threshold = [slow_ap(annotations, results, threshold) for threshold in thresholds]
    assert pytest.approx(per_threshold[0], abs=1e-9) == evaluation.AP50
    assert pytest.approx(per_threshold[5], abs=1e-9) == evaluation.AP75
    assert pytest.approx(sum(per_threshold) / 10, abs=1e-9) == evaluation.AP
    assert evaluation.per_class == {"cat": pytest.approx(evaluation.AP), "owl": None}


def test_perfect_results_and_per_class(tmp_path: Path) -> None:
    annotations = [truth(1, 10, (5, 5, 50, 50)), truth(2, 11, (0, 0, 40, 40), category=90)]
    path = write(tmp_path / "a.json", annotations)
    evaluation = evaluate_results(read_truth(path), [result(10, (5, 5, 50, 50), 0.9)])
    assert evaluation.per_class == {"cat": pytest.approx(1.0), "owl": 0.0}
    assert pytest.approx(0.5) == evaluation.AP
    assert evaluation.APs is None
    assert pytest.approx(0.5) == evaluation.APm


def test_crowd_boxes_absorb_results(tmp_path: Path) -> None:
    annotations = [truth(1, 10, (0, 0, 20, 20)), truth(2, 10, (100, 100, 90, 90), crowd=1)]
    path = write(tmp_path / "a.json", annotations)
    inside = [result(10, (110, 110, 20, 20), 0.95), result(10, (150, 150, 30, 30), 0.93)]
    assert pytest.approx(1.0) == evaluate_results(read_truth(path), [*inside, result(10, (0, 0, 20, 20), 0.5)]).AP
    outside = [result(10, (60, 20, 20, 20), 0.95)]
    assert pytest.approx(0.5) == evaluate_results(read_truth(path), [*outside, result(10, (0, 0, 20, 20), 0.5)]).AP


def test_no_results_give_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [truth(1, 10, (5, 5, 50, 50))])
    evaluation = evaluate_results(read_truth(path), [])
    assert (evaluation.AP, evaluation.AP50, evaluation.AR100, evaluation.APm) == (0, 0, 0, 0)
    assert evaluation.APs is None


def test_nothing_to_find_gives_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [])
    assert twelve(evaluate_results(read_truth(path), [])) == [None] * 12
    assert twelve(evaluate_results(read_truth(path), [result(10, (0, 0, 9, 9), 0.5)])) == [None] * 12


def test_id_zero_area_and_iscrowd_may_be_missing(tmp_path: Path) -> None:
    """pycocotools alone counts a match with annotation 0 as a miss, and needs area and iscrowd."""
    bare = {"id": 0, "image_id": 10, "category_id": 3, "bbox": [5, 5, 50, 50]}
    path = write(tmp_path / "a.json", [bare])
    assert pytest.approx(1.0) == evaluate_results(read_truth(path), [result(10, (5, 5, 50, 50), 0.9)]).AP


def test_categories_of_one_name_are_told_apart(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "bat"}, {"id": 2, "name": "bat"}]
    path = write(tmp_path / "a.json", [truth(1, 10, (5, 5, 50, 50), category=2)], categories=categories)
    assert evaluate_results(read_truth(path), []).per_class == {"bat (1)": None, "bat (2)": 0.0}


def test_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.json", [truth(1, 10, (5, 5, 50, 50))])
    evaluate_results(read_truth(path), [result(10, (5, 5, 50, 50), 0.9)])
    assert capsys.readouterr() == ("", "")


def test_plain_data_is_json(tmp_path: Path) -> None:
    annotations, results = random_case(3)
    evaluation = evaluate_results(read_truth(write(tmp_path / "a.json", annotations)), results)
    plain = evaluation.to_dict()
    assert list(plain) == [*NUMBERS, "per_class"]
    assert json.loads(json.dumps(plain)) == plain
    assert Evaluation(**plain) == evaluation


@pytest.mark.parametrize(
    ("results", "image_ids", "message"),
    [
        ([result(99, (0, 0, 1, 1), 0.5)], None, r"not in the annotations: \[99\]"),
        ([], [10, 77], r"not in the annotations: \[77\]"),
        ([], [], "no image"),
        ([result(10, (0, 0, 1, 1), 0.5, category=4)], None, r"categories .*\[4\]"),
        ([result(10, (0, 0, 1, 1), float("nan"))], None, r"not finite in images \[10\]"),
        ([result(11, (0, float("inf"), 1, 1), 0.1)], None, r"not finite in images \[11\]"),
    ],
)
def test_errors(tmp_path: Path, results: list[dict[str, Any]], image_ids: list[int] | None, message: str) -> None:
    path = write(tmp_path / "a.json", [truth(1, 10, (5, 5, 50, 50))])
    with pytest.raises(EvaluateError, match=message):
        evaluate_results(read_truth(path), results, image_ids)
