"""What a quantizer sees while it is calibrated: exact statistics, and a sample to search ranges on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import CalibrationError
from .sampling import spread_sample

# Values kept of one batch of one tensor, over all its scales; each scale keeps at least SAMPLE_PER_SCALE.
SAMPLE = 8192
SAMPLE_PER_SCALE = 512


@dataclass(frozen=True)
class Observed:
    """Statistics per scale, each (size,); float32, or float64 where the tensor is.

    minimum, maximum, mean, std (population), mean_magnitude: over all values seen.
    sample: (size, K), in no particular order.
    count: LSQ's N: values that share one scale, of one sample of the batch.
    moment: of a weight, the mean of x x^T over what it multiplies, (groups, K, K), where that was watched.
    """

    minimum: Tensor
    maximum: Tensor
    mean: Tensor
    std: Tensor
    mean_magnitude: Tensor
    sample: Tensor
    count: int
    moment: Tensor | None = None


class Observer:
    """Collects the statistics of one site over batches of any sizes.

    Args:
        name: the site, for errors.
        size: number of scales.
        axis: the dimension that has its own scales, or None.
        keep_all: keep every value as the sample, and only of the last tensor seen (a weight, which calibration does
            not change); else a bounded, deterministic sample of each.
    """

    def __init__(self, name: str, size: int, axis: int | None, keep_all: bool) -> None:
        self.name = name
        self.size = size
        self.axis = axis
        self.keep_all = keep_all
        self._forget()

    def _forget(self) -> None:
        self._values = 0  # per scale
        self._samples = 0
        self._minimum: Tensor | None = None
        self._maximum: Tensor | None = None
        # Sums would lose the variance of data far from zero: mean and squared deviations are merged (Chan et al.).
        self._mean: Tensor | float = 0.0
        self._deviation: Tensor | float = 0.0
        self._magnitude: Tensor | float = 0.0
        self._kept: list[Tensor] = []

    @torch.no_grad()
    def update(self, x: Tensor, samples: int) -> None:
        """Take in one batch.

        Args:
            x: floating point, any shape; nothing happens where it is empty.
            samples: how many images (or sequences) it holds; 1 for a tensor without a batch.

        Raises: CalibrationError if a value is infinite or NaN.
        """
        if x.numel() == 0:
            return
        values = self._by_scale(x.detach())
        minimum, maximum = values.aminmax(dim=1)
        if not bool((torch.isfinite(minimum) & torch.isfinite(maximum)).all()):
            raise CalibrationError(
                "a value is infinite or NaN",
                where=self.name,
                remedy="check the weights and the input's normalisation, or keep this site float",
            )
        if self.keep_all:
            self._forget()
        number = values.shape[1]
        variance, mean = torch.var_mean(values.double(), dim=1, correction=0)
        magnitude = torch.linalg.vector_norm(values, 1, dim=1, dtype=torch.float64) / number
        total = self._values + number
        step = mean - self._mean
        self._deviation = self._deviation + variance * number + step.square() * (self._values * number / total)
        self._mean = self._mean + step * (number / total)
        self._magnitude = self._magnitude + (magnitude - self._magnitude) * (number / total)
        self._values = total
        self._samples += samples
        self._minimum = minimum if self._minimum is None else torch.minimum(self._minimum, minimum)
        self._maximum = maximum if self._maximum is None else torch.maximum(self._maximum, maximum)
        self._kept.append(
            values.clone() if self.keep_all else spread_sample(values, max(SAMPLE // self.size, SAMPLE_PER_SCALE))
        )

    def result(self) -> Observed:
        """The statistics so far.

        Raises: CalibrationError if nothing was seen.
        """
        if self._minimum is None or self._maximum is None:
            raise CalibrationError(
                "calibration brought no data to this site",
                where=self.name,
                remedy="calibrate with batches that reach it, or keep it float",
            )
        mean, deviation, magnitude = (
            torch.as_tensor(value) for value in (self._mean, self._deviation, self._magnitude)
        )
        dtype = self._minimum.dtype
        return Observed(
            minimum=self._minimum,
            maximum=self._maximum,
            mean=mean.to(dtype),
            std=(deviation / self._values).sqrt().to(dtype),
            mean_magnitude=magnitude.to(dtype),
            sample=torch.cat(self._kept, dim=1),
            count=max(1, round(self._values / max(self._samples, 1))),
        )

    def _by_scale(self, x: Tensor) -> Tensor:
        """(size, values), at least float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.axis is None or self.size == 1:
            return x.reshape(1, -1)
        return x.movedim(self.axis, 0).reshape(self.size, -1)
