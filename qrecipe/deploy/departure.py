"""Where a file first departs from its student: integers of its activations, in the file's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..detection.prediction import Prediction
from ..runtimes import Array, Runtime, find_runtime
from ..student import Student
from .differences import Differences
from .integers import END
from .lower import Lowered
from .opened import OpenedFile
from .saturation import has_vnni, saturating

OTHER = 0.5
"""Of an image's values at a site: their error, as a share of their own spread, above which they are others. Values of
other queries have 1.4; a fifth of 4-bit levels rounded otherwise gives 0.15."""
MOVED = 1e-6
"""By how much of their mean magnitude the student's values are moved, to see what rounding alone makes of them."""
BEYOND = 2.0
"""How many times that error a file's must be: a deep network of nearly equal values carries one tipped level far."""

NAMED = 3
"""Modules that a line names."""
REMEDY = "weights of 7 bits (quantize.weight.bits: 7) hold them"


@dataclass(frozen=True)
class Departure:
    """first: the first site with any value that differs, and their share. site: the first one where the values of
    some image are others; None where none is. images: the share of images where they are at last.

    behind: whether ``site`` comes behind a top-k. plain: whether the file departs in ONNX Runtime without rewrites too,
    before any top-k or in most of its queries: an error of the export. saturating: modules whose sums can leave 16
    bits for these values. vnni: whether this processor holds them all the same.
    """

    first: str | None
    share: float
    site: str | None
    images: float
    behind: bool
    plain: bool
    saturating: tuple[str, ...]
    vnni: bool | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """What it is, for the user."""
        if self.first is None:
            return "every integer activation is the student's"
        start = f"the first activation to differ is {self.first}, in {self.share:.2g} of its values"
        if self.site is None:
            return f"{start}: rounding"
        if self.plain:
            return f"{self.site} departs, also without the runtime's rewrites: an error of the export"
        if self.behind:
            return f"{start}: rounding; a top-k then chooses otherwise in {self.images:.0%} of the images ({self.site})"
        if self.vnni is False and self.saturating:
            some, more = self.saturating[:NAMED], len(self.saturating) - NAMED
            named = ", ".join(some) + (f" and {more} more" if more > 0 else "")
            return f"{self.site} departs; sums leave 16 bits on this processor in {named}; {REMEDY}"
        return f"{start}; it grows to {self.site}, where values are others in {self.images:.0%} of the images"


@torch.no_grad()
def find_departure(
    opened: OpenedFile, student: Student, lowered: Lowered, pixels: Tensor, runtime: Runtime
) -> Departure:
    """Compare one batch, (batch, 3, height, width), that the file takes as it is. The student is on the CPU."""
    model = onnx.load(str(opened.path))
    names, behind = _integers(model)
    with _watched(student, lowered) as expected:
        prediction = student.predict(pixels)
    with _watched(student, lowered) as moved, _moving(student):
        tipped = student.predict(pixels)
    arrays = {"pixel_values": np.ascontiguousarray(pixels.numpy())}
    known = {site: name for site, name in names.items() if site in expected}
    found = runtime.open(opened.path, extra=list(known.values())).run(arrays)
    plain = find_runtime().open(opened.path, extra=list(known.values()), rewrites=False).run(arrays)
    first, share, site, last = None, 0.0, None, np.zeros(len(pixels), dtype=bool)
    wrong = mostly_others(prediction, _read(plain)) and not mostly_others(prediction, tipped)
    for own, name in known.items():
        if name not in found:  # OpenVINO gives some values no name of their own
            continue
        rounded = None if own in behind else moved[own]  # behind a top-k any near tie is told as such
        part, others = images_apart(expected[own], found[name], len(pixels), rounded)
        if part and first is None:
            first, share = own, part
        if others.any() and site is None:
            site = own
        last |= others
        wrong |= own not in behind and bool(images_apart(expected[own], plain[name], len(pixels), rounded)[1].any())
    images = float(last.mean())
    return Departure(first, share, site, images, site in behind, wrong, saturating(model, plain), has_vnni())


def mostly_others(expected: Prediction, found: Prediction) -> bool:
    """Whether most queries are none of the student's, by their boxes: more than a near tie in a top-k changes."""
    differences = Differences()
    differences.add(expected, found)
    return differences.other > differences.queries / 2


def _read(found: Mapping[str, Array]) -> Prediction:
    logits, boxes = (torch.from_numpy(np.array(found[name])) for name in ("logits", "boxes"))
    return Prediction(logits, boxes)


def _integers(model: onnx.ModelProto) -> tuple[dict[str, str], frozenset[str]]:
    """The value that holds an activation's integers by its site, in the file's order; sites behind a top-k."""
    made = {output for node in model.graph.node for output in node.output}
    names: dict[str, str] = {}
    late: set[str] = set()
    behind: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "TopK" or late.intersection(node.input):
            late.update(node.output)
        if node.name.endswith(END):
            site = node.name.removesuffix(END)
            stored = node.input[0] if node.op_type == "DequantizeLinear" else f"{site}/integers"
            if stored in made:
                names[site] = stored
                if node.output[0] in late:
                    behind.add(site)
    return names, frozenset(behind)


@contextmanager
def _watched(student: Student, lowered: Lowered) -> Iterator[dict[str, Array]]:
    """What a file should store for each activation, by site, once the student has run."""
    seen: dict[str, Array] = {}
    counts: dict[str, int] = {}
    hooks = []
    for site, quantizer in student.quantizers.items():
        row = lowered.operands.get(site)
        if row is None or row.weight is not None:
            continue

        def keep(module: Any, inputs: Sequence[Tensor], _: Any, site: str = site, shift: int = row.shift) -> None:
            count = counts[site] = counts.get(site, -1) + 1
            integers = module.integers(inputs[0]).cpu().numpy().astype(np.int64) + shift
            seen[f"{site}/{count}" if count else site] = integers

        hooks.append(quantizer.register_forward_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _moving(student: Student) -> Iterator[None]:
    """Every activation is moved by as little as another order of summing may move it, before it is rounded."""
    generator = torch.Generator().manual_seed(0)

    def move(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        noise = torch.randn(inputs[0].shape, generator=generator, dtype=inputs[0].dtype)
        return (inputs[0] + MOVED * inputs[0].abs().mean() * noise, *inputs[1:])

    rounded = [quantizer for quantizer in student.quantizers.values() if not quantizer.operand.is_weight]
    hooks = [quantizer.register_forward_pre_hook(move) for quantizer in rounded]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def images_apart(
    expected: Array, found: Array, images: int, moved: Array | None = None
) -> tuple[float, NDArray[np.bool_]]:
    """The share of values that differ, and for each image whether its values are others.

    Images come first, alone or with heads in one dimension; a value without them is every image's. ``moved`` has the
    student's own values, had it rounded otherwise.
    """
    if len(expected) % images:
        expected, found = (np.broadcast_to(value, (images, *value.shape)) for value in (expected, found))
        moved = None if moved is None else np.broadcast_to(moved, (images, *moved.shape))
    if expected.size != found.size:
        return 1.0, np.ones(images, dtype=bool)
    own = expected.astype(np.float64).reshape(images, -1)
    off = own - found.astype(np.float64).reshape(images, -1)
    error = np.sqrt((off**2).mean(1))
    others = error > OTHER * np.maximum(own.std(1), 0.5)
    if moved is not None:
        others &= error > BEYOND * np.sqrt(((own - moved.astype(np.float64).reshape(images, -1)) ** 2).mean(1))
    return float((off != 0).mean()), others
