"""What a failed capture tells the user: the line, the part of the model, what depends on data there, what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ..errors import CaptureError
from ..graph.program import GraphMode
from ..user_line import Line
from .attempt import Attempt
from .diagnosis import FailureKind, Finding, Refused


@dataclass(frozen=True)
class Advice:
    """Of one kind of failure. what: completes "cannot be captured: ..."; change: one way out per line."""

    what: str
    why: str
    change: tuple[str, ...]


ADVICE: dict[FailureKind, Advice] = {
    "branch": Advice(
        "a branch on a tensor's value",
        "a graph has one way through it, and which one is right is only known when the values are there",
        (
            "compute both sides and choose: torch.where(condition, one, other)",
            "or decide by something known when the model is built: a setting in __init__",
        ),
    ),
    "equal": Advice(
        "a comparison of the values of two tensors",
        "known without the values is only that two are one and the same tensor, or differ in shape",
        (
            "ask whether they are one and the same: key is value, not torch.equal(key, value)",
            "or leave the comparison out: most often it saves a product and changes no result",
        ),
    ),
    "item": Advice(
        "a Python number read from a tensor's values",
        "the number is another one for every image, and Python code or a shape is built from it",
        (
            "keep it a tensor (x.amax() instead of x.max().item()) and calculate with that",
            "where it is a limit or a count: a fixed maximum, and a mask for what lies beyond it",
        ),
    ),
    "tolist": Advice(
        "a Python list read from a tensor's values",
        "the list's numbers, and often its length, are other ones for every batch",
        (
            "keep it a tensor, and replace the loop over the list by tensor operations (gather, arange and a mask)",
            "or let the model take the list as a constructor argument, if it never changes",
        ),
    ),
    "varying": Advice(
        "a list or a tensor whose length depends on the data",
        "a graph holds a fixed number of tensors; here their number or length changes with the batch or the values",
        (
            "work on the whole batch at once, without a loop over it: x.flatten(1), not [t.flatten() for t in x]",
            "choose with a mask that keeps the shape (torch.where, masked_fill), or topk of a fixed size",
        ),
    ),
    "numpy": Advice(
        "numpy in the forward",
        "what numpy computes never reaches the graph",
        (
            "use the torch function of the same name: torch.linspace, torch.meshgrid, torch.as_tensor, ...",
            "or compute it in __init__ and register_buffer it, if it does not depend on the image",
        ),
    ),
    "function": Advice(
        "a custom autograd function",
        "a capture follows its forward and derives the gradient from that: its own backward is lost",
        (
            "write it with torch's own operations: x + (f(x) - x).detach() is f forward and the identity backward",
            "or register it with torch.library.custom_op, register_autograd and register_fake",
        ),
    ),
    "operator": Advice(
        "an operator without a fake implementation",
        "to capture, torch must know the shape of its result without running it",
        (
            "tell it: @torch.library.register_fake('NAMESPACE::NAME') on a function that returns an empty result",
            "or use the pure PyTorch version of the operator, which most models keep beside the compiled one",
        ),
    ),
    "size": Advice(
        "a size of the input that becomes a plain number",
        "the graph would serve that one size only",
        (
            "take sizes from tensor.shape where they are needed, and build with torch.arange and the like, not numpy",
            "without math.*, float(), range() over a size, and branches on it",
            "sizes that a setting fixes can come from __init__",
        ),
    ),
    "bound": Advice(
        "a branch on the size of the input",
        "a graph has one way through it, and so serves only the sizes on one side of it",
        (
            "compute what holds for every size, or decide by a setting in __init__",
            "where it only guards something (padding to a multiple), do that always: it changes nothing where it fits",
        ),
    ),
    "autocast": Advice(
        "mixed precision that is switched on",
        "a graph computes in the type of its tensors: without the region its numbers would be others",
        (
            "remove the region or the decorator, or switch it off: torch.autocast(device_type, enabled=False)",
            "where a part needs another type, write that there: x.to(torch.float32)",
        ),
    ),
    "subgraph": Advice(
        "a part that torch keeps as a graph of its own",
        "torch.cond, while_loop, scan and the like hold graphs inside the graph, in which nothing could be quantized",
        (
            "compute both sides and choose: torch.where(condition, one, other)",
            "a Python loop with a fixed number of steps in place of while_loop, scan and map",
        ),
    ),
    "transform": Advice(
        "a function mapped or differentiated by torch.func",
        "vmap, grad and the like run a function in a way of their own, which a graph does not repeat",
        (
            "write it for the whole batch: matmul and broadcasting in place of torch.vmap",
            "write out a derivative that the forward needs",
        ),
    ),
    "other": Advice(
        "torch.export does not get through",
        "its own reason stands below",
        (
            "put an adapter around the model whose forward(pixel_values, pixel_mask) calls it with what it wants",
            "and move what prepares inputs or picks detections out of the forward",
        ),
    ),
}

_ABRIDGED = 160
_NOISE = (" (unhinted:", " For more information, run with TORCH_LOGS", "\nThe error above occurred when")


@final
class CaptureFailure(CaptureError):  # noqa: N818 - the screen, which every other capture error is not
    """One screen. kind, line: of what failed; ``part``: the path of the module it is in, None where it is unknown.

    Args:
        tried: how each attempt ended, a line each.
    """

    def __init__(self, model: str, finding: Finding, tried: Sequence[str]) -> None:
        super().__init__(screen(model, finding, tried))
        self.kind: FailureKind = finding.kind
        self.line = finding.line
        self.part = finding.line.module if finding.line is not None else None


def brief(error: BaseException) -> str:
    """An error's type and first line."""
    if isinstance(error, Refused):
        return "stopped, as a graph cannot keep it"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    for noise in _NOISE:
        first = first.partition(noise)[0]
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return text if len(text) <= _ABRIDGED else f"{text[:_ABRIDGED]}..."


