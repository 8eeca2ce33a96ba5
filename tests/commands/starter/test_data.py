"""Which COCO jsons in a folder are which split, and where their images are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qrecipe.commands.starter.data import starter_data
from qrecipe.errors import DataError
from tests.starter_files import coco, data_set


def test_roboflow(tmp_path: Path) -> None:
    for index, split in enumerate(("train", "valid", "test")):
        coco(tmp_path / "export" / split / "_annotations.coco.json", tmp_path / "export" / split, first=10 * index)
    found = starter_data(tmp_path / "export", {})
    assert found.name == "export"
    assert found.splits is not None
    assert {name: split.images.name for name, split in found.splits.items()} == {
        "train": "train", "val": "valid", "test": "test",
    }  # fmt: skip


def test_coco_itself(tmp_path: Path) -> None:
    """The same file names in two folders; jsons about something else; images of no split."""
    for split in ("train2017", "val2017"):
        coco(tmp_path / f"annotations/instances_{split}.json", tmp_path / split)
        (tmp_path / f"annotations/captions_{split}.json").write_text("{}")
        (tmp_path / f"annotations/person_keypoints_{split}.json").write_text("{}")
    found = starter_data(tmp_path, {}).splits
    assert found is not None
    assert {name: split.images.name for name, split in found.items()} == {"train": "train2017", "val": "val2017"}
    assert found["val"].annotations.name == "instances_val2017.json"


def test_train_is_taken_and_trainval_is_not(tmp_path: Path) -> None:
    data_set(tmp_path, ("train", "trainval", "train_val", "val"))
    found = starter_data(tmp_path, {}).splits
    assert found is not None
    assert found["train"].annotations.name == "instances_train.json"


def test_named_splits_alone_and_over_what_is_found(tmp_path: Path) -> None:
    data_set(tmp_path / "a:b", ("train", "val"))
    coco(tmp_path / "a:b/more.json", tmp_path / "a:b/images")
    named = dict.fromkeys(("train", "val"), f"{tmp_path}/a:b/images:{tmp_path}/a:b/more.json")
    alone, over = starter_data(None, named), starter_data(tmp_path / "a:b", {"val": named["val"]})
    assert alone.splits is not None
    assert over.splits is not None
    assert alone.name == over.name == "a_b"
    assert alone.splits["train"].annotations.name == over.splits["val"].annotations.name == "more.json"
    assert over.splits["train"].annotations.name == "instances_train.json"


def test_several_may_be_meant(tmp_path: Path) -> None:
    data_set(tmp_path, ("train", "val", "train_small"))
    with pytest.raises(DataError, match=r"may be the train split: instances_train.json, instances_train_small.json"):
        starter_data(tmp_path, {})


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (
            ("train",),
            ("no val split was found (train: ", "--val IMAGES:ANNOTATIONS; the best epoch is chosen on val"),
        ),
        (("val",), ("no train split was found (val: ",)),
        (("all", "rest"), ("no train and no val split", "of no split by their names", "instances_all.json")),
        ((), ("no COCO json at all",)),
    ],
)
def test_not_all_of_them(tmp_path: Path, splits: tuple[str, ...], words: tuple[str, ...]) -> None:
    data_set(tmp_path, splits)
    with pytest.raises(DataError) as raised:
        starter_data(tmp_path, {})
    assert all(word in str(raised.value) for word in words), raised.value


def test_images_that_are_nowhere_or_in_two_places(tmp_path: Path) -> None:
    data_set(tmp_path, ("train", "val"))
    shutil.copytree(tmp_path / "images", tmp_path / "copies")
    with pytest.raises(DataError, match=r"several folders hold its images: \S+copies, \S+images"):
        starter_data(tmp_path, {})
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "copies")
    with pytest.raises(DataError, match=r"no folder here holds its image 1\.png.*--train IMAGES:"):
        starter_data(tmp_path, {})


@pytest.mark.parametrize("text", ["images", "images:gone.json", "gone:instances_val.json"])
def test_a_named_split_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(data_set(tmp_path / "data"))
    with pytest.raises(DataError, match=r"no colon|no file gone\.json|no folder gone"):
        starter_data(None, {"val": text})
