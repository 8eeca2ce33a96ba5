"""The checkpoints of a training: ``last``, what it was after the epochs before, and ``best``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..processes import gathered
from ..recipe.definition import TrainSpec
from ..run.checkpoint import Checkpoint, save_checkpoint
from ..run.kept import drop_earlier, of_epoch
from ..run.layout import BEST, LAST
from ..termination import held
from .followers import Followers
from .optimizer import ParameterGroup
from .protocols import Trainable
from .records import Records
from .resume import Begun, training_state
from .schedule import stage_of


@dataclass
class Keeper:
    """settings: what must not change between the parts of the training. whole: the epoch at whose end ``last`` was
    written; None where it was written within one, or not yet."""

    records: Records
    spec: TrainSpec
    trainable: Trainable[nn.Module]
    optimizer: Optimizer
    groups: Sequence[ParameterGroup]
    followers: Followers
    settings: Mapping[str, Any]
    whole: int | None = None

    def keep(self, record: Mapping[str, Any], best: Mapping[str, Any] | None) -> None:
        """Write an epoch's record and checkpoints. best: the epoch and AP of the best so far.

        Metrics, best, last: what a kill leaves out here, the epoch that follows ``last`` writes again.
        """
        self.records.metrics.append(record)
        state = self._state(record["epoch"], record["step"], best)
        if record["best"]:
            with self.followers.scored():
                weights = self.trainable.student.state_dict()
                save_checkpoint(self.records.folder / BEST, replace(state, weights=weights, training=None))
        self._keep_last(state, record["epoch"])

    def keep_begun(self, number: int, steps: int, best: Mapping[str, Any] | None, begun: Begun) -> None:
        """Write ``last`` within an epoch, counted from 1: its weights, the rest of training's state, no record.

        steps: of an epoch.
        """
        with held():
            step = (number - 1) * steps + begun.averages.steps
            self._keep_last(self._state(number - 1, step, best, begun), None)
            gathered(None)  # a launcher ends the first process as soon as another one is through

    def _keep_last(self, state: Checkpoint, whole: int | None) -> None:
        """Write ``last``; what it was at the end of an epoch stays, as long as it is one of those that are kept."""
        last = self.records.folder / LAST
        save_checkpoint(last, state, None if self.whole is None else of_epoch(last, self.whole))
        self.whole = whole
        drop_earlier(last, self.spec.keep - 1)

    def _state(self, epoch: int, step: int, best: Mapping[str, Any] | None, begun: Begun | None = None) -> Checkpoint:
        """All that going on needs. epoch: finished ones. step: finished ones, of all epochs."""
        bits = stage_of(self.spec, epoch if begun is None else epoch + 1).bits
        return Checkpoint(
            weights=self.trainable.student.state_dict(),
            epoch=epoch,
            step=step,
            best=best,
            extra={**self.records.extra, "fit": self.settings, **({} if bits is None else {"bits": bits})},
            training=training_state(self.trainable, self.optimizer, self.groups, step, self.followers, begun),
        )
