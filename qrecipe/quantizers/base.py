"""What stands at a site of the graph and quantizes what passes: the contract that every quantizer keeps."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from ..errors import CalibrationError
from ..recipe.definition import QuantizerSpec
from ..recipe.quantizer_table import WATCHES_INPUTS
from .calibration.moment import InputMoment
from .calibration.observer import Observed, Observer
from .encoding import Encoding
from .kernels.grid import Grid
from .kernels.layout import laid_out
from .recompute import remember
from .steps import Step

Mode = Literal["off", "observe", "on"]
MODES: tuple[Mode, ...] = ("off", "observe", "on")


@dataclass(frozen=True)
class QuantizedOperand:
    """The tensor that a quantizer stands before, as the plan has it.

    name: the site, for errors: a module path and operand.
    shape: its extents, None for one that changes with the batch or the image; a weight's are all numbers.
    axis: the dimension that has its own scales: 0 for weights per output channel, 1 for attention operands
        (batch, heads, tokens, channels) per head; None for one scale.
    size: how many scales.
    is_weight: initialisers tell weights from activations; a weight is looked at once.
    batched: whether dimension 0 of what passes holds the batch (LSQ's N counts one sample's features).
    """

    name: str
    shape: tuple[int | None, ...]
    axis: int | None
    size: int
    is_weight: bool
    batched: bool


class Quantizer(nn.Module, ABC):
    """Rounds a tensor to the grid and back, with gradients for the tensor and for its own parameters.

    A class of its own says how it rounds, where its range starts, and how its parameters step.

    Args:
        spec: bits, offset and initialiser.
        operand: what it stands before.

    Attributes:
        title: as papers spell it.
        count: buffer, int64: N, the values of one sample (or the weights) that share a scale; set by calibration.
        calibrated: buffer, bool.
        mode: ``off`` passes tensors as they are, ``observe`` as well and keeps statistics, ``on`` quantizes.
        sample_count: how many samples the next observed tensor holds; None takes dimension 0 where ``batched``.
            Whoever calibrates sets it where a site folds other dimensions into the batch.

    Raises: RecipeError for bits that do not exist.
    """

    title: ClassVar[str]
    count: Tensor
    calibrated: Tensor

    def __init__(self, spec: QuantizerSpec, operand: QuantizedOperand) -> None:
        super().__init__()
        self.spec = spec
        self.operand = operand
        self.name = operand.name
        self.grid = Grid(spec.bits)
        self.mode: Mode = "off"
        self.sample_count: int | None = None
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        self._observer: Observer | None = None
        self._multiplied = InputMoment()
        self.read_buffers()

    @abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """The fake-quantized values in x's shape and dtype; gradients for x and for what trains.

        Raises: CalibrationError before calibration.
        """

    @abstractmethod
    def integers(self, x: Tensor) -> Tensor:
        """The grid's integers for x, int32 in x's shape, as a runtime would store them.

        Raises: CalibrationError before calibration.
        """

    @abstractmethod
    def encoding(self) -> Encoding:
        """What the integers mean: ``encoding().restore(integers(x))`` is ``quantize(x)``.

        Raises: CalibrationError before calibration.
        """

    @abstractmethod
    def own_initialiser(self) -> str:
        """Where its range starts if the recipe does not say: a row of ``INITIALISERS``."""

    @abstractmethod
    def initialise(self, seen: Observed) -> None:
        """Set the range, and all else that is calibrated, from what was observed.

        Raises: CalibrationError if no finite range fits.
        """

    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """How its parameters that require gradients step, each in one of them; none where nothing trains."""

    @final
    def set_mode(self, mode: Mode) -> None:
        """Switch. Statistics of an observation are kept until :meth:`finish_calibration`."""
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is none of {MODES}")
        self.mode = mode

    def set_bits(self, bits: int) -> None:
        """Round to this many bits from now on. The range stays as it was found until it is calibrated again."""
        self.spec = dataclasses.replace(self.spec, bits=bits)
        self.grid = Grid(bits)

    def forward(self, x: Tensor) -> Tensor:
        """x as it is, or its fake-quantized values in the same shape and dtype.

        Raises: CalibrationError when ``on`` without ranges, or for values that are not finite in ``observe``.
        """
        if self.mode == "on":
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                x = laid_out(x)
            copy = self.quantize(x)
            remember(copy, self.quantize, x, (value for value in self._own() if value is not None))
            return copy
        if self.mode == "observe":
            self.observe(x)
        return x

    def _own(self) -> Iterator[Tensor | None]:
        return chain(self._parameters.values(), self._buffers.values())

    @final
    def observe(self, x: Tensor) -> None:
        """Take x into the statistics that calibration uses. Raises: CalibrationError for values that are not finite."""
        operand = self.operand
        if self._observer is None:
            self._observer = Observer(operand.name, operand.size, operand.axis, keep_all=operand.is_weight)
        samples = 1
        if operand.batched:
            samples = x.shape[0] if self.sample_count is None else self.sample_count
        self._observer.update(x, samples)

    @property
    def watches_inputs(self) -> bool:
        """Whether its first range asks for what the weight multiplies: :meth:`watch`."""
        return self.operand.is_weight and (self.spec.init or self.own_initialiser()) in WATCHES_INPUTS

    @final
    def watch(self, columns: Tensor) -> None:
        """Take in what this weight multiplies: (groups, K, places), as ``calibration.moment`` cuts it."""
        self._multiplied.update(columns)

    @property
    def has_seen_data(self) -> bool:
        """Whether anything was observed since the last calibration."""
        return self._observer is not None

    @final
    def forget(self) -> None:
        """Drop what was observed since the last calibration."""
        self._observer = None
        self._multiplied = InputMoment()

    @final
    @torch.no_grad()
    def finish_calibration(self) -> None:
        """Set the range and the count from what was observed, and forget it.

        Raises: CalibrationError if nothing was seen, or no finite range fits.
        """
        operand = self.operand
        observer = self._observer or Observer(operand.name, operand.size, operand.axis, operand.is_weight)
        seen = dataclasses.replace(observer.result(), moment=self._multiplied.result())
        self.initialise(seen)
        self.count.fill_(seen.count)
        self.calibrated.fill_(True)
        self.forget()
        self.read_buffers()

    @final
    def require_calibrated(self) -> None:
        """Raises: CalibrationError before calibration."""
        if not self._calibrated:
            raise CalibrationError(
                "this quantizer has no range yet",
                where=self.name,
                remedy="calibrate the student, or load a trained one",
            )

    def read_buffers(self) -> None:
        """Take in buffers that were written from outside."""
        # As Python numbers: asking a GPU for them at every forward would wait for it.
        self._calibrated = bool(self.calibrated)
        self._count = int(self.count)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, *arguments)
        self.read_buffers()

    def extra_repr(self) -> str:
        zero_point = {"none": "symmetric", "integer": "integer zero point", "real": "real offset"}[self.spec.offset]
        size, axis = self.operand.size, self.operand.axis
        scales = f"{size} scales along dimension {axis}" if size > 1 else "one scale"
        letter = "W" if self.operand.is_weight else "A"
        return f"{self.name}: {self.title} {letter}{self.spec.bits}, {zero_point}, {scales}, {self.mode}"
