"""The checkpoints of a training's last epochs: ``last``, and before it ``epoch-N``, N being the finished epochs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from ..errors import TrainError
from ..launched import is_first
from .checkpoint import load_checkpoint
from .files import writing

_NAME = re.compile(r"epoch-([1-9][0-9]*)")


def of_epoch(last: Path, epoch: int) -> Path:
    """Where the checkpoint of an epoch is kept once another one is ``last``."""
    return last.with_name(f"epoch-{epoch}")


def earlier(last: Path) -> list[Path]:
    """Checkpoints before ``last``, the latest first."""
    if not last.parent.is_dir():
        return []
    found = [(match, entry) for entry in last.parent.iterdir() if (match := _NAME.fullmatch(entry.name))]
    return [entry for _, entry in sorted(found, key=lambda one: -int(one[0][1]))]


def drop_earlier(last: Path, keep: int) -> None:
    """Leave so many before ``last``. Raises: RunError: the file system refuses it."""
    for folder in earlier(last)[keep:] if is_first() else ():
        with writing(folder):
            shutil.rmtree(folder)


@contextmanager
def offering_earlier(last: Path) -> Iterator[None]:
    """Where ``last`` cannot be read inside, its error names the one before it that can, and how to go on from there."""
    try:
        yield
    except TrainError as error:
        whole = next((folder for folder in earlier(last) if _is_whole(folder)), None)
        if whole is None:
            raise
        epoch = whole.name.partition("-")[2]
        aside = f"mv {quote(str(last))} {quote(f'{last}.damaged')} && " if last.exists() else ""
        remedy = (
            f"the checkpoint after epoch {epoch} is whole; to go on from there: "
            f"{aside}mv {quote(str(whole))} {quote(str(last))}, and --resume again"
        )
        raise TrainError(error.what, where=error.where, remedy=remedy) from error


def _is_whole(folder: Path) -> bool:
    try:
        return load_checkpoint(folder).training is not None
    except TrainError:
        return False
