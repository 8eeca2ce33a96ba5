"""One attempt to export a model in the mode it is in: with torch.export's own tracer, or with Dynamo's."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..graph.inputs import dynamic_dims
from .shims import symbolic_sizes
from .switches import followed_switches
from .value_reads import Watch
from .wrapper import Call, Wrapper

Way = Literal["non-strict", "strict"]


def export(call: Call, example: Mapping[str, Tensor], way: Way, watch: Watch) -> torch.export.ExportedProgram:
    """Export ``watch.root`` in the mode it is in, with dynamic batch, height and width.

    Raises:
        Exception: torch.export lets any error of the model's own code through.
    """
    inputs = {name: example[name] for name in sorted(example)}
    dims = dynamic_dims(inputs)

    def watched(model: nn.Module, given: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        watch.follow(given)
        result = call(model, given)
        watch.note_end()
        return result

    with _quiet():
        if way == "strict":  # Dynamo reads the code instead of running it: no stand-ins, and nothing to watch
            return torch.export.export(Wrapper(watch.root, call), (inputs,), dynamic_shapes=(dims,), strict=True)
        # The stand-ins come first: what they keep symbolic is not seen by the watch.
        with watch, symbolic_sizes(watch.root), followed_switches(watch.root):
            wrapper = Wrapper(watch.root, watched)
            return torch.export.export(wrapper, (inputs,), dynamic_shapes=(dims,), strict=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what torch logs, prints and warns about its own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
