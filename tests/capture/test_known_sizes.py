"""Tensors that hold sizes of the image: what is read from them is a size, at every size of the image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.capture import capture
from qrecipe.capture.failure import CaptureFailure
from tests.capture.test_shims import SIZES
from tests.toys import call, picture, running


class Computes(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.compute(pixel_values)


def shapes_of(x: Tensor) -> Tensor:
    """Of two feature levels, (2, 2): height and width of each."""
    return torch.as_tensor([(x.shape[2], x.shape[3]), (x.shape[2] // 2, x.shape[3] // 2)], dtype=torch.long)


def tokens_of(x: Tensor) -> Tensor:
    """Both levels one after the other, (batch, length, 3)."""
    second = F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))
    return torch.cat([level.flatten(2).mT for level in (x, second)], 1)


def starts_of(shapes: Tensor) -> Tensor:
    return torch.cat((shapes.new_zeros((1,)), shapes.prod(1).cumsum(0)[:-1]))


def points(x: Tensor) -> Tensor:
    """Deformable DETR's get_reference_points."""
    found = []
    for level, (height, width) in enumerate(shapes_of(x)):
        y, x_ = torch.meshgrid(
            torch.linspace(0.5, height - 0.5, height, dtype=torch.float32),
            torch.linspace(0.5, width - 0.5, width, dtype=torch.float32),
            indexing="ij",
        )
        found.append(torch.stack((x_.reshape(-1)[None] / (level + 1) / width, y.reshape(-1)[None] / height), -1))
    return torch.cat(found, 1) * x.mean()


def split_by_level(x: Tensor) -> Tensor:
    """Deformable attention in plain PyTorch: values are split, and made maps again."""
    shapes, tokens = shapes_of(x), tokens_of(x)
    assert (shapes[:, 0] * shapes[:, 1]).sum() == tokens.shape[1]
    values = tokens.split([height * width for height, width in shapes], dim=1)
    maps = [
        value.mT.reshape(x.shape[0], 3, height, width) for value, (height, width) in zip(values, shapes, strict=True)
    ]
    return torch.stack([each.amax((1, 2, 3)) * each[..., 0, -1].sum() for each in maps])


def by_start_index(x: Tensor) -> Tensor:
    shapes, tokens = shapes_of(x), tokens_of(x)
    starts = starts_of(shapes)
    total = tokens.new_zeros(())
    for level, start in enumerate(starts):
        end = starts[level + 1] if level + 1 < len(starts) else tokens.shape[1]
        total = total + (level + 1) * tokens[:, start:end].sum() ** 2
    return total + starts.sum()


def narrowed(x: Tensor) -> Tensor:
    shapes, tokens = shapes_of(x), tokens_of(x)
    starts = starts_of(shapes).tolist()
    return tokens.narrow(1, starts[1], int(shapes[1].prod())).sum((1, 2)) * tokens[:, : starts[1]].mean()


def proposals(x: Tensor) -> Tensor:
    """gen_encoder_output_proposals: grids, scales, and a position that moves on."""
    tokens, found, position = tokens_of(x), [], 0
    for height, width in shapes_of(x):
        level = tokens[:, position : (position + height * width)].view(x.shape[0], height, width, 3)
        y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([x_, y], -1).expand(x.shape[0], -1, -1, -1)
        scale = torch.stack([width, height]).view(1, 1, 1, 2)
        found.append(((grid + 0.5) / scale * level.mean(-1, keepdim=True)).flatten(1, 2))
        position += height * width
    return torch.cat(found, 1)


def resized(x: Tensor) -> Tensor:
    shapes = shapes_of(x)
    small = F.interpolate(x, size=tuple(shapes[1]), mode="nearest")
    back = F.interpolate(small, size=(int(shapes[0][0]), shapes[0, 1].item()), mode="nearest")
    return back * shapes[:, 0].max() - shapes.flip(0).T.min()


def made_anew(x: Tensor) -> Tensor:
    shapes = shapes_of(x)
    height, width = shapes[0].unbind()
    half = torch.div(height, 2, rounding_mode="floor")
    mask = torch.zeros(height, width)
    mask[:half] = 1
    return x.float() * mask + torch.full((x.shape[0], 1, height, width), 2.0) * (width % 3) - (7 - height) - -width


def branched(x: Tensor) -> Tensor:
    """On what is the same at every size."""
    shapes = shapes_of(x)
    if shapes.shape[0] == 2 and (shapes[0] >= shapes[1]).all() and not (shapes < 0).any():
        x = x * 2
    return x if torch.maximum(shapes[0], shapes[1])[0] == x.shape[2] else -x


def repeated(x: Tensor) -> Tensor:
    sizes = shapes_of(x).repeat(2, 1)[1:3].clone().int()
    return x.sum((1, 2, 3)).repeat_interleave(3).expand(int(sizes[1][0]), -1) * sizes.float().mean()


def plain_numbers(x: Tensor) -> Tensor:
    counts = torch.tensor([1, 2])
    return torch.cat([part.sum((1, 2, 3)) * (level + 1) for level, part in enumerate(x.split(list(counts), 1))])


def as_values(x: Tensor) -> Tensor:
    """As a tensor it is one like all others."""
    shapes = x.new_tensor([[x.shape[2], x.shape[3]], [1, 2]], dtype=torch.int64)
    normalizer = torch.stack([shapes[..., 1], shapes[..., 0]], -1)
    for make in (torch.as_tensor, torch.tensor):
        lengths = make([height * width for height, width in shapes_of(x)])
        assert lengths.tolist() == shapes_of(x).prod(1).tolist()
    same = x.new_tensor((x.shape[2], 3)) * shapes[0]
    return x.mean() / normalizer[None, :, None] * same + shapes.to(x.dtype).prod(-1)[:, None] * 0.5


FOLLOWED = (
    *(points, split_by_level, by_start_index, narrowed, proposals, resized, made_anew, branched, repeated),
    *(plain_numbers, as_values),
)


@pytest.mark.parametrize("compute", FOLLOWED)
def test_what_is_read_is_a_size(compute: Callable[[Tensor], Tensor]) -> None:
    captured = capture(Computes(compute), call, picture())
    assert captured.warnings == ()
    graph = running(captured).eval()
    for size in SIZES:
        inputs = picture(*size)
        mine, theirs = graph.run(inputs).outputs, compute(inputs["pixel_values"])
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-5)
    for node in captured.programs["eval"].graph.nodes:
        assert node.target not in (
            torch.ops.aten.item.default,
            torch.ops.aten._local_scalar_dense.default,
        )  # a size comes from the image's shape, not from values


def written_into(x: Tensor) -> Tensor:
    sizes = torch.as_tensor([x.shape[2], x.shape[3]])
    sizes[0] = (x > 0.5).sum()
    return x[:, :, : int(sizes[0])]


def written_through_a_view(x: Tensor) -> Tensor:
    sizes = torch.as_tensor([x.shape[2], x.shape[3]])
    sizes[:1].fill_(1).add_((x > 0.5).sum())
    return x * 2 if sizes[0].item() > 3 else x


def not_of_sizes(x: Tensor) -> Tensor:
    return torch.stack([x.new_zeros(count + 1).sum() for count in (x > 0.5).sum((1, 2))[0]])


@pytest.mark.parametrize("compute", [written_into, written_through_a_view, not_of_sizes])
def test_other_numbers_are_refused_as_before(compute: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(CaptureFailure) as caught:
        capture(Computes(compute), call, picture())
    assert caught.value.line is not None
    assert caught.value.line.file == __file__
