"""Where in an image the decoder's best query looks, where its attention is a product with the image's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..detection.prediction import Prediction, Scores, best_scores
from ..planning import PlannedTap, WhichModel
from ..planning.targets import tapped_layers
from ..student import Original, Student
from ..vocabulary import LOGITS
from .watched import structure_of

STRIDES = (8, 16, 32, 64, 128)
"""Of feature maps, in pixels."""


@dataclass(frozen=True)
class Attended:
    """One query. weights: (height, width) of the feature map, the mean over heads; they sum up to 1. score: its best
    class's. box: cxcywh in 0..1."""

    weights: NDArray[np.float32]
    score: float
    box: tuple[float, float, float, float]


def why_not_attended(student: Student, original: Original, part: WhichModel) -> str:
    """Why nothing can be said of where the last decoder layer looks; "" where something can.

    Args:
        original: what the student was made from. part: as ``make_student`` takes it.
    """
    if is_deformable(original):
        return "the decoder samples features at places that it computes, so that not every place has a weight"
    structure = structure_of(student, original, part)
    layers = tapped_layers(structure, LOGITS)
    if not layers:
        return "no logits of a cross-attention were found in the decoder"
    query = structure.programs["eval"].queries.get(layers[-1])
    return "the attention's logits are the sum of several products" if query is not None and query.others else ""


def is_deformable(original: Original) -> bool:
    """Whether anything in its graph samples features at places that it computes."""
    nodes = original.captured.programs["eval"].graph.nodes
    return any(node.target is torch.ops.aten.grid_sampler.default for node in nodes)


def attended(
    logits: Tensor, tap: PlannedTap, prediction: Prediction, scores: Scores, size: tuple[int, int]
) -> Attended | None:
    """The best query's attention; None where its keys are not one feature map.

    Args:
        logits: of one image without padding, (1, heads, queries, keys) or as ``tap`` has it, which they are from.
        size: (height, width) of the image as the model was given it, in pixels.
    """
    if logits.ndim == 3:
        logits = logits[:, None]
    elif tap.layout == "bqhc":
        logits = logits.transpose(1, 2)
    shape = map_shape(size, int(logits.shape[-1]))
    if shape is None:
        return None
    best = best_scores(prediction.logits[0].float(), scores)
    query = int(best.argmax())
    weights = logits[0, :, query].float().softmax(-1).mean(0).reshape(shape)
    centre_x, centre_y, width, height = (float(value) for value in prediction.boxes[0, query])
    return Attended(weights.cpu().numpy(), float(best[query]), (centre_x, centre_y, width, height))


def map_shape(size: tuple[int, int], keys: int) -> tuple[int, int] | None:
    """The (height, width) of a feature map with so many places over an image; None where no stride gives them."""
    shapes = ((-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES)
    return next((shape for shape in shapes if shape[0] * shape[1] == keys), None)
