"""What a run was started with beside its recipe: annotations, images, weights. A resumed run notices others.

Annotations and weights are known by their content, images by size and time of their files, or by content where asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..data.coco import CocoIndex
from ..errors import QRecipeError
from ..models.loading.weight_files import CONFIG, PROCESSORS, weight_files
from ..models.model_place import ModelPlace
from ..plain_text import short
from ..recipe.definition import KeyPath, ModelSpec
from .workspace import Workspace

SHOWN = 5


def inputs_of(workspace: Workspace, hash_images: bool = False) -> dict[str, Any]:
    """All of it as plain data. The synthetic set is a function of the recipe, and so are built-in weights.

    Args:
        hash_images: read every image, minutes for a large set; else only those that ``changes`` asks for.

    Raises:
        QRecipeError: the data cannot be used, or weights are not there.
    """
    recipe = workspace.recipe
    splits = workspace.data if recipe.data.format == "coco" else {}
    models = {"model": recipe.model, **({"teacher": recipe.teacher} if recipe.teacher is not None else {})}
    return {
        "data": {name: _split(index, hash_images) for name, index in splits.items()},
        "weights": {part: _weights(spec, part, workspace) for part, spec in models.items()},
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any], workspace: Workspace) -> list[str]:
    """A line for each thing that is not as it was, the first names of each; [] where all is."""
    lines: list[str] = []
    for name, now in new["data"].items():
        if name in old["data"]:
            lines += _changed_split(name, old["data"][name], now, workspace.data[name])
    for part, files in new["weights"].items():
        before = old["weights"].get(part, {})
        odd = [file for file in sorted({*before, *files}) if before.get(file) != files.get(file)]
        lines += [f"{part}.weights: {_some([f'{file} ({_how(before, files, file)})' for file in odd])}"] if odd else []
    return lines


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split(index: CocoIndex, hash_images: bool) -> dict[str, Any]:
    return {
        "annotations": sha256(index.annotations),
        "categories": {str(category.id): category.name for category in index.categories},
        "images": {record.file_name: _image(record.path, hash_images) for record in index.images},
    }


def _image(path: Path, hashed: bool) -> list[Any]:
    """Bytes, time in nanoseconds, and the content's sha256 or None."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, sha256(path) if hashed else None]


def _weights(spec: ModelSpec, part: str, workspace: Workspace) -> dict[str, str]:
    """The content of the files that a model is filled from, and of those beside them that say how it is built."""
    if spec.weights is None or spec.weights.builtin is not None:
        return {}

    def located(path: KeyPath, what: str, remedy: str | None = None) -> QRecipeError:
        return workspace.recipe.error((part, *path), what, remedy)

    files = weight_files(spec.weights, ModelPlace(located))
    if spec.weights.file is None:
        files = [*files, *(own for name in (CONFIG, *PROCESSORS) if (own := files[0].parent / name).is_file())]
    return {file.name: sha256(file) for file in files}


def _changed_split(name: str, old: Mapping[str, Any], new: Mapping[str, Any], index: CocoIndex) -> Iterator[str]:
    if old["annotations"] != new["annotations"]:
        yield f"data.{name}.annotations: {index.annotations} has another content"
    before, now = old["categories"], new["categories"]
    odd = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if odd:
        some = [f"{key} is {_named(now, key)} and was {_named(before, key)}" for key in odd]
        yield f"data.{name}.annotations: categories: {_some(some)}"
    own = [
        f"{record.file_name} ({how})"
        for record in index.images
        if record.file_name in old["images"]
        and (how := _changed_image(record.path, old["images"][record.file_name], new["images"][record.file_name]))
    ]
    if own:
        yield f"data.{name}.images: {len(own)} of {len(index.images)} files: {_some(own)}"


def _changed_image(path: Path, old: list[Any], new: list[Any]) -> str:
    """How a file has changed; "" where it has not. Time alone says nothing where the content is known."""
    if old[0] != new[0]:
        return "other size"
    if old[2] is None:
        return "" if old[1] == new[1] else "other time"
    if new[2] is None and old[1] == new[1]:
        return ""
    return "" if old[2] == (new[2] or sha256(path)) else "other content"


def _how(before: Mapping[str, str], now: Mapping[str, str], file: str) -> str:
    return "new" if file not in before else "gone" if file not in now else "other content"


def _named(categories: Mapping[str, str], key: str) -> str:
    return short(categories[key]) if key in categories else "absent"


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
