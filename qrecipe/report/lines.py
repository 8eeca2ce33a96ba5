"""The lines that a terminal shows of what an experiment tells: a row for each kind of event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..experiment.events import (
    BatchScored,
    BestChosen,
    BlockReconstructed,
    Calibrated,
    CaptureEnded,
    CaptureStarted,
    DataRead,
    Event,
    ModelBuilt,
    Noted,
    PartMeasured,
    PhaseEnded,
    PhaseStarted,
    PictureDrawn,
    Planned,
    RunEnded,
    RunStarted,
    Scored,
)
from ..planning import cost_of
from ..train.events import EpochEnded, StepTaken, TrainingStarted
from .amounts import amount, size, three_places
from .progress import epoch_line


def lines_of(event: Event) -> Iterable[str]:
    """One event as lines of text; none of many."""
    return LINES[type(event)](event)


def notices_of(event: Event) -> Iterable[str]:
    """Those of its lines that say more than how far the work is: what a user should know in any case."""
    notices = NOTICES.get(type(event))
    return () if notices is None else notices(event)


def _none(event: Event) -> Iterable[str]:
    return ()


def _data(event: DataRead) -> Iterator[str]:
    yield f"data: {event.split} has {event.images} images and {event.boxes} boxes"
    yield from _data_notes(event)


def _data_notes(event: DataRead) -> Iterator[str]:
    yield from (f"data: {event.split}: {note}" for note in event.notes)


def _built(event: ModelBuilt) -> Iterator[str]:
    yield from (f"{event.part}: {note}" for note in event.notes)


def _capture(event: CaptureStarted) -> Iterator[str]:
    yield f"capture: {event.model} as graphs for training and evaluation, checked at other sizes"


def _captured(event: CaptureEnded) -> Iterator[str]:
    yield from (f"capture: {note}" for note in event.notes)
    yield from _capture_warnings(event)


def _capture_warnings(event: CaptureEnded) -> Iterator[str]:
    yield from (f"capture: warning: {warning}" for warning in event.warnings)


def _planned(event: Planned) -> Iterator[str]:
    plan = event.plan
    cost = cost_of(plan)
    quantized = sum(site.quantizer is not None for site in plan.sites.values())
    if quantized:
        yield (
            f"plan: {quantized} of {len(plan.sites)} sites quantized by {len(plan.quantizers)} quantizers; weights "
            f"{size(cost.float_bytes)} -> {size(cost.bytes)}; "
            f"{cost.macs / max(cost.operations, 1):.2f}x fewer operations"
        )
    else:
        yield f"plan: nothing is quantized; weights {size(cost.bytes)}, {amount(cost.macs)} MACs an image"
    if plan.alignments:
        yield f"plan: queries aligned in {len(plan.alignments)} of the decoder's layers"
    yield from _plan_warnings(event)


def _plan_warnings(event: Planned) -> Iterator[str]:
    yield from (f"warning: {warning}" for warning in event.plan.warnings)


def _calibrated(event: Calibrated) -> Iterator[str]:
    report = event.report
    corrected = f", biases of {report.corrections} weights corrected" if report.corrections else ""
    yield f"calibration: {report.quantizers} ranges from {report.images} images{corrected}"
    for layer, (query, logits) in report.alignments.items():
        moved = "" if logits is None else f", the attention logits' by {logits:.1%}"
        yield f"calibration: aligning decoder layer {layer} changes the energy of the query by {query:.1%}{moved}"


def _reconstructed(event: BlockReconstructed) -> Iterator[str]:
    report = event.report
    yield (
        f"reconstruction: block {event.number}/{event.total} {report.name}: "
        f"error {report.before:.3g} -> {report.after:.3g}"
    )


def _measured(event: PartMeasured) -> Iterator[str]:
    yield f"measured {event.number}/{event.total}: {event.part} at {event.bits} bits: distance {event.distance:.3g}"


def _training(event: TrainingStarted) -> Iterator[str]:
    yield from _training_warnings(event)
    yield f"{event.phase}: training for {event.epochs} epochs of {event.steps} steps"


def _training_warnings(event: TrainingStarted) -> Iterator[str]:
    yield from (f"{event.phase}: warning: {note}" for note in event.notes)


def _epoch(event: EpochEnded) -> Iterator[str]:
    yield epoch_line(event.record, event.epochs)


def _scored(event: Scored) -> Iterator[str]:
    found = event.evaluation
    yield f"{event.split}: {event.model}: AP {three_places(found.AP)}, AP50 {three_places(found.AP50)}"


def _best(event: BestChosen) -> Iterator[str]:
    yield f"{event.phase}: the best of {event.epochs} epochs is {event.epoch} (val AP {event.AP:.3f})"


def _picture(event: PictureDrawn) -> Iterator[str]:
    yield f"picture: {event.path}"


def _ended(event: RunEnded) -> Iterator[str]:
    if event.already:
        yield "this run is finished already, and is not repeated"


def _noted(event: Noted) -> Iterator[str]:
    yield f"{event.topic}: {event.text}"


def _notice(event: Noted) -> Iterator[str]:
    if not event.progress:
        yield from _noted(event)


NOTICES: Mapping[type, Callable[[Any], Iterable[str]]] = {
    DataRead: _data_notes,
    ModelBuilt: _built,
    CaptureEnded: _capture_warnings,
    Planned: _plan_warnings,
    TrainingStarted: _training_warnings,
    RunEnded: _ended,
    Noted: _notice,
}
LINES: Mapping[type, Callable[[Any], Iterable[str]]] = {
    DataRead: _data,
    ModelBuilt: _built,
    CaptureStarted: _capture,
    CaptureEnded: _captured,
    RunStarted: _none,
    PhaseStarted: _none,
    PhaseEnded: _none,
    Planned: _planned,
    Calibrated: _calibrated,
    BlockReconstructed: _reconstructed,
    TrainingStarted: _training,
    StepTaken: _none,
    EpochEnded: _epoch,
    PartMeasured: _measured,
    BatchScored: _none,
    Scored: _scored,
    BestChosen: _best,
    PictureDrawn: _picture,
    RunEnded: _ended,
    Noted: _noted,
}
