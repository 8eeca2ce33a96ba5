"""Any json value in any field of a COCO json gives an index that trains and evaluates, or one DataError."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from qrecipe.data.coco import read_coco
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.loader import build_loader
from qrecipe.errors import DataError, ModelError
from qrecipe.evaluation import evaluate_results
from qrecipe.models.loading.label_mapping import map_labels
from qrecipe.plain_text import printable
from qrecipe.recipe.definition import InputSpec, SplitSpec, TransformSpec
from tests.data.test_document import SOUND

NUMBERS = st.integers() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.integers(0, 9)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(), max_size=6) | st.sampled_from(["1", "x" * 5000])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
BOXES = st.lists(NUMBERS, min_size=4, max_size=4)
PLACES = [
    (kind, place, field) for kind, entries in SOUND.items() for place, entry in enumerate(entries) for field in entry
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("any")
    Image.new("RGB", (64, 48)).save(made / "a.png")
    return made


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES | BOXES), min_size=1, max_size=3))
def test_any_value_in_any_field(folder: Path, changes: list[tuple[tuple[str, int, str], Any]]) -> None:
    document = copy.deepcopy(SOUND)
    for (kind, place, field), value in changes:
        document[kind][place][field] = value
    use(folder, document)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([None, *SOUND]), VALUES)
def test_any_value_in_the_place_of_a_list(folder: Path, kind: str | None, value: Any) -> None:
    use(folder, value if kind is None else {**SOUND, kind: value})


def check(problem: DataError, path: Path) -> None:
    assert problem.where == str(path)
    assert len(str(problem)) < 20_000
    printable(str(problem)).encode()


def use(folder: Path, document: object) -> None:
    path = folder / "a.json"
    path.write_text(json.dumps(document))
    try:
        index = read_coco(SplitSpec(folder, path))
    except DataError as problem:
        check(problem, path)
        return
    try:
        mapped = map_labels([(one.id, one.name) for one in index.categories], len(index.categories), None)
    except ModelError:
        return
    if mapped is None:
        return
    label_map = mapped.label_map
    for transforms in (None, TransformSpec(crop=True)):
        dataset = CocoDataset(index, label_map, InputSpec(size=(16, 16), mask=False), transforms)
        for batch in build_loader(dataset, 2):
            assert all(bool(labels["boxes"].isfinite().all()) for labels in batch.labels)
    found = [
        {"image_id": image, "category_id": category.id, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
        for image in index.truth.images
        for category in index.categories
    ]
    scores = evaluate_results(index.truth, found)
    assert all(value is None or 0 <= value <= 1 for value in (scores.AP, scores.AR100, *scores.per_class.values()))
