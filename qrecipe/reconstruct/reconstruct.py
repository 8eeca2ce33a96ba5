"""Walks through a student block by block, with the real model's values beside the student's."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import fx, nn

from ..data.batch import Batch
from ..errors import CalibrationError
from ..quantizers import Quantizer
from ..student import Student
from ..vocabulary import CORRECTIONS
from .layers import compensate
from .optimise import Learned, ReconstructSettings, optimise
from .segments import Segment, cut
from .stream import Stream
from .weights import Weight, weight_behind


@dataclass(frozen=True)
class BlockReport:
    """What came of one block. weighted: its operations with weights. before, after: relative squared error of its
    outputs; both models read what their own earlier blocks gave."""

    name: str
    weighted: int
    before: float
    after: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def reconstruct(
    student: Student,
    batches: Sequence[Batch],
    settings: ReconstructSettings,
    *,
    real: Student | None = None,
    done: Sequence[BlockReport] = (),
    on_block: Callable[[BlockReport, int, int], None] = lambda report, number, total: None,
) -> list[BlockReport]:
    """Learn the rounding of weights and the ranges of activations, block by block, in place.

    Args:
        student: calibrated. It is left as it was but for parameters and ranges.
        batches: unlabelled images; all values between two blocks are kept for each of them, and no others.
        settings: a block's own seed is the settings' plus its number.
        real: the student with the weights of before; needed with ``done``, by default a copy of ``student``.
        done: blocks that the student's weights and ranges have learned already; they are passed through.
        on_block: called behind each block with its report, its number from 1, and the number of blocks.

    Raises:
        CalibrationError: there are no batches, or the blocks that are done are not the student's first ones.
    """
    if not batches:
        raise CalibrationError("there are no batches to reconstruct with")
    if done and real is None:
        raise ValueError("blocks that are done have changed the student: the one of before is needed")
    segments = cut(student.deployable().graph)
    _require_these(done, segments)
    reports = list(done)
    real = copy.deepcopy(student) if real is None else real
    real.eval().switch_off()
    training, stage = student.training, student.quantized_roles
    student.eval()
    try:
        student.set_stage(None)
        streams = [Stream.of(student, batch) for batch in batches]
        changed: set[str] = set()
        shared = _shared(student, segments)
        for number, segment in enumerate(segments):
            weights = _weights(student, segment, changed, shared)
            biases = _biases(student, segment, changed)
            changed |= {*weights, *biases}
            targets = [segment.constants(real, stream.real_reads(segment)) for stream in streams]
            if number >= len(done):
                pairs = [stream.pair(segment, target) for stream, target in zip(streams, targets, strict=True)]
                own = dataclasses.replace(settings, seed=settings.seed + number)
                reads = [pair.quantized for pair in pairs]
                at_once = partial(compensate, student, segment, reads, weights, biases)
                outcome = optimise(student, segment, pairs, Learned(weights, biases), own, at_once)
                reports.append(BlockReport(segment.block.name, segment.block.weighted, outcome.before, outcome.after))
                on_block(reports[-1], number + 1, len(segments))
            for stream, target in zip(streams, targets, strict=True):
                stream.advance(segment, target, segment.constants(student, stream.quantized_reads(segment)))
    finally:
        student.set_stage(stage)
        student.train(training)
    return reports


def _require_these(done: Sequence[BlockReport], segments: Sequence[Segment]) -> None:
    """Raises: CalibrationError: another version found other blocks, so that it cannot go on behind them."""
    for report, segment in zip(done, segments, strict=False):
        if (report.name, report.weighted) != (segment.block.name, segment.block.weighted):
            raise CalibrationError(
                f"the block {report.name} is done, where this version has {segment.block.name}",
                remedy="choose another --output; what was reconstructed so far cannot be gone on with",
            )


def _shared(student: Student, segments: Sequence[Segment]) -> set[tuple[int, tuple[int, ...]]]:
    """Weights that several quantizers read, each in its own way: their rounding cannot serve all of them."""
    calls = {path: node for segment in segments for path, node in _weight_calls(student, segment)}
    found = [weight.memory for node in calls.values() if (weight := weight_behind(student, node)) is not None]
    return {memory for memory, count in Counter(found).items() if count > 1}


def _weight_calls(student: Student, segment: Segment) -> list[tuple[str, fx.Node]]:
    """The calls of weights' quantizers in a block: their paths, and what they quantize."""
    found = []
    for node in segment.block.nodes:
        if node.op == "call_module":
            module = student.get_submodule(str(node.target))
            if isinstance(module, Quantizer) and module.operand.is_weight and isinstance(node.args[0], fx.Node):
                found.append((str(node.target), node.args[0]))
    return found


def _weights(
    student: Student, segment: Segment, changed: set[str], shared: set[tuple[int, tuple[int, ...]]]
) -> dict[str, Weight]:
    """What a block may round: weights that no block before has rounded."""
    found = {}
    for path, node in _weight_calls(student, segment):
        quantizer = student.get_submodule(path)
        assert isinstance(quantizer, Quantizer)
        fixed = path in changed or path in found or not quantizer.encoding().integer
        weight = None if fixed else weight_behind(student, node)
        if weight is not None and weight.memory not in shared:
            found[path] = weight
    return found


def _biases(student: Student, segment: Segment, changed: set[str]) -> dict[str, nn.Parameter]:
    """Biases that a block reads and no block before it: what they add makes up for mean errors (bias correction).

    An added bias is one; the correction of a bias of the model's own is not, as that bias is learned itself.
    """
    read = {
        str(source.target)
        for node in segment.block.nodes
        for source in node.all_input_nodes
        if source.op == "get_attr" and str(source.target).rpartition(".")[2] == "bias"
    }
    read |= {
        f"{node.target}.bias"
        for node in segment.block.nodes
        if str(node.target).startswith(f"{CORRECTIONS}.") and node.args[0] is None
    }
    return {
        path: value
        for path, value in student.named_parameters()
        if path in read - changed and value.is_floating_point()
    }
