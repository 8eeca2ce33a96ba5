"""Which class of a head stands for which category."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.models.loading.label_mapping import classes_needed, map_labels, names_of_classes

PETS = [(3, "cat"), (1, "Dog"), (7, "bird")]
PLACEHOLDERS = {index: f"LABEL_{index}" for index in range(91)}


@pytest.mark.parametrize(
    ("categories", "classes", "id2label", "mode", "expected"),
    [
        # By name, whatever the order and the case; spare classes are left alone.
        (PETS, 4, {0: "cat ", 1: "N/A", 2: "BIRD", 3: "dog"}, "auto", {3: 0, 7: 2, 1: 3}),
        (PETS, 4, {"0": "cat", "1": "fish", "2": "bird", "3": "dog"}, "auto", {3: 0, 7: 2, 1: 3}),
        # Names before counts.
        (PETS, 3, {0: "bird", 1: "cat", 2: "dog"}, "auto", {7: 0, 3: 1, 1: 2}),
        # A name that is missing: contiguous, in ascending order of ids.
        (PETS, 3, {0: "bird", 1: "cat", 2: "fish"}, "auto", {1: 0, 3: 1, 7: 2}),
        (PETS, 3, None, "auto", {1: 0, 3: 1, 7: 2}),
        # Placeholders are no names: the published DETR's ids.
        (PETS, 8, PLACEHOLDERS, "auto", {1: 1, 3: 3, 7: 7}),
        ([(1, "person"), (90, "toothbrush")], 91, PLACEHOLDERS, "auto", {1: 1, 90: 90}),
        # A category called like a placeholder, at another place than its own, is a name.
        ([(1, "LABEL_1"), (2, "LABEL_0")], 3, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "auto", {1: 1, 2: 2}),
        # A name that two classes or two categories share says nothing.
        (PETS, 4, {0: "cat", 1: "cat", 2: "bird", 3: "dog"}, "auto", None),
        ([(1, "cat"), (2, "Cat")], 2, {0: "cat", 1: "dog"}, "auto", {1: 0, 2: 1}),
        # Several N/A classes are no obstacle.
        (PETS, 5, {0: "N/A", 1: "N/A", 2: "cat", 3: "dog", 4: "bird"}, "auto", {3: 2, 1: 3, 7: 4}),
        (PETS, 5, None, "auto", None),
        (PETS, 80, PLACEHOLDERS, "auto", None),
        (PETS, 2, None, "auto", None),
        (PETS, 80, {0: "cat", 1: "dog", 2: "bird"}, "contiguous", {1: 0, 3: 1, 7: 2}),
        (PETS, 2, None, "contiguous", None),
        (PETS, 8, None, "category_id", {1: 1, 3: 3, 7: 7}),
        (PETS, 91, None, "category_id", {1: 1, 3: 3, 7: 7}),
        (PETS, 7, None, "category_id", None),
        ([], 5, None, "auto", None),
    ],
)
def test_table(
    categories: list[tuple[int, str]], classes: int, id2label: Any, mode: Any, expected: dict[int, int] | None
) -> None:
    label_map = map_labels(categories, classes, id2label, mode)
    if expected is None:
        assert label_map is None
        return
    assert label_map is not None
    assert label_map.category_to_class == expected
    assert label_map.names == dict(categories)
    assert label_map.classes == classes


@given(st.dictionaries(st.integers(0, 200), st.text("abc", min_size=1, max_size=3), min_size=1, max_size=12))
def test_a_head_made_for_the_data_maps_in_every_mode(categories: dict[int, str]) -> None:
    pairs = list(categories.items())
    for mode in ("contiguous", "category_id"):
        label_map = map_labels(pairs, classes_needed(pairs, mode), names_of_classes(pairs, mode), mode)  # type: ignore[arg-type]
        assert label_map is not None
        assert len(names_of_classes(pairs, mode)) == classes_needed(pairs, mode)  # type: ignore[arg-type]
        for category, index in label_map.category_to_class.items():
            assert names_of_classes(pairs, mode)[index] == categories[category]  # type: ignore[arg-type]
    assert map_labels(pairs, classes_needed(pairs, "auto"), None, "auto") is not None
