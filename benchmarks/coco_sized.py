"""A synthetic set of COCO's numbers: how long it takes to read and check, what it holds in memory, how long it scores.

    python benchmarks/coco_sized.py FOLDER

118,287 images and 860,001 boxes of 80 categories, with polygons of COCO's length, so that the json is as long as
``instances_train2017.json``. The images' files are 64 small JPEGs (64x48) under hard links, so that opening a header
and decoding cost less than COCO's own files do on a disk; all else is paid in full. Evaluation: 5,000 images, 36,781
boxes, some of them crowds, and 100 detections an image.

Each measurement is a process of its own. Memory is what a process holds alone: of a worker, pages that it shares with
its parent do not count, and what it has copied of them does. FOLDER is made once and kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qrecipe.data.coco import CocoIndex, read_coco
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.document import Category
from qrecipe.data.images import read_header
from qrecipe.data.labels import LabelMap
from qrecipe.data.loader import build_loader
from qrecipe.data.truth import Truth
from qrecipe.evaluation import evaluate_results
from qrecipe.recipe.definition import InputSpec, SplitSpec, TransformSpec

IMAGES, BOXES, CATEGORIES = 118_287, 860_001, 80
EVALUATED, TRUE, FOUND = 5_000, 36_781, 100
FILES, WIDTH, HEIGHT, POINTS = 64, 64, 48, 24
MIB = 1 << 20


def make(folder: Path) -> SplitSpec:
    """The training set, made where it is not there yet."""
    split = SplitSpec(folder / "images", folder / "instances.json")
    if split.annotations.exists():
        return split
    rng = np.random.default_rng(0)
    split.images.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        pixels = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(folder / f"{number}.jpg")
    names = [f"{number + 1:012d}.jpg" for number in range(IMAGES)]
    for number, name in enumerate(names):
        os.link(folder / f"{number % FILES}.jpg", split.images / name)
    images = [
        {"id": number + 1, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 3, "date_captured": "2013"}
        for number, name in enumerate(names)
    ]
    document = {
        "info": {"description": "of COCO's size"},
        "images": images,
        "annotations": list(_annotations(rng, np.sort(rng.integers(1, IMAGES + 1, BOXES)), WIDTH, HEIGHT)),
        "categories": [{"id": number + 1, "name": f"kind {number}"} for number in range(CATEGORIES)],
    }
    partial = split.annotations.with_suffix(".partial")
    partial.write_text(json.dumps(document))
    partial.rename(split.annotations)
    return split


def _annotations(
    rng: np.random.Generator, owners: NDArray[np.int64], width: int, height: int
) -> Iterator[dict[str, Any]]:
    boxes = _boxes(rng, len(owners), width, height)
    kinds = rng.integers(1, CATEGORIES + 1, len(owners)).tolist()
    for number, (image, box, kind) in enumerate(zip(owners.tolist(), boxes.tolist(), kinds, strict=True), start=1):
        outline = (np.tile(box[:2], POINTS) + rng.random(2 * POINTS) * np.tile(box[2:], POINTS)).round(2)
        yield {
            "segmentation": [outline.tolist()],
            "area": box[2] * box[3],
            "iscrowd": 0,
            "image_id": image,
            "bbox": box,
            "category_id": kind,
            "id": number,
        }


def _boxes(rng: np.random.Generator, count: int, width: int, height: int) -> NDArray[np.float64]:
    """(count, 4) x, y, width, height within an image."""
    side = np.array([width, height])
    sizes = np.exp(rng.uniform(np.log(0.02), np.log(0.9), (count, 2))) * side
    return np.concatenate([rng.random((count, 2)) * (side - sizes), sizes], axis=1).round(2)


def held(process: int | None = None) -> float:
    """MiB that a process alone holds."""
    text = Path(f"/proc/{process or 'self'}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")) / 1024


def peak() -> float:
    """MiB that this process has had at most, since it began its program."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) / 1024


