from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import current_process, resource_sharer
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qrecipe.data import loader
from qrecipe.data.batch import Batch
from qrecipe.data.coco import CocoIndex, read_coco
from qrecipe.data.collate import collate
from qrecipe.data.dataset import CocoDataset, Item
from qrecipe.data.labels import LabelMap
from qrecipe.data.loader import build_loader
from qrecipe.errors import DataError
from qrecipe.recipe.definition import InputSpec, SplitSpec, TransformSpec

WriteCoco = Callable[..., SplitSpec]

PADDED = InputSpec(shortest=32, longest=48, mask=True)


@pytest.fixture
def index(write_coco: WriteCoco) -> CocoIndex:
    images = {key: (20 + key, 40 - key) for key in range(1, 8)}
    boxes = [
        {"image_id": key, "category_id": (2, 7, 90)[key % 3], "bbox": [key, 2, 10, 12]} for key in images if key != 4
    ]
    boxes.append({"image_id": 5, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    return read_coco(write_coco(images, boxes))


def dataset(index: CocoIndex, transforms: TransformSpec | None = None, seed: int = 0) -> CocoDataset:
    return CocoDataset(index, LabelMap.contiguous(index.categories), PADDED, transforms, seed)


def same(a: Batch, b: Batch) -> bool:
    return (
        a.image_ids == b.image_ids
        and torch.equal(a.pixel_values, b.pixel_values)
        and all(torch.equal(x["boxes"], y["boxes"]) for x, y in zip(a.labels, b.labels, strict=True))
    )


def test_item_for_evaluation(index: CocoIndex) -> None:
    item = dataset(index)[0]
    assert item.image_id == 1
    assert item.size == (39, 21)
    assert item.image.shape == (3, 48, 26)
    assert item.labels["class_labels"].tolist() == [1]
    assert item.labels["boxes"].dtype == torch.float32
    torch.testing.assert_close(item.labels["boxes"], torch.tensor([[6 / 21, 8 / 39, 10 / 21, 12 / 39]]))


def test_image_without_boxes_and_crowd(index: CocoIndex) -> None:
    data = dataset(index)
    empty = data[3].labels
    assert empty["boxes"].shape == (0, 4)
    assert empty["class_labels"].shape == (0,)
    assert empty["class_labels"].dtype == torch.int64
    assert data[4].labels["boxes"].shape == (1, 4)


def test_training_item_depends_on_seed_epoch_and_number_only(index: CocoIndex) -> None:
    spec = TransformSpec(multiscale=(24, 28, 32), crop=True)
    first, second = dataset(index, spec, seed=3), dataset(index, spec, seed=3)
    forward = [first[n].image for n in range(7)]
    backward = [second[n].image for n in reversed(range(7))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    first.set_epoch(1)
    assert not all(torch.equal(first[n].image, forward[n]) for n in range(7))
    first.set_epoch(0)
    assert torch.equal(first[2].image, forward[2])
    other = dataset(index, spec, seed=4)
    assert not all(torch.equal(other[n].image, forward[n]) for n in range(7))


def test_collate_pads_and_masks(index: CocoIndex) -> None:
    data = dataset(index)
    items = [data[0], data[6]]
    batch = collate(items, mask=True)
    assert batch.pixel_mask is not None
    assert batch.pixel_mask.dtype == torch.int64
    for row, item in enumerate(items):
        _, height, width = item.image.shape
        assert torch.equal(batch.pixel_values[row, :, :height, :width], item.image)
        assert int(batch.pixel_mask[row].sum()) == height * width
        assert batch.pixel_mask[row, :height, :width].all()
        assert float((batch.pixel_values[row].abs().sum(0) * (1 - batch.pixel_mask[row])).sum()) == 0
    assert batch.sizes.tolist() == [[39, 21], [33, 27]]
    assert batch.sizes.dtype == torch.int64
    assert len(batch) == 2
    moved = batch.to("cpu")
    assert same(batch, moved)
    assert batch.to("meta").labels[0]["boxes"].device.type == "meta"


def test_collate_without_mask() -> None:
    labels = {"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}
    small, large = Item(torch.ones(3, 4, 4), labels, 1, (4, 4)), Item(torch.ones(3, 4, 6), labels, 2, (4, 6))
    batch = collate([small, small], mask=False)
    assert batch.pixel_mask is None
    assert batch.to("cpu").pixel_mask is None
    with pytest.raises(DataError, match=r"1 \(4x4\), 2 \(4x6\).*mask: true"):
        collate([small, large], mask=False)


def test_order_is_a_permutation_by_seed_and_epoch(index: CocoIndex) -> None:
    loader = build_loader(dataset(index, TransformSpec()), 3, shuffle=True)
    epochs = []
    for epoch in (0, 1, 2):
        loader.set_epoch(epoch)
        assert len(loader) == 3
        epochs.append([image_id for batch in loader for image_id in batch.image_ids])
    assert all(sorted(ids) == list(range(1, 8)) for ids in epochs)
    assert epochs[0] != epochs[1]
    resumed = build_loader(dataset(index, TransformSpec()), 3, shuffle=True)
    resumed.set_epoch(2)
    assert [image_id for batch in resumed for image_id in batch.image_ids] == epochs[2]
    resumed.set_epoch(2, 1)
    assert [image_id for batch in resumed for image_id in batch.image_ids] == epochs[2][3:]


def test_evaluation_is_in_order_and_leaves_torch_s_generator_alone(index: CocoIndex) -> None:
    state = torch.get_rng_state()
    batches = list(build_loader(dataset(index), 4))
    assert [batch.image_ids for batch in batches] == [[1, 2, 3, 4], [5, 6, 7]]
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_change_nothing(index: CocoIndex) -> None:
    spec = TransformSpec(multiscale=(24, 32), crop=True)
    alone = build_loader(dataset(index, spec), 3, shuffle=True)
    many = build_loader(dataset(index, spec), 3, shuffle=True, workers=2)
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        many.set_epoch(epoch)
        assert all(same(a, b) for a, b in zip(alone, many, strict=True))


def test_categories_that_the_map_lacks(index: CocoIndex) -> None:
    partial = LabelMap({2: 0}, {2: "dog"}, classes=1)
    evaluated = CocoDataset(index, partial, PADDED)
    assert [len(evaluated[n].labels["boxes"]) for n in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    with pytest.raises(DataError, match=r"no class for: cat \(7\), owl \(90\)"):
        CocoDataset(index, partial, PADDED, TransformSpec())


def test_undecodable_image_is_named(index: CocoIndex) -> None:
    path = index.images[2].path
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="image 3"):
        dataset(index)[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_s_error_is_the_error(index: CocoIndex, workers: int) -> None:
    path = index.images[2].path
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError) as caught:
        list(build_loader(dataset(index), 2, workers=workers))
    assert caught.value.where == f"image 3 ({path})"
    assert "Traceback" not in str(caught.value)
    assert caught.value.remedy
    mixed = CocoDataset(index, LabelMap.contiguous(index.categories), InputSpec(shortest=32, longest=48, mask=False))
    index.images[2].path.write_bytes(index.images[3].path.read_bytes())
    with pytest.raises(DataError, match="mask: true") as caught:
        list(build_loader(mixed, 2, workers=workers))
    assert "Traceback" not in str(caught.value)


def test_pickles(index: CocoIndex) -> None:
    copy = pickle.loads(pickle.dumps(dataset(index)))
    assert torch.equal(copy[1].image, dataset(index)[1].image)


def test_fixed_size_values(index: CocoIndex) -> None:
    inputs = InputSpec(size=(16, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), mask=False)
    item = CocoDataset(index, LabelMap.contiguous(index.categories), inputs)[0]
    with Image.open(index.images[0].path) as image:
        expected = np.asarray(image.resize((24, 16), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    torch.testing.assert_close(item.image, torch.from_numpy((expected - 0.5) / 0.25).permute(2, 0, 1))


@pytest.mark.parametrize("cut", [True, False])
def test_a_worker_whose_parent_leaves_amid_a_batch(
    index: CocoIndex, cut: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """The thread that hands tensors over is asked for one by somebody who is gone at once, or asks for none it has."""

    class Left(CocoDataset):
        def __getitem__(self, number: int) -> Item:
            if number == 3:
                ask_and_leave(cut)
            return super().__getitem__(number)

    data = Left(index, LabelMap.contiguous(index.categories), PADDED)
    assert len(list(build_loader(data, 3, workers=1))) == 3
    err = capfd.readouterr().err
    assert ("Traceback" in err) == (not cut)
    assert ("KeyError" in err) == (not cut)


def ask_and_leave(cut: bool) -> None:
    """Of this process's own server of tensors, once it runs. cut: without a word, else for a key that it lacks."""
    server: Any = resource_sharer._resource_sharer  # type: ignore[attr-defined]
    until = time.monotonic() + 60
    while server._address is None and time.monotonic() < until:
        time.sleep(0.01)
    if cut:
        with socket.socket(socket.AF_UNIX) as asks:
            asks.connect(server._address)
        return
    with Client(server._address, authkey=current_process().authkey) as asks:
        asks.send((-1, os.getpid()))
        assert asks.poll(60)


def test_a_worker_that_was_killed(index: CocoIndex) -> None:
    class Deadly(CocoDataset):
        def __getitem__(self, number: int) -> Item:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    data = dataset(index)
    data.__class__ = Deadly
    with pytest.raises(DataError, match=r"data.workers: a process that reads images was killed"):
        list(build_loader(data, 3, workers=1))


def test_a_worker_that_waits_for_ever(index: CocoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage that gives no answer: a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "hangs.jpg")
    monkeypatch.setattr(loader, "PATIENCE", 1)

    class Waiting(CocoDataset):
        def __getitem__(self, number: int) -> Item:
            (tmp_path / "hangs.jpg").read_bytes()
            raise AssertionError

    data = Waiting(index, LabelMap.contiguous(index.categories), PADDED)
    with pytest.raises(DataError, match=r"data.workers: processes that read images have given none for 1 s"):
        list(build_loader(data, 3, workers=1))
