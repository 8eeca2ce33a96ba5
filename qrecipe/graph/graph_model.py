"""A captured model that runs: the parameters once, and one compiled graph per mode over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from ..errors import CaptureError, ModelError
from .inputs import image_shape
from .program import CompiledProgram, FunctionMaker, GraphMode, GraphOutputs, Program

TOO_FEW = "selected index k out of range"
"""What torch says of a top-k among fewer values."""


class GraphModel(nn.Module):
    """Holds the children of ``root`` under their own names, so that its state_dict keys are the model's.

    The training graph runs after ``train()``, the evaluation graph after ``eval()``.

    Args:
        root: the module tree that the graphs' targets name; its parts are taken over, not copied.
        programs: of both modes, over the same tree.
        make: turns each program into a function; by default one that runs it node by node.
    """

    def __init__(
        self, root: nn.Module, programs: Mapping[GraphMode, Program], make: FunctionMaker | None = None
    ) -> None:
        super().__init__()
        own = [*root._modules, *root._parameters, *root._buffers]
        reserved = {
            name for kind in type(self).__mro__ for name in (*vars(kind), *vars(kind).get("__annotations__", {}))
        }
        taken = [name for name in own if name in reserved]
        if taken:
            raise CaptureError(
                f"the model's own parts {', '.join(taken)} have names that a captured module needs for itself",
                where=type(self).__name__,
                remedy="rename them in the model",
            )
        for name, child in root.named_children():
            self.add_module(name, child)
        for name, parameter in root.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in root.named_buffers(recurse=False):
            self.register_buffer(name, buffer, persistent=name not in root._non_persistent_buffers_set)
        self.programs = {mode: CompiledProgram(program, make) for mode, program in programs.items()}
        self.train(root.training)

    def run(self, inputs: Mapping[str, Tensor], *, mode: GraphMode | None = None, taps: bool = False) -> GraphOutputs:
        """Run one mode.

        Args:
            inputs: the keyword inputs of the capture.
            mode: ``train`` or ``eval``; by default what ``self.training`` says.
            taps: whether to compute and return the taps.

        Raises:
            ModelError: images so small that a model which chooses its queries among their places finds too few.
        """
        program = self.programs[mode or ("train" if self.training else "eval")]
        with reading(inputs):
            return program(self, inputs, taps=taps)


@contextmanager
def reading(inputs: Mapping[str, Tensor]) -> Iterator[None]:
    """While a graph runs on these inputs: what an image too small for the model makes of it is one message.

    Raises: ModelError.
    """
    try:
        yield
    except RuntimeError as error:
        if TOO_FEW not in str(error):
            raise
        height, width = image_shape(inputs)[-2:]
        raise ModelError(
            f"an image of {height}x{width} has fewer places than the model chooses queries from them",
            remedy="a larger model.input.size, or fewer queries",
        ) from error
