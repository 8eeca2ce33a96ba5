"""A gauge over a recipe's own data, whose measurements are kept in a folder and made once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import torch

from ..data.batch import Batch
from ..run.ledger import Ledger
from ..sensitivity_analysis import Gauge
from ..sensitivity_analysis.gauge import Bits
from ..sensitivity_analysis.measure import Trialled
from ..student import Original
from .detector import score, student_detector
from .events import Noted
from .workspace import Workspace

BATCH = 8
"""Images of a batch that predictions are compared on."""


class Trials:
    """What choices of bits cost: each is measured once, also when the command that asks was cut off in between.

    Predictions are compared on images of the training split, those behind the calibration's where there are enough; AP
    is the validation split's.

    Args:
        workspace: of the recipe. widths: bits that may be asked for. images: how many predictions are compared on.
        scored: whether trials have an AP too. folder: where measurements are kept. purpose: what else they depend on.

    Raises:
        RunError: the folder holds something else. QRecipeError: data, model or recipe do not fit.
    """

    def __init__(
        self,
        workspace: Workspace,
        widths: Sequence[int],
        images: int,
        folder: Path,
        purpose: str,
        scored: bool = False,
    ) -> None:
        self.workspace, self.scored = workspace, scored
        original, recipe = workspace.original, workspace.recipe
        spec = recipe.quantize.calibration
        calibration = self._batches(original, spec.batch_size, 0, spec.batches)
        seen, wanted = -(-sum(map(len, calibration)) // BATCH), -(-images // BATCH)
        compared = self._batches(original, BATCH, seen, wanted) or self._batches(original, BATCH, 0, wanted)
        self.images = sum(len(batch) for batch in compared)
        settings = {
            "purpose": purpose,
            "recipe": dict(recipe.resolved),
            "weights": _fingerprint(original),
            "bits": list(widths),
            "calibration": [image for batch in calibration for image in batch.image_ids],
            "images": [image for batch in compared for image in batch.image_ids],
        }
        with ExitStack() as on_failure:
            self.ledger = on_failure.enter_context(Ledger(folder, settings))
            self.gauge = Gauge(original, recipe, widths, calibration, compared, self._on_width)
            on_failure.pop_all()

    def _on_width(self, bits: int) -> None:
        self.workspace.listener(Noted("calibration", f"ranges of {bits} bits", progress=True))

    def _batches(self, original: Original, size: int, start: int, count: int) -> list[Batch]:
        """Batches of the training split as evaluation sees them: those of number ``start`` and on."""
        assert original.label_map is not None
        loader = self.workspace.batches("train", original.label_map, original.input, train=False, batch_size=size)
        return list(islice(loader, start, start + count))

    def __call__(self, bits: Bits) -> Trialled:
        """The distance to the real-valued model's predictions, and the AP if it was asked for."""
        return self.trial(bits, scored=self.scored)

    def trial(self, bits: Bits, *, scored: bool) -> Trialled:
        key = ["distance", _quantized(bits)]
        found = self.ledger.recall(key)
        if found is None:
            found = self.gauge.distance(bits).to_dict()
            self.ledger.keep(key, found)
        return Trialled(found["total"], self.AP(bits) if scored else None)

    def AP(self, bits: Bits) -> float | None:  # noqa: N802 - COCO's name
        """The AP on the validation split."""
        key = ["AP", _quantized(bits)]
        found = self.ledger.recall(key)
        if found is None:
            self.gauge.install(bits)
            found = {"AP": score(student_detector(self.gauge.student), self.workspace, "val")[0].AP}
            self.ledger.keep(key, found)
        value: float | None = found["AP"]
        return value

    def close(self) -> None:
        """Give the folder back."""
        self.ledger.close()

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _quantized(bits: Bits) -> dict[str, int]:
    """Without what is off: the same choice, however it is said."""
    return {name: width for name, width in bits.items() if width is not None}


def _fingerprint(original: Original) -> str:
    """Of the model's parameters and buffers."""
    found = hashlib.sha256()
    for name, value in original.captured.root.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
