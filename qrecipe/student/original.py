"""A detector that is captured and verified: the original of any number of students."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..capture import capture, settled_switches, verify
from ..capture_cache import KeptCapture
from ..data.labels import LabelMap
from ..errors import CaptureError
from ..graph.captured import Captured
from ..graph.inputs import image_shape
from ..graph.program import MODES, GraphMode
from ..models.families import Family
from ..models.open_windows import open_windows
from ..placement import placement_of
from ..recipe.definition import InputSpec
from ..structure import Structure, analyse


@dataclasses.dataclass(frozen=True)
class Original:
    """A captured, verified detector, from which any number of students are made.

    notes: how the capture was come by, where it was not simply made.
    """

    captured: Captured
    family: Family
    input: InputSpec
    label_map: LabelMap | None = None
    notes: tuple[str, ...] = ()
    _structures: dict[tuple[tuple[str, str], ...], Structure] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def structure(self, roles: Mapping[str, str] | None = None) -> Structure:
        """The model, analysed; once for all that ask with the same overrides of roles.

        Raises:
            PlanError: an override of no role, or one that matches no module.
        """
        key = tuple((roles or {}).items())
        if key not in self._structures:
            self._structures[key] = analyse(self.captured, roles)
        return self._structures[key]


def capture_original(
    model: nn.Module,
    family: Family,
    image_input: InputSpec,
    example: Tensor | None = None,
    label_map: LabelMap | None = None,
    *,
    cache: bool = False,
    code: Sequence[str] = (),
) -> Original:
    """Capture a model in both modes, and verify it at two other sizes, outputs and gradients.

    Args:
        cache: whether a capture that was kept on disk will do, and a new one is kept. code: names of modules on which
            the model depends beside those of its classes, as that of its factory.

    Raises:
        CaptureError: as ``compile``.
    """
    placement = placement_of(model)

    def images(batch: int, height: int, width: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(height * 10_007 + width)
        pixels = placement.move(torch.rand(batch, 3, height, width, generator=generator, dtype=placement.dtype))
        mask = torch.ones(batch, height, width, dtype=torch.int64, device=placement.device)
        mask[0, height * 3 // 4 :] = 0  # real padding, so that masks are seen to matter
        return family.inputs(pixels, mask)

    if example is None:
        height, width = _example_size(image_input)
        first = images(2, height, width)
    else:
        example = _unlike(example)
        height, width = int(example.shape[-2]), int(example.shape[-1])
        first = family.inputs(example, None)
    largest = _largest(image_input)
    with settled_switches(placement.device):
        kept = KeptCapture(model, family.forward, first, code, largest) if cache else None
        captured = kept.read() if kept is not None else None
        if kept is not None and captured is not None and not _holds(captured, model, family, images, (height, width)):
            kept.refuse()
            captured = None
        if captured is None:
            with open_windows(model):  # the comparison below is with the model's own code
                captured = capture(model, family.forward, first, largest)
            with kept.watching() if kept is not None else nullcontext():
                _verify(captured, model, family, images, (height, width))
            if kept is not None:
                kept.write(captured)
    return Original(captured, family, image_input, label_map, tuple(kept.notes) if kept is not None else ())


def _holds(
    captured: Captured,
    model: nn.Module,
    family: Family,
    images: Callable[[int, int, int], dict[str, Tensor]],
    size: tuple[int, int],
) -> bool:
    """Whether a capture that was kept still computes what its model does, in both modes, at a size that it takes.

    Its key holds code, settings and shapes; a forward may also read what none of them shows: a dict that a file was
    read into, an attribute of a class, the environment.
    """
    compared: set[GraphMode] = set()
    for high, wide in _around(*size):
        for example in _others(images, high, wide):
            try:
                found = verify(captured, model, family.forward, [example], gradients=False)
            except CaptureError:
                return False
            compared |= {agreement.mode for agreement in found}
            if compared >= set(MODES if captured.training else ("eval",)):
                return True
    return bool(compared)  # where it runs at none of the sizes, it was not compared before either


def _verify(
    captured: Captured,
    model: nn.Module,
    family: Family,
    images: Callable[[int, int, int], dict[str, Tensor]],
    size: tuple[int, int],
) -> None:
    """Raises: CaptureError: it differs from the model, or the model runs at none of the sizes near ``size``."""
    tried: list[dict[str, Tensor]] = []
    for high, wide in _around(*size):
        others = _others(images, high, wide)
        if verify(captured, model, family.forward, others):
            return
        tried += others
    raise CaptureError(
        "the model itself runs at none of the sizes at which its capture was to be verified: "
        + ", ".join(str(image_shape(inputs)) for inputs in tried),
        where=type(model).__name__,
        remedy="give example_inputs of a size that the model takes, with other sizes near it",
    )


def _others(images: Callable[[int, int, int], dict[str, Tensor]], high: int, wide: int) -> list[dict[str, Tensor]]:
    """Inputs of two sizes near one."""
    return [
        images(1, _near(high, 32), _near(wide, -32)),
        images(3, _near(high * 3 // 4, 0), _near(wide * 5 // 4, 0)),
    ]


def _largest(image_input: InputSpec) -> int | None:
    """What no side of an image that is prepared so is above; None where its aspect decides."""
    bound = image_input.size or image_input.within
    if bound is not None:
        return max(bound)
    return None if image_input.longest is None else image_input.longest * 21 // 20  # thin images pass it by a little


def _example_size(image_input: InputSpec) -> tuple[int, int]:
    """A size to capture at. Height and width differ, so that they are not taken for one symbol."""
    if image_input.size is not None:
        height, width = image_input.size
        return (height, width if width != height else width + 32)
    return (256, 320)


VERIFIED = 128 * 160
"""Pixels of an image at which a capture is compared with its model: gradients of a large image would take minutes."""


def _around(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes near which a capture is compared with its model: a smaller one first, where a model may take it."""
    share = (VERIFIED / (height * width)) ** 0.5
    return [*([(int(height * share), int(width * share))] if share < 1 else []), (height, width)]


def _unlike(example: Tensor) -> Tensor:
    """At least two images whose height and width differ: equal sizes, and a size of 1, would be taken for constants."""
    if example.shape[0] == 1:
        example = example.repeat(2, 1, 1, 1)
    return nn.functional.pad(example, (0, 32)) if example.shape[-1] == example.shape[-2] else example


def _near(extent: int, step: int) -> int:
    """A size near ``extent``, on the grid of 32 pixels that detectors with several scales ask for."""
    return max(64, (extent + step) // 32 * 32)