def reading(split: SplitSpec) -> str:
    """The annotations and every image's header."""
    before, began = held(), time.process_time()
    index = read_coco(split)
    seconds, most, own = time.process_time() - began, peak(), held() - before
    assert (len(index), sum(len(boxes) for boxes in index.boxes)) == (IMAGES, BOXES)
    began = time.process_time()
    for image in index.images:
        read_header(image.path)
    headers = time.process_time() - began
    size = split.annotations.stat().st_size / MIB
    return (
        f"| {size:.0f} MiB of json, {IMAGES} headers | {seconds:.1f} s, of which headers {headers:.1f} s | at most "
        f"{most:.0f} MiB, then {own:.0f} MiB |"
    )


def _loader(index: CocoIndex, workers: int) -> Any:
    inputs = InputSpec(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), mask=False)
    dataset = CocoDataset(index, LabelMap.contiguous(index.categories), inputs, TransformSpec())
    return build_loader(dataset, 64, shuffle=True, workers=workers)


def workers(split: SplitSpec, count: int = 2) -> str:
    """What workers hold of their own behind one batch and behind an epoch, and images in a second."""
    loader = _loader(read_coco(split), count)
    loader.set_epoch(1)
    began, own = time.perf_counter(), []
    for number, _ in enumerate(loader):
        if number in (count, len(loader.batches) - 2 * count):
            own.append([held(child.pid) for child in multiprocessing.active_children()])
    seconds = time.perf_counter() - began
    first, last = (max(sizes) for sizes in own)
    return (
        f"| {count} workers, an epoch | {IMAGES / seconds:.0f} images/s | a worker: {first:.0f} MiB at first, "
        f"{last:.0f} MiB at the end |"
    )


def truth_and_results() -> tuple[Truth, list[dict[str, Any]]]:
    """Boxes of which some are crowds, and detections: near a box, or anywhere."""
    rng = np.random.default_rng(1)
    image = np.sort(rng.integers(1, EVALUATED + 1, TRUE))
    category = rng.integers(1, CATEGORIES + 1, TRUE)
    boxes, crowd = _boxes(rng, TRUE, 640, 480), rng.random(TRUE) < 0.01
    categories = tuple(Category(number + 1, f"kind {number}") for number in range(CATEGORIES))
    images = tuple(range(1, EVALUATED + 1))
    truth = Truth(Path("made.json"), images, categories, image, category, boxes, boxes[:, 2] * boxes[:, 3], crowd)
    owner = np.repeat(np.arange(1, EVALUATED + 1), FOUND)
    found, kinds = _boxes(rng, len(owner), 640, 480), rng.integers(1, CATEGORIES + 1, len(owner))
    scores = rng.random(len(owner)) ** 3
    for number in range(TRUE):
        row = (image[number] - 1) * FOUND + number % FOUND
        found[row], kinds[row] = boxes[number] + rng.normal(0, 4, 4), category[number]
        scores[row] = rng.random()
    found[:, 2:] = found[:, 2:].clip(1)
    columns = owner.tolist(), kinds.tolist(), found.tolist(), scores.tolist()
    return truth, [
        {"image_id": one, "category_id": kind, "bbox": box, "score": score}
        for one, kind, box, score in zip(*columns, strict=True)
    ]


def evaluating(_: SplitSpec) -> str:
    """COCO's twelve numbers."""
    truth, results = truth_and_results()
    began = time.process_time()
    evaluation = evaluate_results(truth, results)
    seconds = time.process_time() - began
    return (
        f"| evaluation, {EVALUATED} images, {TRUE} boxes, {len(results)} detections | {seconds:.1f} s | at most "
        f"{peak():.0f} MiB; AP {evaluation.AP:.6f} |"
    )


MEASURED: dict[str, Callable[[SplitSpec], str]] = {"reading": reading, "workers": workers, "evaluating": evaluating}


def main() -> None:
    """Make the set, measure each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(MEASURED), default=list(MEASURED))
    arguments = parser.parse_args()
    split = make(arguments.folder)
    if len(arguments.only) == 1:
        print(MEASURED[arguments.only[0]](split), flush=True)
        return
    print("| | time | memory |\n|---|---|---|", flush=True)
    for name in arguments.only:
        subprocess.run([sys.executable, __file__, str(arguments.folder), "--only", name], check=True)


if __name__ == "__main__":
    main()
