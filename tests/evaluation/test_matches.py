"""AP from matches that are kept: of all images, of some, and of images that are there several times."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.errors import EvaluateError
from qrecipe.evaluation import evaluate_results
from qrecipe.evaluation.matches import ImageMatches
from tests.evaluation.test_coco import result, truth, write
from tests.evaluation.truths import read_truth

BOX = st.tuples(*[st.integers(0, 60)] * 2, *[st.sampled_from([10, 20, 40])] * 2)
IMAGES = 3
PLACES = st.integers(10, 9 + IMAGES)
TRUTH = st.lists(st.tuples(PLACES, BOX, st.sampled_from([3, 90]), st.integers(0, 1)), max_size=8)
FOUND = st.lists(st.tuples(PLACES, BOX, st.integers(1, 15), st.sampled_from([3, 90])), max_size=12)


def evaluated(path: Path, boxes: Any, found: Any, times: tuple[int, ...] = (1,) * IMAGES) -> Any:
    """The evaluation where each image is there so many times, each time under an id of its own. Scores may be ties."""
    copies = {10 + place: [100 * (10 + place) + number for number in range(count)] for place, count in enumerate(times)}
    keys = [key for own in copies.values() for key in own]
    written = [truth(0, key, box, category, crowd) for image, box, category, crowd in boxes for key in copies[image]]
    write(path, [{**one, "id": number} for number, one in enumerate(written, 1)])
    document = json.loads(path.read_text())
    document["images"] = [{"id": key, "file_name": f"{key}.png", "width": 200, "height": 200} for key in keys]
    path.write_text(json.dumps(document))
    results = [result(key, box, score / 16, category) for image, box, score, category in found for key in copies[image]]
    return evaluate_results(read_truth(path), results)


def without_ties_inside(found: Any) -> Any:
    """The same with scores that tie between images alone: of an image that is there several times, others have no order
    that a reference could give."""
    seen: Counter[int] = Counter()
    apart = []
    for image, box, score, category in found:
        apart.append((image, box, score + seen[image] / 100, category))
        seen[image] += 1
    return apart


@settings(max_examples=60)
@given(TRUTH, FOUND, st.tuples(*[st.integers(0, 3)] * IMAGES))
def test_any_sample_of_the_images(
    tmp_path_factory: pytest.TempPathFactory, boxes: Any, found: Any, times: tuple[int, ...]
) -> None:
    """The reference writes the images out as often as they are in the sample, and evaluates that."""
    path = tmp_path_factory.mktemp("matches") / "truth.json"
    once = evaluated(path, boxes, found)
    assert once.matches.AP() == pytest.approx(once.AP, abs=1e-12)
    if sum(times):
        apart = without_ties_inside(found)
        again = evaluated(path, boxes, apart, times)
        sampled = evaluated(path, boxes, apart).matches.AP(np.array(times))
        assert (sampled is None) == (again.AP is None)
        assert again.AP is None or sampled == pytest.approx(again.AP, abs=1e-12)
    stored = path.with_suffix(".npz")
    stored.write_bytes(once.matches.to_bytes())
    loaded = ImageMatches.read(stored)
    for name in ImageMatches.__dataclass_fields__:
        assert np.array_equal(getattr(loaded, name), getattr(once.matches, name))
        assert getattr(loaded, name).dtype == getattr(once.matches, name).dtype


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(EvaluateError, match="no matches of single images"):
        ImageMatches.read(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(EvaluateError, match="damaged"):
        ImageMatches.read(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(EvaluateError, match="damaged"):
        ImageMatches.read(tmp_path / "other.npz")
