"""One training step on noise, before anything is spent on a run: what would fail in it fails now."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.batch import Batch
from ..errors import TrainError
from ..placement import Placement, placement_of
from .module import TrainingModule

UNKNOWN_SIZE = (256, 320)
"""(height, width) where the recipe's input follows the image's own size."""


def rehearse(module: TrainingModule, batch_size: int = 2) -> Tensor:
    """Detection and distillation losses, forward and backward, with every quantizer and alignment off.

    One object in each image. All is left as it was but gradients, which are cleared: buffers, modes, random numbers.

    Returns:
        The loss, a detached scalar.

    Raises:
        TrainError: predictions or loss are not finite.
    """
    student = module.student
    training, stage = module.training, student.quantized_roles
    buffers = {name: value.clone() for name, value in student.named_buffers()}
    placement = placement_of(student)
    try:
        with torch.random.fork_rng(devices=[placement.device] if placement.device.type == "cuda" else []):
            torch.manual_seed(0)
            student.switch_off()
            loss: Tensor = module.train()(_noise(module, batch_size, placement))[0]
            if not loss.isfinite():
                raise TrainError("the loss of a training step on noise is not finite")
            if loss.requires_grad:  # of a frozen model quantizers alone are learned, and they are off
                loss.backward()  # type: ignore[no-untyped-call]
    finally:
        module.zero_grad(set_to_none=True)
        module.train(training)
        student.set_stage(stage)
        with torch.no_grad():
            for name, value in student.named_buffers():
                if not torch.equal(value, buffers[name]):  # one that is expanded cannot be written into
                    value.copy_(buffers[name])
    return loss.detach()


def _noise(module: TrainingModule, batch_size: int, placement: Placement) -> Batch:
    height, width = module.student.input.size or UNKNOWN_SIZE
    device = placement.device
    images = torch.rand(batch_size, 3, height, width, dtype=placement.dtype, device=device)
    mask = torch.ones(batch_size, height, width, dtype=torch.int64, device=device)
    box = images.new_tensor([[0.5, 0.5, 0.4, 0.3]])
    label = {"class_labels": torch.zeros(1, dtype=torch.int64, device=device), "boxes": box}
    sizes = torch.tensor([[height, width]] * batch_size)
    return Batch(images, mask, [dict(label) for _ in range(batch_size)], list(range(batch_size)), sizes)
