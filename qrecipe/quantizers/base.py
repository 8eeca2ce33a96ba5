"""The module that stands at a site of the graph and quantizes what passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import CalibrationError, RecipeError
from ..recipe.definition import QuantizerSpec
from .affine import affine
from .calibration.observer import Observer
from .calibration.ranges import Target, initialise
from .kernels import fused, reference
from .kernels.grid import Grid
from .kinds import QUANTIZERS
from .scale_gradient import lsq_factor

Mode = Literal["off", "observe", "on"]
MODES: tuple[Mode, ...] = ("off", "observe", "on")


class FakeQuantizer(nn.Module):
    """Rounds a tensor to the grid and back, with gradients for the tensor, the scale and the offset.

    Args:
        spec: bits, kind, offset and initialiser.
        name: the site, for errors: a module path and operand.
        axis: the dimension that has its own scales: 0 for weights per output channel, 1 for attention operands
            (batch, heads, tokens, channels) per head; None for one scale.
        size: how many scales.
        is_weight: initialisers tell weights from activations; a weight is looked at once.
        batched: whether dimension 0 of what passes holds the batch (LSQ's N counts one sample's features).

    Attributes:
        scale: parameter (size,), may be any number: what is used is max(|scale|, 1e-8).
        offset: parameter (size,) in the tensor's own units, LSQ+'s z; None where the spec says ``none``.
        count: buffer, int64: N, the values of one sample (or the weights) that share a scale; set by calibration.
        calibrated: buffer, bool.
        mode: ``off`` passes tensors as they are, ``observe`` as well and keeps statistics, ``on`` quantizes.
        sample_count: how many samples the next observed tensor holds; None takes dimension 0 where ``batched``.
            Whoever calibrates sets it where a site folds other dimensions into the batch.

    Raises: RecipeError for bits or a quantizer that do not exist.
    """

    scale: nn.Parameter
    offset: nn.Parameter | None
    count: Tensor
    calibrated: Tensor

    def __init__(
        self, spec: QuantizerSpec, name: str, axis: int | None, size: int, is_weight: bool, batched: bool
    ) -> None:
        super().__init__()
        if spec.quantizer not in QUANTIZERS:
            raise RecipeError(
                f'there is no quantizer "{spec.quantizer}"', where=name, remedy=f"take one of {', '.join(QUANTIZERS)}"
            )
        self.spec = spec
        self.name = name
        self.axis = axis
        self.size = size
        self.is_weight = is_weight
        self.batched = batched
        self.grid = Grid(spec.bits)
        self.kind = QUANTIZERS[spec.quantizer]
        self.integer = spec.offset != "real"
        self.mode: Mode = "off"
        self.sample_count: int | None = None
        self.scale = nn.Parameter(torch.ones(size), requires_grad=self.kind.learned)
        self.offset = (
            None if spec.offset == "none" else nn.Parameter(torch.zeros(size), requires_grad=self.kind.learned)
        )
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        self._observer: Observer | None = None
        self._read_buffers()

    def set_mode(self, mode: Mode) -> None:
        """Switch. Statistics of an observation are kept until :meth:`finish_calibration`."""
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is none of {MODES}")
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """x as it is, or its fake-quantized values in the same shape and dtype.

        Raises: CalibrationError when ``on`` without ranges, or for values that are not finite in ``observe``.
        """
        if self.mode == "on":
            scale, zero_point = self.scale_and_zero_point()
            return fused.fake_quantize(x, scale, zero_point, self.grid, self.integer, self.axis)
        if self.mode == "observe":
            self._observe(x)
        return x

    def scale_and_zero_point(self) -> tuple[Tensor, Tensor]:
        """What is in use, (size,) each: scales > 0, and zero points (whole and in -128 .. 127, or real; or zeros).

        Raises: CalibrationError before calibration.
        """
        if not self._calibrated:
            raise CalibrationError(
                "this quantizer has no range yet",
                where=self.name,
                remedy="calibrate the student, or load a trained one",
            )
        return affine(self.scale, self.offset, self.integer, self._factor)

    @property
    def has_seen_data(self) -> bool:
        """Whether anything was observed since the last calibration."""
        return self._observer is not None

    def forget(self) -> None:
        """Drop what was observed since the last calibration."""
        self._observer = None

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """The grid's integers for x, int32 in x's shape, as a runtime would store them."""
        scale, zero_point = self.scale_and_zero_point()
        scale, zero_point = fused.along(scale, x, self.axis), fused.along(zero_point, x, self.axis)
        return reference.quantize(x, scale, zero_point, self.grid, self.integer).to(torch.int32)

    @torch.no_grad()
    def finish_calibration(self) -> None:
        """Set scale, offset and count from what was observed, and forget it.

        Raises: CalibrationError if nothing was seen, or no finite range fits.
        """
        observer = self._observer or Observer(self.name, self.size, self.axis, self.is_weight)
        seen = observer.result()
        init = self.spec.init or (self.kind.weight if self.is_weight else self.kind.activation)
        scale, offset = initialise(init, seen, Target(self.grid, self.spec.offset, self.is_weight), self.name)
        self.scale.copy_(scale)
        if self.offset is not None:
            self.offset.copy_(offset)
        self.count.fill_(seen.count)
        self.calibrated.fill_(True)
        self._observer = None
        self._read_buffers()

    def _observe(self, x: Tensor) -> None:
        if self._observer is None:
            self._observer = Observer(self.name, self.size, self.axis, keep_all=self.is_weight)
        samples = 1
        if self.batched:
            samples = x.shape[0] if self.sample_count is None else self.sample_count
        self._observer.update(x, samples)

    def _read_buffers(self) -> None:
        # As Python numbers: asking a GPU for them at every forward would wait for it.
        self._calibrated = bool(self.calibrated)
        self._factor = lsq_factor(int(self.count), self.grid.hi)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, *arguments)
        self._read_buffers()

    def extra_repr(self) -> str:
        zero_point = {"none": "symmetric", "integer": "integer zero point", "real": "real offset"}[self.spec.offset]
        scales = f"{self.size} scales along dimension {self.axis}" if self.size > 1 else "one scale"
        operand = "W" if self.is_weight else "A"
        return f"{self.name}: {self.kind.title} {operand}{self.spec.bits}, {zero_point}, {scales}, {self.mode}"
