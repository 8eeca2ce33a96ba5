"""An exported file that detects, with nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..detection.prediction import Prediction
from ..errors import DataError, ExportError
from ..runtimes import DEFAULT, Session, find_runtime, need
from .metadata import KEY, Metadata

Predict = Callable[[Tensor], Prediction]


def read_metadata(path: Path) -> Metadata:
    """What a file says of itself.

    Raises: ExportError: it cannot be read, is no ONNX file, or is another program's.
    """
    need("onnx")
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ExportError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from error
    except Exception as error:  # protobuf's own classes
        raise ExportError("this is no ONNX file", where=str(path), remedy="name one of qrecipe export") from error
    text = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    if text is None:
        by = f" (it says {model.producer_name})" if model.producer_name else ""
        raise ExportError(
            f"this ONNX file is another program's{by}: it does not say how its images are prepared or its logits read",
            where=str(path),
            remedy="name one of qrecipe export",
        )
    try:
        return Metadata.read(text)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, DataError) as error:
        more = f": {error}" if type(error) in (ValueError, DataError) else ""
        what = f"what this file says of itself is damaged{more}"
        raise ExportError(what, where=str(path), remedy="export again") from error


@dataclass(frozen=True)
class OpenedFile:
    """A file in a runtime."""

    path: Path
    metadata: Metadata
    session: Session

    def predict(self, pixels: Tensor, mask: Tensor | None = None) -> Prediction:
        """Logits and boxes. pixels: (batch, 3, height, width); mask: (batch, height, width), 1 = image.

        Padded images are cut out and run alone: the file takes all of an image for image.

        Raises: ExportError: the size is not the one that the file was fixed to, or the runtime fails.
        """
        return alone(self._run, pixels, mask)

    def _run(self, pixels: Tensor) -> Prediction:
        batch, *fixed = self.metadata.fixed
        require_size(fixed, pixels.shape[2:], self.path, "export without --height and --width")
        if batch in (None, len(pixels)):
            return self._ask(pixels)
        parts = [self._ask(self.filled(part), len(part)) for part in torch.split(pixels, batch)]
        return _joined(parts)

    def filled(self, pixels: Tensor) -> Tensor:
        """As many images as a fixed batch has: the last one repeated, or the first ones."""
        batch = self.metadata.fixed[0]
        if batch is None:
            return pixels
        return torch.cat([pixels[:batch], pixels[-1:].expand(max(batch - len(pixels), 0), -1, -1, -1)])

    def _ask(self, pixels: Tensor, count: int | None = None) -> Prediction:
        found = self.session.run({"pixel_values": np.ascontiguousarray(pixels.cpu().numpy())})
        logits, boxes = (torch.from_numpy(np.asarray(found[name])[:count]) for name in ("logits", "boxes"))
        return Prediction(logits, boxes)


def open_file(path: Path | str, runtime: str = DEFAULT, *, threads: int | None = None) -> OpenedFile:
    """Raises: ExportError: as ``read_metadata``, or the runtime does not read it or is not installed."""
    path = Path(path)
    metadata = read_metadata(path)
    return OpenedFile(path, metadata, find_runtime(runtime).open(path, threads=threads))


def require_size(fixed: Sequence[int | None], size: Sequence[int], path: Path | None, remedy: str) -> None:
    """Raises: ExportError: images of a height and width are not of those that a file is fixed to; None is any."""
    for name, wanted, own in zip(("height", "width"), fixed, size, strict=True):
        if wanted not in (None, own):
            what = f"its {name} is fixed to {wanted}, and the images are prepared to {own}"
            raise ExportError(what, where=None if path is None else str(path), remedy=remedy)


def prepared_sizes(pixels: Tensor, mask: Tensor | None) -> list[tuple[int, int]]:
    """Height and width of each image of a batch, without its padding; shapes as of ``alone``."""
    if mask is None:
        return [(pixels.shape[2], pixels.shape[3])] * len(pixels)
    return [(int(own.any(1).sum()), int(own.any(0).sum())) for own in mask]


def alone(predict: Predict, pixels: Tensor, mask: Tensor | None) -> Prediction:
    """Run a batch at once, or where it is padded each image without its padding.

    pixels: (batch, 3, height, width). mask: (batch, height, width), 1 = image, at the left and the top.
    """
    if mask is None or bool(mask.all()):
        return predict(pixels)
    sizes = prepared_sizes(pixels, mask)
    own = zip(pixels, sizes, strict=True)
    return _joined([predict(image[None, :, :height, :width]) for image, (height, width) in own])


def _joined(parts: list[Prediction]) -> Prediction:
    return Prediction(torch.cat([one.logits for one in parts]), torch.cat([one.boxes for one in parts]))
