from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qrecipe.cache_folder import default_cache
from qrecipe.data import synthetic
from qrecipe.data.coco import read_coco
from qrecipe.data.drawing import draw
from qrecipe.data.splits import resolve_splits
from qrecipe.data.synthetic import synthetic_splits
from qrecipe.errors import DataError
from qrecipe.recipe.definition import DataSpec, SplitSpec, SyntheticSpec

SMALL = SyntheticSpec(train=6, val=3, test=3, size=64, seed=1)

FIRST_SET = "54e36abc40799555fa9fdbc6085e5f8f5f161306aed4aa73be997b0a519b5796"
"""SHA-256 over pixels and boxes of the images drawn below. A change here means another data set: raise FORMAT."""


def digest(split: SplitSpec) -> str:
    index = read_coco(split)
    total = hashlib.sha256()
    for image, boxes in zip(index.images, index.boxes, strict=True):
        with Image.open(image.path) as pixels:
            total.update(np.asarray(pixels).tobytes())
        total.update(repr([(box.category_id, box.xyxy) for box in boxes]).encode())
    return total.hexdigest()


def test_the_same_on_every_run(tmp_path: Path) -> None:
    first, second = synthetic_splits(SMALL, tmp_path / "a"), synthetic_splits(SMALL, tmp_path / "b")
    for name, split in first.items():
        files = sorted(path.relative_to(tmp_path / "a") for path in split.images.parent.rglob("*.*"))
        assert len(files) == getattr(SMALL, name) + 1
        for path in files:
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
        assert digest(split) == digest(second[name])
    assert digest(first["train"]) == FIRST_SET


def test_splits_share_no_image(tmp_path: Path) -> None:
    seen: set[bytes] = set()
    for split in synthetic_splits(SMALL, tmp_path).values():
        for path in split.images.iterdir():
            with Image.open(path) as image:
                seen.add(np.asarray(image).tobytes())
    assert len(seen) == 12


def test_a_larger_split_starts_with_the_smaller(tmp_path: Path) -> None:
    small = synthetic_splits(SMALL, tmp_path)["val"]
    large = synthetic_splits(SyntheticSpec(train=6, val=5, test=3, size=64, seed=1), tmp_path)["val"]
    assert small.images != large.images
    assert (small.images / "000003.png").read_bytes() == (large.images / "000003.png").read_bytes()


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic_splits(SMALL, tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(synthetic, "draw", refuse)
    synthetic_splits(SMALL, tmp_path)


def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def killed(size: int, rng: np.random.Generator) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return draw(size, rng)

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "draw", killed)
        with pytest.raises(KeyboardInterrupt):
            synthetic_splits(SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(read_coco(synthetic_splits(SMALL, tmp_path)["train"])) == 6


def test_another_process_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = synthetic_splits(SMALL, tmp_path / "other")["train"].images.parent
    target = tmp_path / "cache" / final.name

    def overtaken(size: int, rng: np.random.Generator) -> object:
        if not target.exists():
            final.rename(target)
        return draw(size, rng)

    monkeypatch.setattr(synthetic, "draw", overtaken)
    only_train = synthetic_splits(SMALL, tmp_path / "cache")["train"]
    assert len(read_coco(only_train)) == 6
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_boxes_are_tight_and_objects_visible() -> None:
    empty = 0
    kinds = set()
    for seed in range(60):
        image, shapes = draw(96, np.random.default_rng(seed))
        assert image.size == (96, 96)
        assert image.mode == "RGB"
        assert len(shapes) <= 4
        empty += not shapes
        for shape in shapes:
            kinds.add(shape.kind)
            x, y, w, h = shape.bbox
            assert min(x, y) >= 0
            assert max(x + w, y + h) <= 96
            assert 96 * 0.12 * 0.6 <= max(w, h) <= 48
            assert min(w, h) >= 5
    assert kinds == {0, 1, 2}
    assert 0 < empty < 30


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QRECIPE_CACHE", str(tmp_path / "here"))
    assert default_cache() == tmp_path / "here"
    indices = resolve_splits(DataSpec(synthetic=SMALL), names=("val",))
    assert list(indices) == ["val"]
    assert indices["val"].annotations.is_relative_to(tmp_path / "here")
    monkeypatch.delenv("QRECIPE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "qrecipe"


def test_errors(tmp_path: Path) -> None:
    for spec in (SyntheticSpec(train=0), SyntheticSpec(size=16), SyntheticSpec(seed=-1)):
        with pytest.raises(DataError):
            synthetic_splits(spec, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="QRECIPE_CACHE"):
        synthetic_splits(SMALL, tmp_path / "file" / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