def tried_lines(attempts: Sequence[Attempt]) -> list[str]:
    """How each attempt ended; attempts in both modes that ended the same in one line."""
    modes: dict[tuple[str, str], list[str]] = {}
    for attempt in attempts:
        ended = "not tried, as it cannot end otherwise" if attempt.error is None else brief(attempt.error)
        modes.setdefault((attempt.way, ended), []).append("training" if attempt.training else "evaluation")
    return [f"{way}, {' and '.join(names)} mode: {ended}" for (way, ended), names in modes.items()]


def screen(model: str, finding: Finding, tried: Sequence[str]) -> str:
    """What failed, in a few lines. ``tried``: how each attempt ended."""
    advice = ADVICE[finding.kind]
    what = advice.what
    if finding.frozen:
        what += f" ({' and '.join(finding.frozen)})"
    rows: list[tuple[str, Sequence[str]]] = []
    if finding.line is not None:
        rows += [("line", (f"{finding.line.place}: {finding.line.text}",)), ("part", (finding.line.part,))]
    if finding.read is not None:
        rows.append(("read at", (f"{finding.read.place}: {finding.read.text}",)))
    rows += [("why", (advice.why,)), ("tried", tried), ("change", advice.change)]
    lines = [f"{model} cannot be captured: {what}"]
    for name, texts in rows:
        for index, text in enumerate(texts):
            lines.append(f"  {name if not index else '':<8} {text}")
    return "\n".join(lines)


def evaluation_only(model: str, finding: Finding) -> str:
    """The warning where the evaluation mode has to serve for both."""
    place = f" at {finding.line.place}" if finding.line is not None else ""
    return (
        f"{model} cannot be captured in training mode ({ADVICE[finding.kind].what}{place}): its evaluation mode is "
        "used in training too. What it does only while training is lost: auxiliary outputs, and dropout except that "
        "of nn.Dropout parts"
    )


_MODES: dict[GraphMode, str] = {"train": "training", "eval": "evaluation"}


def gradients_left_off(model: str, lines: Mapping[GraphMode, Line | None]) -> list[str]:
    """The warning where a forward switches gradients off and not on again, by the line of each mode."""
    places: dict[str, list[str]] = {}
    for mode, line in lines.items():
        if line is not None:
            places.setdefault(line.place, []).append(_MODES[mode])
    return [
        f"{model} leaves gradients switched off in {' and '.join(modes)}, at {place}: every forward of a student "
        "starts with them on; put what needs none into a block: with torch.no_grad()"
        for place, modes in places.items()
    ]
