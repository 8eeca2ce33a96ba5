"""The distances and matchers of distillation that a recipe can name: a new one is a row here, a file in ``distill/``, a
test.

Code is named, as ``module:name``, and loaded by ``qrecipe.distill`` when it is used: reading a recipe needs no torch.
The schema takes its names and words from here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..vocabulary import MAPS, PREDICTED_BOXES, PREDICTED_CLASSES

Compared = Literal["features", "maps", "classes", "boxes"]
"""What is compared: features, logits or boxes of a pair of queries; or the feature maps of an image."""


@dataclass(frozen=True)
class LossRow:
    """How what a pair of queries has is compared, or a pair of maps, all of an image's channels and positions.

    code: a function of student and teacher, (..., width) twice to (...), with finite gradients everywhere.
    what: completes "NAME is ..." in the schema. compares: what it is for.
    scores: of classes, the scores that it is for; None is any.
    """

    code: str
    what: str
    compares: tuple[Compared, ...] = ("features",)
    scores: Literal["softmax", "sigmoid"] | None = None


@dataclass(frozen=True)
class MatcherRow:
    """Which student queries learn from which teacher queries.

    code: a function of ``distill.target.match``, student boxes, teacher boxes, the objects' boxes and the teacher's
        scores to a ``Match``.
    what: completes "NAME: ..." in the schema. reads: the keys of ``match`` that it reads, beside ``kind``.
    told: whether the student decodes the places that its teacher chooses, so that both have the same queries.
    """

    code: str
    what: str
    reads: tuple[str, ...]
    told: bool = False


LOSSES: dict[str, LossRow] = {
    "l2": LossRow("qrecipe.distill.losses:l2", "the Euclidean distance", ("features", "boxes")),
    "relative": LossRow(
        "qrecipe.distill.losses:relative",
        "the squared distance, divided by the squared norm of the teacher's (of queries, the mean of an image)",
        ("features", "maps"),
    ),
    "mse": LossRow("qrecipe.distill.losses:mse", "the mean of the squared differences", ("features", "maps")),
    "cosine": LossRow("qrecipe.distill.losses:cosine", "1 less the cosine of their angle", ("features", "maps")),
    "kl": LossRow(
        "qrecipe.distill.predictions:kl", "the divergence of two softmaxes", compares=("classes",), scores="softmax"
    ),
    "bce": LossRow(
        "qrecipe.distill.predictions:bce",
        "the cross-entropy of each class's sigmoid, beyond the teacher's own entropy, summed",
        compares=("classes",),
        scores="sigmoid",
    ),
    "l1": LossRow("qrecipe.distill.predictions:l1", "the sum of the absolute differences", ("boxes",)),
    "giou": LossRow("qrecipe.distill.predictions:giou", "1 less the generalised IoU", ("boxes",)),
}

MATCHERS: dict[str, MatcherRow] = {
    "foreground": MatcherRow(
        "qrecipe.distill.matching:foreground", "the queries near an object", ("tau", "giou", "l1")
    ),
    "all": MatcherRow("qrecipe.distill.matching:every", "every query", ("giou", "l1")),
    "same": MatcherRow(
        "qrecipe.distill.matching:same",
        "every query with the teacher's of the same number, the student decoding what the teacher chooses",
        (),
        told=True,
    ),
}


def compared(at: str) -> Compared:
    """What a target at a place compares."""
    known: dict[str, Compared] = {PREDICTED_CLASSES: "classes", PREDICTED_BOXES: "boxes", **dict.fromkeys(MAPS, "maps")}
    return known.get(at, "features")


def losses_of(what: Compared) -> list[str]:
    return [name for name, row in LOSSES.items() if what in row.compares]
