"""``qrecipe predict``: images of any kind in, pictures and COCO's json out."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests import tiny_commands as tiny
from tests.tiny_commands import Finished


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).convert(mode)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images of every kind, and of other things."""
    folder = tmp_path / "some images"
    folder.mkdir()
    noise(80, 60).save(folder / "a.png")
    noise(80, 60, "L").save(folder / "grey.jpg")
    noise(80, 60, "CMYK").save(folder / "cmyk.jpg")
    noise(1, 1).save(folder / "pixel.png")
    noise(3000, 20).save(folder / "wide.PNG")
    noise(20, 20, "P").save(folder / "palette.webp")
    (folder / "notes.txt").write_text("no image")
    (folder / "folder.png").mkdir()
    return folder


def test_images_of_every_kind(finished: Finished, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "found here"
    out = tiny.qrecipe("predict", finished.folder, images, "--output", output, "--threshold", "0.005").fine
    names = ["a.png", "cmyk.jpg", "grey.jpg", "palette.webp", "pixel.png", "wide.PNG"]
    document = json.loads((output / "detections.json").read_text())
    assert [Path(image["file_name"]).name for image in document["images"]] == names
    assert [image["id"] for image in document["images"]] == [1, 2, 3, 4, 5, 6]
    for image in document["images"]:
        with Image.open(output / image["picture"]) as picture:
            assert picture.size == (image["width"], image["height"])
            assert picture.mode == "RGB"
    assert sorted(path.name for path in output.iterdir()) == [
        *(image["picture"] for image in document["images"]), "detections.json",
    ]  # fmt: skip
    assert out.count(" with a score of 0.005 or more") == len(names)
    assert out.endswith(f"pictures and detections.json: {output}\n")


def test_the_json_is_coco(finished: Finished, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    tiny.qrecipe("predict", finished.folder, images / "a.png", images / "wide.PNG", "--output", output).fine  # noqa: B018
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(str(output / "detections.json"))
    assert found.getImgIds() == [1, 2]
    assert len(found.getAnnIds(imgIds=[1])) == len(found.getAnnIds(imgIds=[2])) == 15
    for entry in found.loadAnns(found.getAnnIds()):
        assert entry["area"] == pytest.approx(entry["bbox"][2] * entry["bbox"][3])
        assert entry["iscrowd"] == 0
        assert 0 < entry["score"] < 1
        assert entry["category_id"] in found.getCatIds()
    assert min(found.anns) == 1


def test_the_same_detections_as_evaluate(finished: Finished, tmp_path: Path) -> None:
    """Boxes in the pixels of the original, by the same path as evaluation."""
    file = tmp_path / "val.json"
    tiny.qrecipe("evaluate", finished.folder, "--detections", file).fine  # noqa: B018 - the property checks
    from qrecipe.data.synthetic import synthetic_splits
    from qrecipe.recipe import load_recipe

    val = synthetic_splits(load_recipe(finished.recipe).data.synthetic)["val"]
    tiny.qrecipe("predict", finished.folder, val.images, "--output", tmp_path / "out").fine  # noqa: B018
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["annotations"]
    expected = json.loads(file.read_text())
    assert [(one["image_id"], one["category_id"]) for one in found] == [
        (one["image_id"], one["category_id"]) for one in expected
    ]
    assert np.allclose([one["bbox"] for one in found], [one["bbox"] for one in expected], atol=1e-3)
    assert np.allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-5)


def test_boxes_are_drawn_from_the_threshold_on(finished: Finished, images: Path, tmp_path: Path) -> None:
    pixels = {}
    for threshold in (0, 1):
        words = (
            "predict",
            finished.folder,
            images / "a.png",
            "--threshold",
            threshold,
            "--output",
            tmp_path / str(threshold),
        )
        assert ("nothing with a score" in tiny.qrecipe(*words).fine) == (threshold == 1)
        with Image.open(tmp_path / str(threshold) / "0001_a.png") as picture:
            pixels[threshold] = np.asarray(picture)
    with Image.open(images / "a.png") as original:
        assert np.array_equal(pixels[1], np.asarray(original))
        assert not np.array_equal(pixels[0], np.asarray(original))


@pytest.mark.parametrize("which", ["recipe", "student"])
def test_other_targets(finished: Finished, images: Path, tmp_path: Path, which: str) -> None:
    target = finished.recipe if which == "recipe" else finished.folder / "student"
    out = tiny.qrecipe("predict", target, images, "--limit", 2, "--output", tmp_path / "out").fine
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 2
    assert ("data: val" in out) == (which == "recipe")  # a recipe's model needs to know the categories


def test_images_that_are_none(finished: Finished, images: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ("predict", finished.folder, images / "a.png", images / "notes.txt", "gone.png", tmp_path / "empty")
    error = tiny.qrecipe(*words, "--output", tmp_path / "out").error
    for text in ("notes.txt: is no image", "gone.png: is missing", f"{tmp_path / 'empty'}: the folder holds no"):
        assert text in error
    assert not (tmp_path / "out").exists()
    assert "gone.png: is missing" in tiny.qrecipe("predict", finished.folder, "gone.png").error


def test_an_image_that_is_cut_short(finished: Finished, images: Path, tmp_path: Path) -> None:
    """It is found out when it is decoded; the others are done."""
    whole = (images / "a.png").read_bytes()
    (images / "b.png").write_bytes(whole[: len(whole) // 2])
    error = tiny.qrecipe("predict", finished.folder, images, "--output", tmp_path / "out").error
    assert "6 of 7 images are done" in error
    assert "b.png" in error
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == 6


def test_nothing_is_overwritten(finished: Finished, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_text("mine")
    for name in ("file", "full"):
        error = tiny.qrecipe("predict", finished.folder, images, "--output", tmp_path / name).error
        assert str(tmp_path / name) in error
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
def test_limits_that_are_none(finished: Finished, images: Path, limit: str) -> None:
    answer = tiny.qrecipe("predict", finished.folder, images, "--limit", limit)
    assert answer.code == 2
    assert "is no count; write 1 or more" in answer.err


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "much"])
def test_thresholds_that_are_none(finished: Finished, images: Path, threshold: str) -> None:
    answer = tiny.qrecipe("predict", finished.folder, images, f"--threshold={threshold}")
    assert answer.code == 2
    assert "is no score between 0 and 1" in answer.err
