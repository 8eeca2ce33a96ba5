from __future__ import annotations

import pytest

from qrecipe.data.coco import Category
from qrecipe.data.labels import LabelMap
from qrecipe.errors import DataError


def test_contiguous_is_by_ascending_id() -> None:
    label_map = LabelMap.contiguous([Category(90, "owl"), Category(2, "dog"), Category(7, "cat")])
    assert label_map.category_to_class == {2: 0, 7: 1, 90: 2}
    assert label_map.class_to_category == {0: 2, 1: 7, 2: 90}
    assert label_map.names == {2: "dog", 7: "cat", 90: "owl"}
    assert label_map.classes == 3


@pytest.mark.parametrize(
    ("mapping", "names"),
    [({1: 3}, {1: "a"}), ({1: -1}, {1: "a"}), ({1: 0, 2: 0}, {1: "a", 2: "b"}), ({1: 0}, {})],
)
def test_impossible_maps(mapping: dict[int, int], names: dict[int, str]) -> None:
    with pytest.raises(DataError):
        LabelMap(mapping, names, classes=3)
