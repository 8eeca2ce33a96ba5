"""What a distillation target compares in a student and in its teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor, nn

from ..detection.prediction import Prediction
from ..distill import WidthProjection, check_widths, query_features
from ..errors import PlanError, PlanErrors, TrainError
from ..placement import placement_of
from ..planning import PlannedTap
from ..recipe.definition import TargetSpec
from ..student import Student
from ..vocabulary import MAPS, PREDICTED_BOXES, PREDICTED_CLASSES

Pair = tuple[PlannedTap, PlannedTap]


@dataclass(frozen=True)
class Seen:
    """What one of the two models makes of a batch. taps: by their names."""

    prediction: Prediction
    taps: Mapping[str, Tensor]


def features(
    target: TargetSpec, pairs: Sequence[Pair], mine: Seen, his: Seen, projections: nn.Module
) -> Iterator[tuple[Tensor, Tensor]]:
    """The student's and the teacher's (batch, queries, width), layer by layer; of predictions those of the last.

    projections: of the student's taps, in the order of ``pairs``; none where they are compared as they are.
    """
    if target.at == PREDICTED_CLASSES:
        yield mine.prediction.logits, his.prediction.logits
    elif target.at == PREDICTED_BOXES:
        yield mine.prediction.boxes, his.prediction.boxes
    for (own, other), projection in zip_longest(pairs, projections.children()):
        a, b = mine.taps[own.name], his.taps[other.name]
        layout = own.layout
        if projection is not None:
            a, layout = projection(a), "map" if target.at in MAPS else "bqc"
        if target.at in MAPS:
            _check_sizes(a, b, own.name)
        # Denoising queries stand before those that predict; the teacher, in evaluation, has none.
        queries, count = query_features(a, layout), mine.prediction.boxes.shape[1]
        if target.at not in MAPS and queries.shape[1] < count:
            raise TrainError(
                f"{own.name} has {queries.shape[1]} queries, the predictions have {count}: which is whose is not known",
                where="distill.targets",
                remedy="distil head.class and head.box instead",
            )
        yield queries[:, -count:], query_features(b, other.layout)


def projections_of(student: Student, targets: Sequence[TargetSpec], pairs: Sequence[Sequence[Pair]]) -> nn.ModuleList:
    """A list for every target: what brings each of the student's taps to its teacher's width; empty where nothing."""
    seed, placement = student.recipe.seed, placement_of(student)
    found = nn.ModuleList()
    for target, own in zip(targets, pairs, strict=True):
        layers = own if target.project else ()
        found.append(
            nn.ModuleList(WidthProjection(mine.width, his.width, mine.layout, seed, placement) for mine, his in layers)
        )
    return found


def paired(student: Student, teacher: Student, targets: Sequence[TargetSpec]) -> list[list[Pair]]:
    """The paired taps of every target; none of one on predictions. Raises: PlanErrors: all that do not fit."""
    pairs, problems = [], []
    for index, target in enumerate(targets):
        try:
            pairs.append(_pairs_of(student, teacher, target, index))
        except PlanError as problem:
            problems.append(problem)
    if problems:
        raise PlanErrors(problems)
    return pairs


def _pairs_of(student: Student, teacher: Student, target: TargetSpec, index: int) -> list[Pair]:
    """The student's taps of one target with the teacher's that correspond: the last with the last, and so on back."""
    where = student.recipe.where(("distill", "targets", index))
    if target.at == PREDICTED_BOXES:
        return []
    if target.at == PREDICTED_CLASSES:
        _check_classes(student, teacher, where)
        return []
    mine, his = ([tap for tap in model.plan.taps if tap.role == target.at] for model in (student, teacher))
    if target.layers == "last":
        mine, his = mine[-1:], his[-1:]
    if len(his) < len(mine) or not his:
        raise PlanError(
            f"the teacher has {len(his)} taps at {target.at}, the student {len(mine)}",
            where=where,
            remedy="use layers: last, or a teacher with as many decoder layers",
        )
    his = his[-len(mine) :]
    for a, b in zip(mine, his, strict=True):
        if target.project is not None:
            _check_channels(a, b, where)
            continue
        try:
            check_widths(a.width, b.width, a.name)
        except PlanError as problem:
            raise PlanError(f"{problem.where}: {problem.what}", where=where, remedy=problem.remedy) from None
    return list(zip(mine, his, strict=True))


def _check_channels(mine: PlannedTap, his: PlannedTap, where: str) -> None:
    """Raises: PlanError: a tap has no known number of channels to project from or to."""
    for tap, model in ((mine, "student"), (his, "teacher")):
        if tap.width == 0:
            what = f"how many channels {tap.name} of the {model} has is not known, so that nothing projects it"
            raise PlanError(what, where=where, remedy="remove project, or this target")


def _check_sizes(mine: Tensor, his: Tensor, name: str) -> None:
    """Raises: TrainError: two maps of other heights and widths, or numbers of positions."""
    if mine.shape != his.shape:
        sizes = ["x".join(map(str, value.shape[1:])) for value in (mine, his)]
        raise TrainError(
            f"the student's map is {sizes[0]}, the teacher's {sizes[1]}",
            where=name,
            remedy="choose a teacher with the student's strides, or remove this target",
        )


def _check_classes(student: Student, teacher: Student, where: str) -> None:
    """Logits are compared column by column. Raises: PlanError: the columns do not mean the same."""
    mine, his = student.family, teacher.family
    if (mine.scores, mine.classes) != (his.scores, his.classes):
        raise PlanError(
            f"the student scores {mine.classes} classes by {mine.scores}, the teacher {his.classes} by {his.scores}",
            where=where,
            remedy="choose a teacher with the student's classes, or remove this target",
        )
    maps = [model.label_map.category_to_class for model in (student, teacher) if model.label_map is not None]
    if len(maps) == 2 and maps[0] != maps[1]:
        raise PlanError(
            "the classes of student and teacher stand for other categories",
            where=where,
            remedy="set model.labels and teacher.labels alike, or remove this target",
        )
