"""One student whose quantizers change their bits from one pass to the next: what any choice of bits costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from ..data.batch import Batch
from ..detection.prediction import Prediction
from ..planning import Plan
from ..quantizers import BiasCorrection, Quantizer
from ..recipe.definition import QuantizerSpec, Recipe
from ..student import Original, Student, calibrate, inputs_of, make_plan, make_student
from ..vocabulary import CORRECTIONS, FAKE_QUANTIZERS
from .distance import Distance, prediction_distance

Bits = Mapping[str, int | None]
"""The bits of quantizers by name; those that are not named, or None, are off."""
CROSS_ATTENTION = "decoder.cross_attention"


class Gauge:
    """A recipe's student with calibrated quantizers of several widths at hand.

    Ranges come from the real-valued model, so a quantizer's do not depend on what the others are: those of each width
    are calibrated once, and put in place as they are asked for. Queries are aligned where cross-attention is quantized.

    Args:
        widths: bits that may be asked for. Where quantizers stand, their kinds and what shares one is the recipe's.
        calibration: batches that first ranges come from. images: batches that predictions are compared on.
        on_width: is told of every width that is calibrated.

    Attributes:
        plan: the recipe's, with everything deployed at the least width: what reads one tensor with one width shares a
            quantizer, though the recipe may tell them apart. student: evaluates with what was put in place last.
        names: the quantizers that the deployed graph has; those of training alone count for nothing.

    Raises:
        PlanErrors: the recipe does not fit the model. CalibrationError: no range fits.
    """

    def __init__(
        self,
        original: Original,
        recipe: Recipe,
        widths: Iterable[int],
        calibration: Sequence[Batch],
        images: Sequence[Batch],
        on_width: Callable[[int], None] = lambda bits: None,
    ) -> None:
        own = make_plan(original, recipe)
        self._bank: dict[int, dict[str, Quantizer]] = {}
        self._corrections: dict[int, dict[str, BiasCorrection]] = {}
        students: list[Student] = []
        for bits in widths:
            on_width(bits)
            student = make_student(original, recipe, make_plan(original, recipe, specs=at_width(own, bits)))
            if student.plan.quantizers:
                calibrate(student, calibration)
            self._bank[bits] = student.quantizers
            self._corrections[bits] = student.bias_corrections
            students.append(student)
        self.student = students[0].eval()
        prefix = f"{FAKE_QUANTIZERS}."
        called = {str(node.target) for node in self.student.deployable().graph.nodes if node.op == "call_module"}
        self.names = tuple(name for name in self._bank[next(iter(self._bank))] if prefix + name in called)
        deployed = {name for name, site in students[0].plan.sites.items() if site.quantizer in set(self.names)}
        specs = {name: spec for name, spec in at_width(own, min(self._bank)).items() if name in deployed}
        self.plan = make_plan(original, recipe, specs=specs)
        first = self.plan.quantizers
        self._aligning = {name for name in self.names if first[name].role == CROSS_ATTENTION}
        self._images = list(images)
        self.install({})
        self.reference = self.predict()

    def install(self, bits: Bits) -> None:
        """Put quantizers of these bits in place, and switch all others off."""
        for name in self.names:
            width = bits.get(name)
            standing = width or next(iter(self._bank))
            quantizer = self._bank[standing][name]
            quantizer.set_mode("off" if width is None else "on")
            self._put(f"{FAKE_QUANTIZERS}.{name}", quantizer)
            if name in self._corrections[standing]:
                correction = self._corrections[standing][name]
                correction.on = width is not None
                self._put(f"{CORRECTIONS}.{name}", correction)
        aligned = any(bits.get(name) for name in self._aligning)
        for alignment in self.student.query_alignments.values():
            alignment.mode = "on" if aligned else "off"

    def _put(self, path: str, module: nn.Module) -> None:
        parent, _, leaf = path.rpartition(".")
        setattr(self.student.get_submodule(parent), leaf, module)

    @torch.no_grad()
    def predict(self) -> list[Prediction]:
        """What the student predicts for the images, as it is now."""
        student, found = self.student.eval(), []
        for batch in self._images:
            ran = student.run(inputs_of(student, batch), mode="eval")
            found.append(student.family.read(ran.outputs, ran.extras))
        return found

    def distance(self, bits: Bits) -> Distance:
        """How far these bits move predictions from the real-valued model's. Leaves them in place."""
        self.install(bits)
        return prediction_distance(self.reference, self.predict(), self.student.family.scores)


def at_width(plan: Plan, bits: int) -> dict[str, QuantizerSpec | None]:
    """Every quantizer of a plan with these bits, by site."""
    return {
        name: dataclasses.replace(site.spec, bits=bits) for name, site in plan.sites.items() if site.spec is not None
    }
