"""An image with boxes on it, as SVG over one picture that several panels share."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...plain_text import short
from ...run.evidence import read_picture
from .svg import label

LONGEST = 480
"""Of a panel's drawing, in its own units."""
LABELLED = 8
"""Boxes of a panel that have their names beside them; of more, names are in the words below, and shown by a mouse."""

LETTER, LINE = 10, 17
"""Of names, in the drawing's units: a letter's width, and a line's height."""

Place = tuple[float, float, float, float]
"""Left, top, width and height in the drawing."""


@dataclass(frozen=True)
class Panel:
    """title: what it shows. svg: the picture with its boxes. words: the same as a sentence."""

    title: str
    svg: str
    words: str


@dataclass(frozen=True)
class Picture:
    """What panels have as their ground. data: a JPEG as a data URI. width, height: drawn."""

    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Shown:
    """One image. name: of its file. note: how far the two are apart."""

    name: str
    note: str
    picture: Picture
    panels: tuple[Panel, ...]


def shown_images(found: Mapping[str, Any], folder: Path, most: int) -> tuple[Shown, ...]:
    """The images on which teacher and student disagree most.

    Args:
        found: what ``evidence.json`` holds. folder: the run. most: images.
    """
    names = [short(name, 24) for name in found["names"]]
    return tuple(_shown(one, names, picture_of(one, folder)) for one in found["images"][:most])


def picture_of(one: Mapping[str, Any], folder: Path) -> Picture:
    """A picture of the run's, drawn in its own aspect; ``width`` and ``height`` are the image's."""
    scale = LONGEST / max(one["width"], one["height"])
    size = max(round(one["width"] * scale), 1), max(round(one["height"] * scale), 1)
    data = base64.b64encode(read_picture(folder, one["picture"])).decode()
    return Picture(f"data:image/jpeg;base64,{data}", *size)


def _shown(one: Mapping[str, Any], names: Sequence[str], picture: Picture) -> Shown:
    truth = [(names[own[0]], own[1:5], "truth", None) for own in one["truth"]]
    counts = Counter(name for name, *_ in truth)
    panels = [Panel("truth", drawn("truth", truth, picture), _counted(counts) or "nothing is there")]
    for model in ("teacher", "student"):
        found = {own[6] for own in one[model]}
        boxes = [(name, box, "missed", None) for at, (name, box, *_) in enumerate(truth) if at not in found]
        boxes += [(names[own[0]], own[1:5], "false" if own[6] is None else "right", own[5]) for own in one[model]]
        boxes.sort(key=lambda one: one[2] == "false")  # on top: dots are seen over a line, a line hides them
        by_kind = {kind: Counter(name for name, _, own, _ in boxes if own == kind) for kind in ("missed", "false")}
        words = f"finds {len(found - {None})} of {len(truth)}"
        words += "".join(f"; {kind}: {_counted(own)}" for kind, own in by_kind.items() if own)
        panels.append(Panel(model, drawn(f"{model}: {words}", boxes, picture), words))
    apart = one["disagreement"]
    note = f"{apart} disagreement{'s' * (apart != 1)}" if apart else "no disagreement"
    return Shown(short(one["file_name"]), note, picture, tuple(panels))


def drawn(
    title: str,
    boxes: Sequence[tuple[str, Sequence[float], str, float | None]],
    picture: Picture,
    over: str = "",
) -> str:
    """Boxes for a picture that is their ground.

    Args:
        boxes: (name, (x, y, width, height) in 0..1, class of its style, score).
        over: SVG between the picture and the boxes.
    """
    parts, names = [over], list[tuple[str, Place]]()
    for name, (x, y, wide, high), kind, score in boxes:
        place = x * picture.width, y * picture.height, max(wide, 0) * picture.width, max(high, 0) * picture.height
        said = f"{kind}: {name}" if score is None else f"{kind}: {name} {score:.2f}"
        at = " ".join(f'{key}="{value:.1f}"' for key, value in zip(("x", "y", "width", "height"), place, strict=True))
        parts.append(f'<rect class="box {kind}" {at}><title>{label(said)}</title></rect>')
        if len(boxes) <= LABELLED and name:
            names.append((name if score is None else f"{name} {score:.2f}", place))
    parts += _names(names, picture)
    return (
        f'<svg class="panel" viewBox="0 0 {picture.width} {picture.height}" role="img" '
        f'aria-label="{label(title)}">{"".join(parts)}</svg>'
    )


def _names(names: Sequence[tuple[str, Place]], picture: Picture) -> list[str]:
    """Each above its box, else below it, else within; nowhere if others are in the way everywhere."""
    taken: list[tuple[str, float, float]] = []
    for text, (x, y, _, high) in names:
        width = LETTER * len(text)
        left = max(min(x, picture.width - width), 3.0)
        for base in (y - 5, y + high + LINE, y + LINE):
            apart = all(
                left + width < other or left > other + LETTER * len(before) or abs(base - at) >= LINE
                for before, other, at in taken
            )
            if apart and LINE <= base <= picture.height - 4:
                taken.append((text, left, base))
                break
    return [f'<text x="{left:.1f}" y="{base:.1f}">{label(text)}</text>' for text, left, base in taken]


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in names.most_common())
