"""What a step asks for when memory runs out, and that a run goes on with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qrecipe.data.batch import Batch
from qrecipe.errors import OutOfMemoryError, TrainError
from qrecipe.recipe.definition import TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.train.smaller_step import smaller_batch, smaller_step, smaller_whole
from tests.tiny_training import TinyLoader, TinyTrainable
from tests.train.tiny_fits import SPEC, fit


@pytest.mark.parametrize(
    ("size", "accumulate", "said"),
    [(8, 1, (4, 2, "half")), (6, 3, (3, 6, "half")), (9, 1, (3, 3, "1/3")), (7, 2, (1, 14, "1/7"))],
)
def test_the_images_of_a_step_stay(size: int, accumulate: int, said: tuple[int, int, str]) -> None:
    text = smaller_step(TrainSpec(batch_size=size, accumulate=accumulate))
    found = re.search(r"batch_size=(\d+) --set train.accumulate=(\d+), which holds about (\S+) ", text)
    assert found is not None
    assert (int(found[1]), int(found[2]), found[3]) == said
    assert said[0] * said[1] == size * accumulate


def test_a_batch_of_one_image_is_no_smaller() -> None:
    assert "smaller images" in smaller_step(TrainSpec(batch_size=1))


@pytest.mark.parametrize(("size", "said"), [(4, "whole.batch_size: 2 holds about half"), (1, "smaller images")])
def test_the_whole_network_has_keys_of_its_own(size: int, said: str) -> None:
    text = smaller_whole(size)
    assert said in text
    assert "train." not in text


def test_checkpointing_is_named_where_it_is_off() -> None:
    """And only where it helps: an evaluation keeps nothing."""
    key = "--set train.checkpointing=true"
    assert key in smaller_step(TrainSpec())
    assert key not in smaller_step(TrainSpec(checkpointing=True))
    assert key not in smaller_batch(TrainSpec())


class Parts(TinyLoader):
    """The same images in batches of one."""

    def __iter__(self) -> Iterator[Batch]:
        first, self.first = self.first, self.first // 2
        for place, batch in enumerate(super().__iter__()):
            for row in range(2):
                if 2 * (first // 2 + place) + row >= first:
                    pixels, sizes = batch.pixel_values[row : row + 1], batch.sizes[row : row + 1]
                    yield Batch(pixels, None, [], batch.image_ids[row : row + 1], sizes)

    def __len__(self) -> int:
        return 2 * super().__len__()


class Starved(TinyTrainable):
    """Memory runs out in the third step."""

    left = 2

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = super().forward(batch)
        if not self.left:
            torch.empty(1 << 46)
        self.left -= 1
        return loss


def test_memory_that_runs_out_ends_in_one_message_and_the_run_goes_on_in_parts(tmp_path: Path) -> None:
    spec = replace(SPEC, batch_size=2)
    with pytest.raises(OutOfMemoryError) as caught:
        fit(Starved(), TinyLoader(), spec, folder=tmp_path)
    assert caught.value.what == "memory ran out: 262144.00 GiB more were asked for"
    assert caught.value.where == "epoch 1, step 3, images 21, 22"
    assert caught.value.remedy == smaller_step(spec)
    assert not (tmp_path / "last").exists()  # statistics may have moved in the step that was not taken

    starved = Starved()
    starved.left = 4
    with pytest.raises(OutOfMemoryError):
        fit(starved, TinyLoader(), spec, folder=tmp_path)
    assert load_checkpoint(tmp_path / "last").epoch == 1
    with pytest.raises(TrainError, match=r"train\.batch_size: 2 in the run, 1 now"):
        fit(TinyTrainable(), Parts(), replace(spec, batch_size=1), folder=tmp_path, resume=True)
    result = fit(TinyTrainable(), Parts(), replace(spec, batch_size=1, accumulate=2), folder=tmp_path, resume=True)
    assert [line["step"] for line in result.history] == [3, 6, 9, 12, 15]
