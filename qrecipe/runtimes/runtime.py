"""What every runtime can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Operator:
    """One operator of the graph that a runtime really runs.

    kind: the runtime's name for it, such as ``QLinearConv``.
    names: names of the file's nodes that became this operator, as far as the runtime keeps them.
    integer: whether its products are computed in integers.
    """

    kind: str
    names: tuple[str, ...]
    integer: bool


class Session(Protocol):
    """An opened file."""

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by their names, for inputs by theirs. Raises: ExportError: the runtime fails on them."""

    def operators(self) -> tuple[Operator, ...] | None:
        """The operators of the optimised graph in the order in which they run; None where the runtime gives none."""


class Runtime(Protocol):
    """name: as users write it. extra: the extra of qrecipe that installs it."""

    @property
    def name(self) -> str: ...

    @property
    def extra(self) -> str: ...

    def version(self) -> str:
        """Raises: ExportError: it is not installed."""

    def open(
        self,
        file: Path | bytes,
        *,
        extra: Sequence[str] = (),
        threads: int | None = None,
        rewrites: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> Session:
        """Open an ONNX file on the CPU.

        Args:
            file: its path or its bytes.
            extra: names of values inside the graph that are given out beside its outputs.
            threads: of one operator; None leaves it to the runtime.
            rewrites: False keeps the graph as it is written, as far as the runtime can.
            settings: the runtime's own, by its names for them.

        Raises:
            ExportError: the runtime is not installed, or does not read this file.
        """
