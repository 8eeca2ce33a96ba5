"""Runs a student's evaluation graph batch by batch, and shows what chosen operations read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor, fx

from ..graph.graph_model import reading
from .deployable import Deployable

Of = TypeVar("Of")


class BatchInterpreter(fx.Interpreter, ABC, Generic[Of]):
    """The graph, operation by operation, once for each batch; a value is kept no longer than it is needed.

    Args:
        visited: the calls whose operands are looked at, each with what it is looked at for.
    """

    def __init__(self, deployable: Deployable, visited: Mapping[fx.Node, Of]) -> None:
        super().__init__(deployable.root, graph=deployable.graph)
        self._inputs = deployable.inputs
        self._visited = visited

    @abstractmethod
    def visit(self, node: fx.Node, of: Of, operands: tuple[Any, ...]) -> None:
        """Look at the values of ``node.args``, before the call."""

    def over(self, inputs: Mapping[str, Tensor]) -> None:
        """Run on one batch. Raises: ModelError: its images are too small for the model."""
        with reading(inputs):
            self.run(*(inputs[name] for name in self._inputs))

    def run_node(self, n: fx.Node) -> Any:
        if n in self._visited:
            operands, _ = self.fetch_args_kwargs_from_env(n)
            self.visit(n, self._visited[n], operands)
        return super().run_node(n)
