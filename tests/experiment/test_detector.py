"""A stored detector of transformers detects what it detects in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qrecipe.data.labels import LabelMap
from qrecipe.data.transforms import Sample, fit, to_tensor
from qrecipe.detection.prediction import Prediction
from qrecipe.errors import DataError
from qrecipe.evaluation import detections
from qrecipe.experiment.detector import Detector, built_detector, score
from qrecipe.experiment.events import nobody
from qrecipe.experiment.workspace import Workspace
from qrecipe.models.loading.build import build_model
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from qrecipe.run.folder import RunFolder
from tests.surroundings import hub_cache
from tests.tiny_commands import Finished
from tests.tiny_configurations import RT_DETR
from tests.tiny_detectors import stir, tiny_rt_detr

NAMES = ["circle", "square", "triangle"]
IMAGENET = {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def stored(folder: Path, processor: dict[str, Any]) -> Any:
    """A tiny RT-DETR as transformers saves it, with its processor."""
    model: Any = stir(tiny_rt_detr()).eval()
    model.config.id2label = dict(enumerate(NAMES))
    model.save_pretrained(folder)
    values = {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 96}, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return model


@pytest.mark.parametrize("processor", [{"do_normalize": False}, IMAGENET])
@pytest.mark.parametrize("origin", ["folder", "hub"])
@torch.no_grad()
def test_scores_and_boxes_are_transformers_own(
    processor: dict[str, Any], origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    folder = hub_cache(tmp_path, "me/mine", monkeypatch) if origin == "hub" else tmp_path
    weights = WeightsSource(hub="me/mine") if origin == "hub" else WeightsSource(folder=folder)
    model = stored(folder, processor)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 50, 3), dtype=np.uint8))
    prepare = RTDetrImageProcessorPil.from_pretrained(folder)
    expected = prepare.post_process_object_detection(
        model(**prepare(images=image, return_tensors="pt")), threshold=0.0, target_sizes=[image.size[::-1]]
    )[0]
    built = build_model(
        ModelSpec(architecture="rt_detr", config=RT_DETR, weights=weights), list(enumerate(NAMES, start=1))
    )
    assert built.processor == folder / "preprocessor_config.json"
    assert ["as this kind" in said or "is not that" in said for said in built.messages] == [False]
    detector = built_detector(built)
    sample = fit(Sample(image, np.zeros((0, 4)), np.zeros(0, dtype=np.int64)), detector.input)
    found = detections(
        detector.predict(to_tensor(sample.image, detector.input)[None], None),
        image_ids=[1],
        sizes=torch.tensor([[75, 50]]),
        label_map=detector.label_map,
        scores=detector.scores,
    )
    best = sorted(found, key=lambda one: -one["score"])[: len(expected["scores"])]
    order = expected["scores"].argsort(descending=True)
    assert [round(one["score"], 4) for one in best] == [round(float(expected["scores"][i]), 4) for i in order]
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in best)])
    torch.testing.assert_close(corners, expected["boxes"][order], rtol=1e-3, atol=1e-3)
    assert [one["category_id"] - 1 for one in best] == expected["labels"][order].tolist()


def test_ids_of_other_categories_are_refused(finished: Finished) -> None:
    recipe = recipe_from_mapping(RunFolder.read(finished.folder).recipe())
    workspace = Workspace(recipe, ("val",), nobody)
    known = LabelMap.contiguous(workspace.data["val"].categories)
    swapped = {**known.names, 1: known.names[2], 2: known.names[1]}

    def predict(pixels: torch.Tensor, mask: torch.Tensor | None) -> Prediction:
        return Prediction(torch.zeros(len(pixels), 1, known.classes), torch.full((len(pixels), 1, 4), 0.5), ())

    size = InputSpec(size=(64, 64))
    assert score(Detector(predict, size, known, "sigmoid"), workspace, "val")[0].AP is not None
    labels = LabelMap(known.category_to_class, swapped, known.classes)
    with pytest.raises(
        DataError, match=r"2 categories are not those .* by their ids: 1 \(square / disc\), 2 \(disc / "
    ):
        score(Detector(predict, size, labels, "sigmoid"), workspace, "val")
