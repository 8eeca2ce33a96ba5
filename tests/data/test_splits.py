from __future__ import annotations

from collections.abc import Callable

import pytest

from qrecipe.data.splits import resolve_splits
from qrecipe.errors import DataError
from qrecipe.recipe.definition import DataSpec, SplitSpec

WriteCoco = Callable[..., SplitSpec]


def test_reads_the_splits_that_are_given(write_coco: WriteCoco) -> None:
    data = DataSpec(format="coco", train=write_coco({1: (8, 8)}, name="a"), val=write_coco({2: (8, 8)}, name="b"))
    found = resolve_splits(data)
    assert list(found) == ["train", "val"]
    assert found["val"].images[0].id == 2
    assert list(resolve_splits(data, names=("val",))) == ["val"]


def test_categories_must_agree(write_coco: WriteCoco) -> None:
    data = DataSpec(
        format="coco",
        train=write_coco({1: (8, 8)}, name="a"),
        test=write_coco({1: (8, 8)}, name="b", categories=[{"id": 7, "name": "cat"}, {"id": 2, "name": "wolf"}]),
    )
    with pytest.raises(
        DataError, match=r"2 categories differ between train and test: 2 \(dog / wolf\), 90 \(owl / absent\)"
    ):
        resolve_splits(data)


def test_problems_of_all_splits_together(write_coco: WriteCoco) -> None:
    broken = [write_coco({1: (8, 8)}, name=name, missing=(1,)) for name in "ab"]
    with pytest.raises(DataError) as caught:
        resolve_splits(DataSpec(format="coco", train=broken[0], val=broken[1]))
    assert str(broken[0].annotations) in str(caught.value)
    assert str(broken[1].annotations) in str(caught.value)
