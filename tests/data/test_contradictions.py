"""What is known before any batch is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qrecipe.data.coco import CocoIndex, read_coco
from qrecipe.data.contradictions import (
    batch_findings,
    input_findings,
    training_findings,
    transform_findings,
)
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.labels import LabelMap
from qrecipe.data.loader import build_loader
from qrecipe.errors import DataError
from qrecipe.recipe.definition import InputSpec, SplitSpec, TransformSpec, dotted

WriteCoco = Callable[..., SplitSpec]
VARYING = InputSpec(shortest=16, longest=40, mask=False)
MULTISCALE = TransformSpec(multiscale=(16, 24))


@pytest.fixture
def index(write_coco: WriteCoco) -> CocoIndex:
    boxes = [{"image_id": key, "category_id": 7, "bbox": [1, 1, 9, 9]} for key in (1, 2, 3, 4)]
    return read_coco(write_coco({1: (40, 20), 2: (20, 10), 3: (30, 30), 4: (30, 30)}, boxes))


def keys(findings: Any) -> list[str]:
    return [dotted(path) for path, _, _ in findings]


def test_transforms() -> None:
    assert keys(transform_findings(MULTISCALE, InputSpec(size=(64, 64)))) == ["data.transforms.multiscale"]
    assert keys(transform_findings(MULTISCALE, VARYING)) == []
    assert keys(transform_findings(TransformSpec(crop=True), InputSpec(size=(64, 64)))) == []
    assert (
        keys(transform_findings(MULTISCALE, InputSpec(longest=3)))
        == keys(input_findings(InputSpec()))
        == ["model.input"]
    )


@pytest.mark.parametrize("transforms", [None, TransformSpec(), MULTISCALE, TransformSpec(crop=True)])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("inputs", [VARYING, InputSpec(shortest=16, mask=True), InputSpec(size=(16, 16), mask=False)])
def test_batches_of_several_sizes_are_those_that_cannot_be_made(
    index: CocoIndex, transforms: TransformSpec | None, batch_size: int, inputs: InputSpec
) -> None:
    """Against making them all, for some epochs."""
    found = keys(batch_findings(index, inputs, batch_size, transforms))
    if transforms is MULTISCALE and inputs.size is not None:
        return
    dataset = CocoDataset(index, LabelMap.contiguous(index.categories), inputs, transforms)
    loader = build_loader(dataset, batch_size, shuffle=transforms is not None)

    def make_all() -> None:
        for epoch in range(12 if transforms is not None else 1):
            loader.set_epoch(epoch)
            list(loader)

    if not found:
        make_all()
        return
    with pytest.raises(DataError, match="differ in size"):
        make_all()
    expected = "model.input" if transforms in (None, TransformSpec()) else "data.transforms."
    assert [key.startswith(expected) for key in found] == [True]


def test_batches_in_order_may_be_of_one_size_each(write_coco: WriteCoco) -> None:
    index = read_coco(write_coco({1: (40, 20), 2: (20, 10), 3: (30, 30), 4: (30, 30)}))
    assert keys(batch_findings(index, VARYING, 2)) == []
    assert keys(batch_findings(index, VARYING, 3)) == ["model.input"]
    late = read_coco(write_coco({1: (40, 20), 2: (20, 10), 3: (30, 30), 4: (40, 20)}, name="late"))
    assert keys(batch_findings(late, VARYING, 2)) == ["model.input"]
    assert keys(batch_findings(late, VARYING, 2, batches=1)) == []
    (_, what, _), *others = batch_findings(index, VARYING, 2, TransformSpec())
    assert "1 (16x32) and 3 (16x16)" in what
    assert not others


def test_nothing_to_train_on(index: CocoIndex, write_coco: WriteCoco) -> None:
    assert keys(training_findings(index)) == []
    crowd = {"image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "iscrowd": 1}
    empty = read_coco(write_coco({1: (40, 20)}, [crowd], name="crowds"))
    assert keys(training_findings(empty)) == ["data.train"]
    assert "warning: there is no box to find, and so no AP" in empty.lines(None)
    assert not any("no AP" in line for line in index.lines(None))
