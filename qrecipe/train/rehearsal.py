"""One training step on noise, before anything is spent on a run: what would fail in it fails now."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.batch import Batch
from .module import TrainingModule

UNKNOWN_SIZE = (256, 320)
"""(height, width) where the recipe's input follows the image's own size."""


def rehearse(module: TrainingModule) -> Tensor:
    """Detection and distillation losses, forward and backward, with every quantizer and alignment off.

    Two images, one object in each. Parameters and buffers are left as they were, gradients cleared.

    Returns:
        The loss, a detached scalar.

    Raises:
        TrainError: the predictions are not finite.
    """
    student = module.student
    buffers = {name: value.clone() for name, value in student.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student.switch_off()
        loss: Tensor = module.train()(_noise(module))[0]
        loss.backward()  # type: ignore[no-untyped-call]
    module.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, value in student.named_buffers():
            value.copy_(buffers[name])
    student.set_stage(None)
    return loss.detach()


def _noise(module: TrainingModule) -> Batch:
    student = module.student
    height, width = student.input.size or UNKNOWN_SIZE
    first = next(student.parameters())
    images = torch.rand(2, 3, height, width, dtype=first.dtype, device=first.device)
    mask = torch.ones(2, height, width, dtype=torch.int64, device=first.device)
    box = torch.tensor([[0.5, 0.5, 0.4, 0.3]], dtype=first.dtype, device=first.device)
    label = {"class_labels": torch.zeros(1, dtype=torch.int64, device=first.device), "boxes": box}
    return Batch(images, mask, [dict(label), dict(label)], [0, 1], torch.tensor([[height, width]] * 2))
