"""The distances and matchers of distillation that a recipe can name: a new one is a row here, a file in ``distill/``, a
test.

Code is named, as ``module:name``, and loaded by ``qrecipe.distill`` when it is used: reading a recipe needs no torch.
The schema takes its names and words from here too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossRow:
    """How the features of a pair of queries are compared.

    code: a function of student and teacher, (..., width) twice to (...), with finite gradients everywhere.
    what: completes "NAME is ..." in the schema.
    """

    code: str
    what: str


@dataclass(frozen=True)
class MatcherRow:
    """Which student queries learn from which teacher queries.

    code: a function of ``distill.target.match``, student boxes, teacher boxes and the objects' boxes to a ``Match``.
    what: completes "NAME: ..." in the schema. reads: the keys of ``match`` that it reads, beside ``kind``.
    """

    code: str
    what: str
    reads: tuple[str, ...]


LOSSES: dict[str, LossRow] = {
    "l2": LossRow("qrecipe.distill.losses:l2", "their Euclidean distance"),
}

MATCHERS: dict[str, MatcherRow] = {
    "foreground": MatcherRow(
        "qrecipe.distill.matching:foreground", "the queries near an object", ("tau", "giou", "l1")
    ),
    "all": MatcherRow("qrecipe.distill.matching:every", "every query", ("giou", "l1")),
}
