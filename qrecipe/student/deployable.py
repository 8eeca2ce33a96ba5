"""What is deployed of a student: its evaluation graph, ready for lowering."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Deployable:
    """The evaluation graph with fake quantizers and alignments in place, and without taps.

    root: the module tree that the graph's targets name: the student itself, not a copy.
    graph: one to edit. Its ``call_module`` nodes are fake quantizers (``fake_quantizers.NAME``) and alignments; every
        node's ``meta`` has ``module``, the path of the part that it belongs to, and where it has operands that a plan
        may quantize, their sites under ``qrecipe.structure.operands.SITES``.
    out_spec: gives the flat outputs their form: the model's own outputs, and extras, which are empty in evaluation.
    inputs: the names of the graph's inputs, in order.
    """

    root: nn.Module
    graph: fx.Graph
    out_spec: pytree.TreeSpec
    inputs: tuple[str, ...]

    def module(self) -> fx.GraphModule:
        """The graph as a module over the student's own parameters and parts; it returns the flat outputs."""
        return fx.GraphModule(self.root, self.graph, "Deployable")
