"""Random predictions and objects, and the costs, pairs and losses of detection as plain loops."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from qrecipe.detection.boxes import cxcywh_to_xyxy, pairwise_giou
from qrecipe.detection.prediction import Prediction, Scores
from qrecipe.recipe.definition import LossSpec

BOTH: list[Scores] = ["softmax", "sigmoid"]


CLASSES = 4


def random_boxes(generator: torch.Generator, *sizes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    centre = 0.2 + 0.6 * torch.rand(*sizes, 2, generator=generator, dtype=torch.float64)
    side = 0.05 + 0.4 * torch.rand(*sizes, 2, generator=generator, dtype=torch.float64)
    return torch.cat([centre, side], -1).to(dtype)


def random_batch(
    seed: int, counts: list[int], scores: Scores, queries: int = 6, layers: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[Prediction, list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    columns = CLASSES + (scores == "softmax")
    made = [
        (
            torch.randn(len(counts), queries, columns, generator=generator, dtype=torch.float64).to(dtype),
            random_boxes(generator, len(counts), queries, dtype=dtype),
        )
        for _ in range(layers)
    ]
    labels = [
        {
            "class_labels": torch.randint(0, CLASSES, (n,), generator=generator),
            "boxes": random_boxes(generator, n, dtype=dtype),
        }
        for n in counts
    ]
    return Prediction(*made[-1], auxiliary=tuple(made[:-1])), labels


def slow_cost(logits: list[float], box: Tensor, label: int, target: Tensor, scores: Scores, spec: LossSpec) -> float:
    giou = pairwise_giou(cxcywh_to_xyxy(box)[None], cxcywh_to_xyxy(target)[None]).item()
    if scores == "softmax":
        exponentials = [math.exp(x) for x in logits]
        cost, weight = -exponentials[label] / sum(exponentials), 1.0
    else:
        p = 1 / (1 + math.exp(-logits[label]))
        cost, weight = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p), 2.0
    weight = weight if spec.class_weight is None else spec.class_weight
    return weight * cost + spec.l1 * (box - target).abs().sum().item() - spec.giou * giou


def slow_pairs(
    logits: Tensor, boxes: Tensor, label: dict[str, Tensor], scores: Scores, spec: LossSpec | None = None
) -> dict[int, int]:
    """Object to query, by trying every assignment."""
    objects = len(label["class_labels"])
    best, chosen = math.inf, {}
    for queries in itertools.permutations(range(len(boxes)), objects):
        cost = sum(
            slow_cost(
                logits[q].tolist(),
                boxes[q],
                int(label["class_labels"][k]),
                label["boxes"][k],
                scores,
                spec or LossSpec(),
            )
            for k, q in enumerate(queries)
        )
        if cost < best:
            best, chosen = cost, dict(enumerate(queries))
    return chosen


def slow_loss(logits: Tensor, boxes: Tensor, labels: list[dict[str, Tensor]], scores: Scores) -> dict[str, float]:
    objects = max(sum(len(label["class_labels"]) for label in labels), 1)
    l1 = giou = numerator = denominator = 0.0
    for b, label in enumerate(labels):
        pairs = slow_pairs(logits[b], boxes[b], label, scores)
        for k, q in pairs.items():
            l1 += (boxes[b, q] - label["boxes"][k]).abs().sum().item()
            giou += 1 - pairwise_giou(cxcywh_to_xyxy(boxes[b, q])[None], cxcywh_to_xyxy(label["boxes"][k])[None]).item()
        wanted = {q: int(label["class_labels"][k]) for k, q in pairs.items()}
        for q in range(logits.shape[1]):
            row = logits[b, q].tolist()
            if scores == "softmax":
                weight = 1.0 if q in wanted else 0.1
                numerator -= weight * (row[wanted.get(q, CLASSES)] - math.log(sum(math.exp(x) for x in row)))
                denominator += weight
            else:
                for c, x in enumerate(row):
                    p = 1 / (1 + math.exp(-x))
                    if wanted.get(q) == c:
                        numerator -= 0.25 * (1 - p) ** 2 * math.log(p)
                    else:
                        numerator -= 0.75 * p**2 * math.log(1 - p)
    classification = numerator / denominator if scores == "softmax" else 2 * numerator / objects
    return {"class": classification, "l1": 5 * l1 / objects, "giou": 2 * giou / objects}
