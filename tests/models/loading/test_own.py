"""One's own detectors from factories, and the built-in one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qrecipe.data.drawing import CLASSES
from qrecipe.errors import ModelError
from qrecipe.models.demo import DemoDetector
from qrecipe.models.loading import weight_files
from qrecipe.models.loading.build import build_model
from qrecipe.recipe.definition import InputSpec, LossSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import DETR
from tests.tiny_detectors import some_images, stir

PETS = [(1, "dog"), (3, "cat"), (7, "bird")]
DEMO = {"width": 8, "encoder_layers": 1, "decoder_layers": 2, "queries": 4, "heads": 2}


FACTORY = """
import torch
from torch import nn
from beside import WIDTH

class Mine(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.body = nn.Linear(3, WIDTH)
        self.head = nn.Linear(WIDTH, columns)
        self.boxes = nn.Linear(WIDTH, 4)

    def forward(self, image):
        x = self.body(image.flatten(2)[..., :5].transpose(1, 2))
        return {"pred_logits": self.head(x), "pred_boxes": self.boxes(x).sigmoid()}

def build(classes=3, extra=0):
    return Mine(classes + extra)

def number():
    return 3

def leaving():
    raise SystemExit(3)

def half():
    return Mine(3).half()

def broken():
    raise LookupError("no such thing")
"""


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "beside.py").write_text("WIDTH = 6\n")
    (tmp_path / "mine.py").write_text(FACTORY)
    return str(tmp_path / "mine.py")


@pytest.fixture(autouse=True)
def _forget_imports() -> Any:
    yield
    sys.modules.pop("beside", None)


class TestFactory:
    def test_labels_argument(self, factory: str) -> None:
        built = build_model(ModelSpec(factory=f"{factory}:build", labels_argument="classes"), PETS)
        assert (built.family.name, built.family.scores, built.family.classes) == ("generic", "sigmoid", 3)
        assert built.label_map.category_to_class == {1: 0, 3: 1, 7: 2}
        assert str(Path(factory).parent) not in sys.path

    def test_one_class_for_one_file(self, factory: str) -> None:
        spec = ModelSpec(factory=f"{factory}:build")
        assert type(build_model(spec, PETS).model) is type(build_model(spec, PETS).model)

    def test_a_no_object_column(self, factory: str) -> None:
        spec = ModelSpec(factory=f"{factory}:build", arguments={"extra": 1}, labels_argument="classes")
        built = build_model(spec, PETS)
        assert (built.family.scores, built.family.classes) == ("softmax", 3)
        with pytest.raises(ModelError, match="its head has 4 classes"):
            build_model(spec, PETS, LossSpec(classification="focal"))

    def test_a_head_of_its_own_size(self, factory: str) -> None:
        built = build_model(ModelSpec(factory=f"{factory}:build", arguments={"classes": 8}), PETS)
        assert built.label_map.category_to_class == {1: 1, 3: 3, 7: 7}
        with pytest.raises(ModelError, match="labels_argument"):
            build_model(ModelSpec(factory=f"{factory}:build", arguments={"classes": 6}), PETS)

    def test_weights(self, factory: str, tmp_path: Path) -> None:
        spec = ModelSpec(factory=f"{factory}:build", labels_argument="classes")
        source = stir(build_model(spec, PETS).model)
        save_file(source.state_dict(), tmp_path / "w.safetensors")
        filled = build_model(
            ModelSpec(
                factory=f"{factory}:build",
                labels_argument="classes",
                weights=WeightsSource(file=tmp_path / "w.safetensors"),
            ),
            [*PETS, (9, "cow")],
        )
        assert "head.weight (3, 6) -> (4, 6)" in filled.messages[0]
        torch.testing.assert_close(filled.model.body.weight, source.body.weight)

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (":broken", "LookupError: no such thing"),
            (":leaving", "SystemExit: 3"),
            (":number", "returned int, not a torch.nn.Module"),
            (":half", "returned a model with parameters in float16 (images come in float32: return model.float())"),
            (":biuld", 'no function "biuld"'),
            ("", "names no function"),
        ],
    )
    def test_what_can_go_wrong(self, factory: str, function: str, message: str) -> None:
        with pytest.raises(ModelError) as caught:
            build_model(ModelSpec(factory=factory + function), PETS)
        assert message in str(caught.value)
        assert "mine.py" in str(caught.value)
        assert caught.value.where == "model.factory"

    def test_arguments_that_it_does_not_take(self, factory: str) -> None:
        with pytest.raises(ModelError, match="TypeError"):
            build_model(ModelSpec(factory=f"{factory}:build", arguments={"clases": 3}), PETS)
        spec = ModelSpec(factory=f"{factory}:build", arguments={"classes": 3}, labels_argument="classes")
        with pytest.raises(ModelError, match="labels_argument already"):
            build_model(spec, PETS)

    def test_a_file_that_is_not_there_or_broken(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no file"):
            build_model(ModelSpec(factory=f"{tmp_path}/nowhere.py:build"), PETS)
        (tmp_path / "wrong.py").write_text("def build(:\n")
        with pytest.raises(ModelError, match="SyntaxError"):
            build_model(ModelSpec(factory=f"{tmp_path}/wrong.py:build"), PETS)
        with pytest.raises(ModelError, match="ModuleNotFoundError"):
            build_model(ModelSpec(factory="qrecipe.nowhere:build"), PETS)

    def test_a_function_of_a_package(self) -> None:
        built = build_model(
            ModelSpec(factory="qrecipe.models.demo:DemoDetector", arguments=DEMO, labels_argument="num_labels"),
            PETS,
        )
        assert built.family.name == "demo"

    def test_a_factory_of_a_transformers_detector(self, tmp_path: Path) -> None:
        (tmp_path / "tiny.py").write_text(
            "from transformers import DetrConfig, DetrForObjectDetection\n"
            f"CONFIG = {DETR!r}\n"
            "def build(n):\n    return DetrForObjectDetection(DetrConfig(**CONFIG, num_labels=n))\n"
        )
        built = build_model(ModelSpec(factory=f"{tmp_path}/tiny.py:build", labels_argument="n"), PETS)
        assert built.family.name == "detr"
        assert built.label_map.classes == 3


class TestDemo:
    def test_built_and_filled(self, tmp_path: Path) -> None:
        source = stir(DemoDetector(3, **DEMO))  # type: ignore[arg-type]
        save_file(source.state_dict(), tmp_path / "demo.safetensors")
        spec = ModelSpec(architecture="demo", config=DEMO, weights=WeightsSource(file=tmp_path / "demo.safetensors"))
        built = build_model(spec, PETS)
        images = some_images(1)
        torch.testing.assert_close(built.model(images)["logits"], source.eval()(images)["logits"])
        assert built.input == InputSpec(size=(128, 128), mask=False)
        assert build_model(spec, PETS, random_weights=True).messages == ()

    def test_a_head_of_another_size(self, tmp_path: Path) -> None:
        save_file(DemoDetector(5, **DEMO).state_dict(), tmp_path / "demo.safetensors")  # type: ignore[arg-type]
        spec = ModelSpec(architecture="demo", config=DEMO, weights=WeightsSource(file=tmp_path / "demo.safetensors"))
        assert "class_heads.0.weight (5, 8) -> (3, 8)" in build_model(spec, PETS).messages[0]

    def test_built_in_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_file(DemoDetector(3, **DEMO).state_dict(), tmp_path / "shapes.safetensors")  # type: ignore[arg-type]
        monkeypatch.setattr(weight_files, "BUILTIN", tmp_path)
        build_model(ModelSpec(architecture="demo", config=DEMO, weights=WeightsSource(builtin="shapes")), PETS)
        with pytest.raises(ModelError, match='did you mean "shapes"'):
            build_model(ModelSpec(architecture="demo", config=DEMO, weights=WeightsSource(builtin="shape")), PETS)
        with pytest.raises(ModelError, match="architecture: demo"):
            build_model(ModelSpec(architecture="detr", config=DETR, weights=WeightsSource(builtin="shapes")), PETS)

    def test_wrong_configuration(self) -> None:
        with pytest.raises(ModelError, match='did you mean "queries"'):
            build_model(ModelSpec(architecture="demo", config={"querys": 3}), PETS)
        with pytest.raises(ModelError, match="not a multiple"):
            build_model(ModelSpec(architecture="demo", config={"width": 10}), PETS)

    @pytest.mark.parametrize("name", ["demo.pth", "demo.bin"])
    def test_pickles_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ModelError, match="a pickle can run code"):
            build_model(ModelSpec(architecture="demo", weights=WeightsSource(file=tmp_path / name)), PETS)

    def test_damaged_and_missing_files(self, tmp_path: Path) -> None:
        (tmp_path / "demo.safetensors").write_bytes(b"nonsense")
        with pytest.raises(ModelError, match="cannot be read"):
            build_model(ModelSpec(architecture="demo", weights=WeightsSource(file=tmp_path / "demo.safetensors")), PETS)
        with pytest.raises(ModelError, match="no file"):
            build_model(ModelSpec(architecture="demo", weights=WeightsSource(file=tmp_path / "x.safetensors")), PETS)


def test_light_imports() -> None:
    code = (
        "import sys, qrecipe, qrecipe.models.loading.build, qrecipe.models.families\n"
        "assert 'transformers' not in sys.modules and 'huggingface_hub' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestClasses:
    def test_a_head_that_cannot_be_mapped(self, factory: str) -> None:
        spec = ModelSpec(factory=f"{factory}:build", arguments={"classes": 5})
        with pytest.raises(ModelError, match="a head of 5 classes cannot be mapped to 3 categories"):
            build_model(spec, PETS)

    def test_weights_that_fit_are_taken_by_order_and_that_is_said(self, factory: str, tmp_path: Path) -> None:
        spec = ModelSpec(factory=f"{factory}:build", labels_argument="classes")
        built = build_model(spec, PETS)
        assert built.messages == ()  # a head made for the data, and nothing trained in it
        save_file(built.model.state_dict(), tmp_path / "w.safetensors")
        filled = dataclasses.replace(spec, weights=WeightsSource(file=tmp_path / "w.safetensors"))
        (said,) = build_model(filled, PETS).messages
        assert '"dog" (id 1) is class 0, "cat" (id 3) is class 1, "bird" (id 7) is class 2' in said
        assert build_model(dataclasses.replace(filled, labels="contiguous"), PETS).messages == ()

    def test_the_built_in_weights_know_their_shapes(self) -> None:
        spec = ModelSpec(architecture="demo", weights=WeightsSource(builtin="demo"))
        turned = [(index, name) for index, name in enumerate(reversed(CLASSES), start=1)]
        built = build_model(spec, turned)
        assert built.messages == ()
        assert built.label_map.category_to_class == {1: 2, 2: 1, 3: 0}
        assert "no category is named as a class of the head" in build_model(spec, PETS).messages[0]

    def test_a_model_without_values(self, tmp_path: Path) -> None:
        (tmp_path / "far.py").write_text(
            "import torch\nfrom torch import nn\ndef build():\n    return nn.Linear(3, 3, device='meta')\n"
        )
        with pytest.raises(ModelError, match="of which 2 tensors hold no values") as caught:
            build_model(ModelSpec(factory=f"{tmp_path}/far.py:build"), PETS)
        assert caught.value.where == "model.factory"

    def test_integers_are_no_weights(self, factory: str, tmp_path: Path) -> None:
        spec = ModelSpec(factory=f"{factory}:build", labels_argument="classes")
        state = {key: value.to(torch.int8) for key, value in build_model(spec, PETS).model.state_dict().items()}
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"the weights are quantized already: 6 tensors .* body\.bias \(int8\)"):
            build_model(dataclasses.replace(spec, weights=WeightsSource(file=tmp_path / "w.safetensors")), PETS)


def test_two_folders_with_a_module_of_one_name(factory: str, tmp_path: Path) -> None:
    """Python would give the first one's to both."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text(FACTORY)
    (other / "beside.py").write_text("WIDTH = 8\n")
    build_model(ModelSpec(factory=f"{factory}:build"), PETS)
    (other / "alone.py").write_text(FACTORY.replace("from beside import WIDTH", "WIDTH = 7"))
    build_model(ModelSpec(factory=f"{other / 'alone.py'}:build"), PETS)  # one that does not import it
    with pytest.raises(ModelError, match=r"other and .* both have a module beside"):
        build_model(ModelSpec(factory=f"{other / 'mine.py'}:build"), PETS)
    build_model(ModelSpec(factory=f"{factory}:build"), PETS)
