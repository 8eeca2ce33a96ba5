"""What happens within a student and its teacher on a few images: noise of quantizers, queries, attention."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..evidence import Attended, Noise, attended, histograms, measuring_noise, watched_like, why_not_attended
from ..placement import placement_of
from ..planning import WhichModel
from ..student import Original, Student
from ..vocabulary import LOGITS, QUERY
from .experiment import Experiment

ATTENDED = 3
"""Images whose attention is shown."""
COLOUR = (220, 38, 38)
"""Of attention: the more there is, the less can be seen through it."""

Values = NDArray[np.float32]


@dataclass
class _Seen:
    """Of one model. queries, aligned: by decoder layer, of each image. attention: of the last layer, by image id.

    reason: why there is no attention.
    """

    queries: dict[int, list[Values]] = field(default_factory=dict)
    aligned: dict[int, list[Values]] = field(default_factory=dict)
    attention: dict[int, Attended] = field(default_factory=dict)
    noise: dict[str, Noise] = field(default_factory=dict)
    reason: str = ""


def look_inside(experiment: Experiment, student: Student, images: int) -> dict[str, Any]:
    """Noise, queries and attention on the first images of the validation split, as plain data.

    Raises:
        QRecipeError: the data cannot be used.
    """
    workspace = experiment.workspace
    own = _look(experiment, student, workspace.original, "model", images)
    teacher = _look(experiment, experiment.teacher, workspace.teacher_original, "teacher", images)
    return {
        "looked_into": min(images, len(workspace.data["val"].images)),
        "noise": _noise(student, own),
        "queries": _queries(teacher, own),
        "attention": {"reason": teacher.reason or own.reason, "images": _attention(teacher, own)},
    }


def _look(experiment: Experiment, student: Student, original: Original, part: WhichModel, images: int) -> _Seen:
    seen, twin = _Seen(), watched_like(student, original, part)
    layers = [tap.layer for tap in twin.plan.taps if tap.role == LOGITS]
    seen.reason = why_not_attended(student, original, part)
    assert twin.label_map is not None
    place = placement_of(twin)
    loader = experiment.workspace.batches("val", twin.label_map, twin.input, train=False, batch_size=1)
    with measuring_noise(twin) as seen.noise, _watching_alignments(twin, seen.aligned):
        for number, batch in enumerate(islice(loader, images)):
            pixels, mask = batch.pixel_values, batch.pixel_mask
            inputs = twin.family.inputs(place.move(pixels), None if mask is None else place.move(mask))
            ran = twin.run(inputs, taps=True)
            for tap in twin.plan.taps:
                if tap.role == QUERY and tap.name in ran.taps:
                    seen.queries.setdefault(tap.layer, []).append(_plain(ran.taps[tap.name]))
            if number < ATTENDED and not seen.reason:
                tap = next(tap for tap in twin.plan.taps if tap.role == LOGITS and tap.layer == layers[-1])
                prediction = twin.family.read(ran.outputs, ran.extras)
                size = int(pixels.shape[-2]), int(pixels.shape[-1])
                found = attended(ran.taps[tap.name], tap, prediction, twin.family.scores, size)
                if found is None:
                    seen.reason = "the keys of its cross-attention are not the places of one feature map"
                else:
                    seen.attention[batch.image_ids[0]] = found
    return seen


@contextmanager
def _watching_alignments(student: Student, found: dict[int, list[Values]]) -> Iterator[None]:
    """What alignments that are on give, by layer."""

    def keep(layer: int) -> Any:
        def hook(_: nn.Module, given: object, out: Tensor) -> None:
            found.setdefault(layer, []).append(_plain(out))

        return hook

    with ExitStack() as stack:
        for layer, alignment in student.query_alignments.items():
            if alignment.mode == "on":
                stack.callback(alignment.register_forward_hook(keep(layer)).remove)
        yield


def _plain(value: Tensor) -> Values:
    flat: Values = value.detach().float().cpu().numpy().reshape(-1)
    return flat


def _noise(student: Student, seen: _Seen) -> list[dict[str, Any]]:
    """Of each quantizer that is on, the worst first; those that change nothing come last."""
    sites = student.plan.quantizers
    found = [
        {
            "site": sites[name].name,
            "role": sites[name].role,
            "kind": sites[name].kind,
            "bits": student.quantizers[name].spec.bits,
            "decibels": None if noise.decibels is None else round(noise.decibels, 2),
        }
        for name, noise in seen.noise.items()
    ]
    return sorted(found, key=lambda one: np.inf if one["decibels"] is None else one["decibels"])


def _queries(teacher: _Seen, student: _Seen) -> list[dict[str, Any]]:
    """A histogram for each decoder layer of the student; the teacher's layers are counted from the last one."""
    found = []
    for layer in sorted(student.queries):
        other = max(teacher.queries, default=0) - max(student.queries) + layer
        named = {"teacher": teacher.queries.get(other), "student": student.queries[layer]}
        if layer in student.aligned:
            named |= {"student, aligned": student.aligned[layer]}
        values = {name: np.concatenate(own) for name, own in named.items() if own}
        if all(bool(np.isfinite(own).all()) for own in values.values()):
            found.append({"layer": layer, **histograms(values)})
    return found


def _attention(teacher: _Seen, student: _Seen) -> list[dict[str, Any]]:
    """Of each image that both have: its id; and of each model the map as a PNG in base64, a score and a box."""
    return [
        {"id": key, "teacher": _drawn(teacher.attention[key]), "student": _drawn(student.attention[key])}
        for key in teacher.attention
        if key in student.attention
    ]


def _drawn(found: Attended) -> dict[str, Any]:
    strength = np.round(230 * found.weights / max(float(found.weights.max()), 1e-12)).astype(np.uint8)
    ground = np.broadcast_to(np.array(COLOUR, dtype=np.uint8), (*strength.shape, 3))
    file = io.BytesIO()
    Image.fromarray(np.dstack([ground, strength]), "RGBA").save(file, "PNG")
    x, y, width, height = found.box
    box = [round(value, 4) for value in (x - width / 2, y - height / 2, width, height)]
    return {"map": base64.b64encode(file.getvalue()).decode(), "score": round(found.score, 3), "box": box}
