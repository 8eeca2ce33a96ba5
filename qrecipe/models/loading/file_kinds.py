"""What a file that was to hold weights or JSON is in truth: downloads and clones leave other things under its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...recipe.definition import KeyPath
from ..model_place import ModelPlace

START = 1024
"""Bytes that are looked at."""
LONGEST_HEADER = 100_000_000
"""Bytes of a header, above which safetensors refuses it."""
LFS = b"version https://git-lfs.github.com/spec/"
PAGE = (b"<!doctype html", b"<html", b"<?xml")
AGAIN = "download it again"
CONVERT = "only .safetensors is read: a pickle can run code. Convert it with safetensors.torch.save_file"
MAGIC: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip, as PyTorch saves its pickles", CONVERT),
    b"\x80\x02": ("a pickle, as PyTorch once saved it", CONVERT),
    b"\x80\x03": ("a pickle", CONVERT),
    b"\x80\x04": ("a pickle", CONVERT),
    b"\x80\x05": ("a pickle", CONVERT),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"GGUF": ("a GGUF file", CONVERT.partition(":")[0]),
    b"\x89HDF": ("an HDF5 file", CONVERT.partition(":")[0]),
}
"""How files begin; what they are then, and what to do about it."""


def foreign(file: Path) -> tuple[str, str] | None:
    """What a file is that is neither tensors nor JSON, and what to do about it; None where it may be either.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(START)
    if not start:
        return "is empty", AGAIN
    if start.startswith(LFS):
        remedy = "run `git lfs pull` where it was cloned, or fetch it with `hf download`"
        return "is a Git LFS pointer: it stands for a file that was not fetched", remedy
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGE):
        return "is a web page, as a download leaves it that was refused or redirected", AGAIN
    for magic, (kind, remedy) in MAGIC.items():
        if start.startswith(magic):
            return f"is {kind}", remedy
    return None


def cut_off(file: Path) -> str | None:
    """How much of a safetensors file is there, where that is not all of it; None where it is, or it is none.

    Raises:
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    header = _header(file)
    if header is None:
        return None
    length, entries = header
    if entries is None:
        return f"is cut off: it has {size} bytes, and its header alone {length}"
    offsets = [entry.get("data_offsets") for name, entry in entries.items() if name != "__metadata__"]
    if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int) for pair in offsets):
        return None
    whole = 8 + length + max((pair[1] for pair in offsets), default=0)
    return f"is cut off: it has {size} of {whole} bytes" if size < whole else None


def is_safetensors(file: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name is; False where it cannot be read."""
    try:
        return _header(file) is not None
    except OSError:
        return False


@contextmanager
def reading(what: Path, path: KeyPath, place: ModelPlace) -> Iterator[None]:
    """Whatever the file system refuses inside is one error at ``path`` of the model.

    Raises:
        ModelError: names the file, or else ``what``.
    """
    try:
        yield
    except OSError as error:
        raise place.error(path, f"{error.filename or what} cannot be read: {error.strerror or error}") from error


def read_mapping(file: Path, path: KeyPath, place: ModelPlace) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: it is something else, located at ``path`` of the model.
    """
    try:
        strange = foreign(file)
        data = None if strange else json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise place.error(path, f"{file} cannot be read: {reason or type(error).__name__}", AGAIN) from error
    if strange:
        raise place.error(path, f"{file} {strange[0]}", strange[1])
    if not isinstance(data, dict):
        raise place.error(path, f"{file} holds no JSON object, but {type(data).__name__}")
    return data


def _header(file: Path) -> tuple[int, dict[str, Any] | None] | None:
    """The length of a safetensors header in bytes, and its entries; no entries where the file ends within it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 9 or not 2 <= length <= LONGEST_HEADER:
            return None
        text = stream.read(length)
    if not text.startswith(b"{"):
        return None
    if len(text) < length:
        return length, None
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(entry, dict) for entry in entries.values()):
        return None
    return length, entries
