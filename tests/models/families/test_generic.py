"""What the generic family makes of one's own modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qrecipe.errors import ModelError
from qrecipe.models.families import Family, build_family
from qrecipe.models.families.generic import GenericFamily
from qrecipe.recipe.definition import LossSpec
from tests.tiny_detectors import some_images, some_labels, tiny_detr


def run(family: Family, model: nn.Module, images: Tensor, mask: Tensor | None = None) -> tuple[Any, dict[str, Tensor]]:
    return family.forward(model, family.inputs(images, mask))


class Own(nn.Module):
    """One's own detector; ``shape`` says how it spells its output."""

    def __init__(self, columns: int = 4, shape: str = "dict") -> None:
        super().__init__()
        self.layer = nn.Linear(3, columns + 4)
        self.columns = columns
        self.shape = shape

    def forward(self, image: Tensor) -> Any:
        both = self.layer(image.flatten(2)[..., :5].transpose(1, 2))
        logits, boxes = both[..., : self.columns], both[..., self.columns :].sigmoid()
        if self.shape == "dict":
            earlier = [{"logits": logits + 1, "pred_boxes": boxes}] if self.training else None
            return {"logits": logits, "pred_boxes": boxes, "aux_outputs": earlier}
        if self.shape == "original":
            return {"pred_logits": logits, "boxes": boxes, "auxiliary": ((logits + 1, boxes),)}
        if self.shape == "tuple":
            return logits, boxes
        if self.shape == "nothing":
            return {"scores": logits}
        return OwnOutput(logits, boxes)


@dataclass
class OwnOutput:
    logits: Tensor
    pred_boxes: Tensor


class TestGeneric:
    @pytest.mark.parametrize(("shape", "earlier"), [("dict", 1), ("original", 1), ("tuple", 0), ("object", 0)])
    def test_outputs_are_read_however_they_are_spelled(self, shape: str, earlier: int) -> None:
        model = Own(shape=shape).train()
        family = build_family(model, LossSpec(), classes=4)
        outputs, extras = run(family, model, some_images(2))
        prediction = family.read(outputs, extras)
        assert prediction.logits.shape == (2, 5, 4)
        assert prediction.boxes.shape == (2, 5, 4)
        assert len(prediction.auxiliary) == earlier
        total, parts = family.loss(outputs, extras, some_labels((2, 0)))
        torch.testing.assert_close(sum(parts.values()), total.detach())
        total.backward()
        assert model.training

    @pytest.mark.parametrize(
        ("columns", "classes", "classification", "scores", "found"),
        [
            (4, 4, None, "sigmoid", 4),
            (4, 3, None, "softmax", 3),
            (4, None, None, "sigmoid", 4),
            (4, 4, "cross_entropy", "softmax", 3),
            (4, 3, "focal", "sigmoid", 4),
        ],
    )
    def test_scores(self, columns: int, classes: int | None, classification: Any, scores: str, found: int) -> None:
        family = build_family(Own(columns), LossSpec(classification=classification), classes=classes)
        assert (family.scores, family.classes) == (scores, found)

    def test_parameter_names(self) -> None:
        class Named(Own):
            def forward(self, mask: Tensor | None = None, *, pixel_values: Tensor, pixel_mask: Tensor) -> Any:
                assert mask is None
                assert pixel_mask.shape == pixel_values[:, 0].shape
                return super().forward(pixel_values)

        image = torch.zeros(1, 3, 8, 8)
        family = build_family(Own(), LossSpec())
        assert isinstance(family, GenericFamily)
        assert set(family.inputs(image, torch.ones(1, 8, 8))) == {"image"}
        assert set(build_family(Named(), LossSpec()).inputs(image, None)) == {"pixel_values", "pixel_mask"}

    def test_no_parameter_by_name(self) -> None:
        class Starred(Own):
            def forward(self, *images: Tensor) -> Any:
                return super().forward(*images)

        with pytest.raises(ModelError, match="no parameter that can be given by name"):
            build_family(Starred(), LossSpec())

    def test_output_without_boxes(self) -> None:
        with pytest.raises(ModelError, match="the keys scores") as caught:
            build_family(Own(shape="nothing"), LossSpec())
        assert "pred_boxes" in str(caught.value.remedy)

    def test_a_forward_that_fails(self) -> None:
        class Broken(Own):
            def forward(self, image: Tensor) -> Any:
                return super().forward(image[:, :2])

        with pytest.raises(ModelError, match="RuntimeError"):
            build_family(Broken(), LossSpec())

    @pytest.mark.parametrize("kind", [AssertionError, ImportError, NotImplementedError, ZeroDivisionError])
    def test_a_forward_that_raises_whatever(self, kind: type[Exception]) -> None:
        class Raising(Own):
            def forward(self, image: Tensor) -> Any:
                raise kind("no such kernel")

        with pytest.raises(ModelError, match=f"{kind.__name__}: no such kernel"):
            build_family(Raising(), LossSpec())

    def test_it_is_tried_at_the_recipes_size(self) -> None:
        class Fixed(Own):
            def forward(self, image: Tensor) -> Any:
                if image.shape[-2:] != (64, 96):
                    raise ValueError("64x96 only")
                return super().forward(image)

        assert build_family(Fixed(), LossSpec(), size=(64, 96)).classes == 4
        with pytest.raises(ModelError, match=r"\(1, 3, 256, 256\) image: ValueError: 64x96 only"):
            build_family(Fixed(), LossSpec())

    @pytest.mark.parametrize(
        ("auxiliary", "what"),
        [
            ([{"scores": 0}], "no logits and boxes in its output, which has the keys scores"),
            ({"a": 1}, "its auxiliary outputs are a dict"),
            (torch.zeros(2, 1, 5, 4), "its auxiliary outputs are a Tensor"),
        ],
    )
    def test_auxiliary_outputs_that_cannot_be_read(self, auxiliary: Any, what: str) -> None:
        class Odd(Own):
            def forward(self, image: Tensor) -> Any:
                return {**super().forward(image), **({"aux_outputs": auxiliary} if self.training else {})}

        with pytest.raises(ModelError, match=f"in training: {what}"):
            build_family(Odd(), LossSpec())

    def test_an_output_in_training_without_boxes(self) -> None:
        class Losing(Own):
            def forward(self, image: Tensor) -> Any:
                outputs = super().forward(image)
                return {"loss": outputs["logits"].sum()} if self.training else outputs

        with pytest.raises(ModelError, match="in training: no logits and boxes in its output, which has the keys loss"):
            build_family(Losing(), LossSpec())

    def test_boxes_in_pixels_are_noted(self) -> None:
        class Pixels(Own):
            def forward(self, image: Tensor) -> Any:
                outputs = super().forward(image)
                return {**outputs, "pred_boxes": outputs["pred_boxes"] * 256}

        (note,) = build_family(Pixels(), LossSpec()).notes
        assert "on a blank image: they are read as cxcywh in 0..1, not as pixels" in note
        assert not build_family(Own(), LossSpec()).notes

    def test_shapes_that_are_no_detections(self) -> None:
        class Flat(Own):
            def forward(self, image: Tensor) -> Any:
                outputs = super().forward(image)
                return {"logits": outputs["logits"][:, 0], "pred_boxes": outputs["pred_boxes"]}

        with pytest.raises(ModelError, match=r"its logits are \(1, 4\)"):
            build_family(Flat(), LossSpec())

    def test_a_dataclass_output_can_be_exported(self) -> None:
        model = Own(shape="object").eval()
        build_family(model, LossSpec())
        image = some_images(1)
        captured = torch.export.export(model, (image,), strict=False).module()
        torch.testing.assert_close(captured(image).logits, model(image).logits)

    def test_nothing_changes_in_the_model(self) -> None:
        class Normed(Own):
            def __init__(self) -> None:
                super().__init__()
                self.norm = nn.BatchNorm2d(3)

            def forward(self, image: Tensor) -> Any:
                return super().forward(self.norm(image))

        model = Normed().train()
        before = torch.get_rng_state()
        build_family(model, LossSpec())
        assert torch.equal(torch.get_rng_state(), before)
        assert model.training
        assert int(model.norm.num_batches_tracked) == 0


