"""The whole network learns to do what the real-valued model does with the same images, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..data.batch import Batch
from ..detection.prediction import Prediction, Scores, best_scores
from ..distill.predictions import bce, giou, kl, l1
from ..graph.choices import CHOICES
from ..graph.detaches import pass_detaches
from ..student import Student
from .segments import Values, cut, is_compared
from .stream import Stream

WEIGHTS = {"features": 4.0, "choices": 1.0, "classes": 1.0, "boxes": 1.0}
"""Of the loss's parts."""
L1, GIOU = 5.0, 2.0
"""What a box's distances weigh, as in DETR's loss."""
NEARLY_NOTHING = 1e-12
"""The least energy that an error is related to."""
ALIKE = 1e-6
"""Share of their energy that values have around their mean, a thousandth of their size, below which they are alike."""
FILLER = 1e9
"""Values at least as large are no features: infinity, or the type's largest number."""


@final
class Imitation(nn.Module):
    """``forward(batch)`` gives the loss and its parts.

    Both run block by block, and what the real-valued model chooses among places, the student takes from it: the
    queries of both are the same ones, in the same order. The parts are

    - ``features``: of every value that a block gives and the student can change, the squared distance over the real
      one's energy; the mean;
    - ``choices``: of what a choice is made by, as proposals' scores, the same, the energy around the mean;
    - ``classes``: the divergence of class probabilities (softmaxes, or each class's sigmoid), summed over queries;
    - ``boxes``: 5 L1 + 2 (1 - GIoU), weighted by the real model's scores; both over the sum of these.

    Gradients pass where the model detaches, as it does the boxes of proposals and of earlier layers: there are no
    labels from which those could learn by themselves. So what was detached is compared too. Values that are no
    feature, as the infinity in place of a proposal that cannot be one, are not.

    Args:
        student: what learns; it stays in evaluation mode, which is what is deployed.
        real: the student as it was calibrated; its quantizers are switched off here.
    """

    def __init__(self, student: Student, real: Student) -> None:
        super().__init__()
        deployable = student.deployable()
        pass_detaches(deployable.graph)
        self.student = student
        self.real = real
        self.segments = cut(deployable.graph, whole=True)
        self.out_spec = deployable.out_spec
        self.outputs = _outputs(deployable.graph)
        self.choices = {str(node.args[0]) for node in deployable.graph.nodes if node.target in CHOICES}
        real.requires_grad_(False)
        real.eval().switch_off()

    def train(self, mode: bool = True) -> Imitation:
        """Both models stay in evaluation mode."""
        self.training = mode
        self.student.eval()
        self.real.eval()
        return self

    def set_stage(self, quantize: Sequence[str] | None, bits: int | None = None) -> None:
        """Quantize only the roles that match; None quantizes all. All of it is one stage, with the plan's bits."""
        self.student.set_stage(quantize)

    def change_bits(self, bits: int | None) -> None:
        """Its one stage keeps the plan's bits."""

    def set_progress(self, over: float) -> None:
        """Nothing changes on the way."""

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with a graph, and its detached parts, not weighted. Labels are not read."""
        stream = Stream.of(self.student, batch)
        compared: dict[str, list[Tensor]] = {"features": [], "choices": []}
        for segment in self.segments:
            target = segment.constants(self.real, stream.real_reads(segment))
            own = segment.run(self.student, stream.quantized_reads(segment))
            for name, wanted in target.items():
                if is_compared(wanted) and own[name].requires_grad:
                    chosen_by = name in self.choices
                    error = relative_error(own[name], wanted, around_mean=chosen_by)
                    compared["choices" if chosen_by else "features"].append(error)
            stream.advance(segment, target, own)
        parts = {name: torch.stack(errors).mean() for name, errors in compared.items() if errors}
        mine, his = self._read(stream.quantized), self._read(stream.real)
        parts |= _predictions(mine, his, self.student.family.scores)
        parts = {name: value * batch.weight for name, value in parts.items()}
        loss = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
        return loss, {name: value.detach() for name, value in parts.items()}

    def _read(self, values: Values) -> Prediction:
        flat = [values.get(node.name) if isinstance(node, fx.Node) else node for node in self.outputs]
        outputs, extras = pytree.tree_unflatten(flat, self.out_spec)
        return self.student.family.read(outputs, extras)


def _outputs(graph: fx.Graph) -> tuple[Any, ...]:
    node = next(node for node in reversed(graph.nodes) if node.op == "output")
    flat: Any = node.args[0]
    return tuple(flat)


def relative_error(own: Tensor, wanted: Tensor, *, around_mean: bool = False) -> Tensor:
    """The squared distance over the wanted values' own energy, around 0 or their mean; of those that are finite and
    below FILLER: a detector puts what is beyond it where nothing may be chosen. 0 where there are none, and where
    they have no energy: nothing can be chosen by scores that are all alike, and one is alone."""
    real = wanted.abs() < FILLER
    count = real.sum().clamp_min(1)
    wanted = torch.where(real, wanted, 0.0)
    distance = torch.where(real, own, 0.0) - wanted
    centre = wanted.sum() / count if around_mean else 0.0
    energy = torch.where(real, wanted - centre, 0.0).square().sum() / count
    least = NEARLY_NOTHING + (ALIKE * wanted.square().sum() / count if around_mean else 0.0)
    return torch.where(energy > least, distance.square().sum() / count / energy.clamp_min(least), 0.0)


def _predictions(own: Prediction, wanted: Prediction, scores: Scores) -> dict[str, Tensor]:
    """Distances of classes over all queries, and of boxes weighted by their scores, per object that is seen."""
    logits = wanted.logits
    score = best_scores(logits, scores)
    total = score.sum().clamp_min(1.0)
    classes = (kl if scores == "softmax" else bce)(own.logits, logits)
    boxes = L1 * l1(own.boxes, wanted.boxes) + GIOU * giou(own.boxes, wanted.boxes)
    return {"classes": classes.sum() / total, "boxes": (score * boxes).sum() / total}
