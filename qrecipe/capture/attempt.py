"""Exports a model in one mode: with torch.export's own tracer first, then with Dynamo's where that may help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..termination import Terminated
from ..user_line import Line
from .bounds import refuse_bounds
from .diagnosis import FailureKind, Finding, diagnose
from .export import Way, export
from .refusal import refuse
from .value_reads import Watch
from .wrapper import Call

WAYS: tuple[Way, ...] = ("non-strict", "strict")
SURE: frozenset[FailureKind] = frozenset({"operator", "autocast", "transform"})
"""Kinds of failure at which Dynamo cannot but fail as well."""


@dataclass(frozen=True)
class Export:
    """One that succeeded. left_off: the line that switched gradients off for good, where the model does so."""

    program: torch.export.ExportedProgram
    left_off: Line | None


@dataclass(frozen=True)
class Attempt:
    """An export that failed. ``error`` None: it was not tried, as it would fail like the one before."""

    training: bool
    way: Way
    error: BaseException | None
    finding: Finding


def attempt(
    root: nn.Module,
    again: Callable[[], nn.Module],
    call: Call,
    example: Mapping[str, Tensor],
    largest: int | None = None,
) -> tuple[Export | None, list[Attempt]]:
    """The export, or None, and the attempts that failed.

    Args:
        root: a copy of the model, in the mode to capture. again: makes another one: a failed export leaves traces
            behind, such as a tensor that the model keeps.
        largest: as of ``capture``.
    """
    failed: list[Attempt] = []
    for way in WAYS:
        if failed and failed[0].finding.kind in SURE:
            failed.append(Attempt(root.training, way, None, failed[0].finding))
            continue
        watch = Watch(again() if failed else root)
        try:
            program = export(call, example, way, watch)
            refuse(program.graph_module, watch.root)
            refuse_bounds(program, example, lambda inputs: call(again(), inputs), largest)
            return Export(program, watch.left_off), failed
        except (KeyboardInterrupt, Terminated):
            raise
        except BaseException as error:  # whatever the model's own code raises, SystemExit too
            failed.append(Attempt(root.training, way, error, diagnose(error, watch)))
    return None, failed