class Pair:
    """As the original DETR's NestedTensor."""

    def __init__(self, tensors: Tensor, mask: Tensor | None) -> None:
        self.tensors = tensors
        self.mask = mask


NestedPair = Pair  # what forwards of this file know under a name with "nested" in it


class TestNested:
    @pytest.mark.parametrize("spelling", ["class", "text", "optional", "name"])
    def test_one_object_for_images_and_mask(self, spelling: str) -> None:
        class Annotated(Own):
            def forward(self, things: Pair) -> Any:
                assert things.mask is not None
                assert things.mask.dtype == torch.bool
                self.padding = things.mask
                return super().forward(things.tensors)

        class Text(Annotated):
            def forward(self, things: Pair | Nowhere) -> Any:  # type: ignore[name-defined]  # noqa: F821
                return super().forward(things)

        class Optional(Annotated):
            def forward(self, things: Pair | list[Tensor]) -> Any:
                return super().forward(things)

        class Named(Annotated):
            def forward(self, samples):  # type: ignore[no-untyped-def]
                return super().forward(samples)

        Text.forward.__annotations__["things"] = "elsewhere.Pair"
        model = {"class": Annotated, "text": Text, "optional": Optional, "name": Named}[spelling]()
        family = build_family(model, LossSpec())
        assert isinstance(family, GenericFamily)
        assert family.nested is Pair
        mask = torch.ones(2, 96, 128, dtype=torch.int64)
        mask[0, 40:] = 0
        given = family.inputs(some_images(2), mask)
        assert list(given) == ["pixel_values", "pixel_mask"]
        family.forward(model, given)
        assert torch.equal(model.padding, mask == 0)

    def test_another_class_is_answered_with_an_adapter(self) -> None:
        class Other(Own):
            def forward(self, image: dataclass_of_theirs) -> Any:
                return super().forward(image.pixels)

        with pytest.raises(ModelError, match="forward takes image: Theirs") as caught:
            build_family(Other(), LossSpec())
        assert "class Adapter(nn.Module):" in str(caught.value)
        assert "NestedTensor(pixel_values, pixel_mask == 0)" in str(caught.value)

    def test_a_tensor_where_an_object_was_wanted_is_answered_with_an_adapter(self) -> None:
        class Untold(Own):
            def forward(self, image):  # type: ignore[no-untyped-def]
                return super().forward(image.decompose()[0])

        with pytest.raises(ModelError, match="no attribute 'decompose'") as caught:
            build_family(Untold(), LossSpec())
        assert "class Adapter(nn.Module):" in str(caught.value)


class Theirs:
    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels


dataclass_of_theirs = Theirs


def test_transformers_detector_as_generic() -> None:
    model = tiny_detr().train()
    family = build_family(model, LossSpec(), name="generic", classes=3)
    assert (family.scores, family.classes) == ("softmax", 3)
    total, _ = family.loss(*run(family, model, some_images(1)), some_labels((2,)))
    total.backward()
