"""``qrecipe init``: recipes that bind, for models and data of several kinds, and clear words on what cannot be used."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from qrecipe.commands.starter import data as starter
from qrecipe.recipe import load_recipe
from tests import tiny_commands as tiny
from tests.starter_files import NAMES, coco, data_set, factory
from tests.tiny_detectors import tiny_detr

PIECES = Path(__file__).parents[2] / "recipes" / "base"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(starter, "SYNTHETIC", {"train": 8, "val": 4, "test": 4, "size": 64, "seed": 0})


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


class TestWritten:
    def test_the_demo_and_its_shapes(self) -> None:
        out = tiny.qrecipe("init", "--model", "demo", "--data", "synthetic", "--bits", "3-4-8").fine
        assert files() == ["demo_synthetic.yaml"]
        text = Path("demo_synthetic.yaml").read_text()
        assert "# Where the work is" in text
        assert re.search(r"#   backbone.stem +\d+\.\d%  real-valued\n#   backbone.body +\d+\.\d%  quantized\n", text)
        assert max(map(len, text.splitlines())) <= 120
        recipe = load_recipe("demo_synthetic.yaml")
        assert recipe.name == "demo_synthetic"
        assert recipe.quantize.weight is not None
        assert (recipe.quantize.weight.bits, recipe.model.weights.builtin) == (3, "demo")  # type: ignore[union-attr]
        assert (
            recipe.distill == load_recipe(PIECES / "same_queries.yaml", ["model.architecture=demo"], data=False).distill
        )
        assert "qrecipe apply demo_synthetic.yaml --set train.epochs=1 --output runs/demo_synthetic_try\n" in out
        assert "binds: " in tiny.qrecipe("validate", "--bind", "demo_synthetic.yaml").fine

    def test_one_s_own_model_and_the_commands_that_are_named(self) -> None:
        """Names with spaces and dollar signs, paths from elsewhere; step 1 and step 2 as they are printed."""
        folder = Path("my $data")
        data_set(folder)
        Path("recipes").mkdir()
        made = factory(Path("my models"))
        out = tiny.qrecipe(
            "init",
            "--model",
            f"{made}:build",
            "--data",
            folder,
            "--output",
            "recipes/a b.yaml",
            "--input-size",
            "64x64",
        ).fine
        assert sorted(path.name for path in Path("recipes").iterdir()) == ["a b.yaml", "a b_teacher.yaml"]
        text = Path("recipes/a b.yaml").read_text()
        assert 'factory: "../my models/build.py:build"' in text
        assert 'labels_argument: "num_classes"' in text
        assert 'images: "../my $$data/images"' in text
        recipe = load_recipe("recipes/a b.yaml")
        assert recipe.data.test is not None
        assert recipe.data.test.annotations == Path.cwd() / folder / "instances_test.json"
        # Of a small detector: small batches, and a line for a start without labels, which the step before has not.
        assert recipe.quantize.reconstruct is None
        Path("recipes/started.yaml").write_text(text.replace("  # reconstruct: {", "  reconstruct: {"))
        started = load_recipe("recipes/started.yaml").quantize.reconstruct
        assert started is not None
        assert (started.iterations, started.whole.steps) == (None, 1000)
        Path("recipes/started.yaml").unlink()
        tuning = load_recipe("recipes/a b_teacher.yaml")
        assert (recipe.train.batch_size, tuning.train.batch_size) == (4, 16)
        assert tuning.quantize.weight is tuning.quantize.reconstruct is None
        assert tuning.distill.targets == ()
        assert recipe.model.factory == f"{Path.cwd() / made}:build"
        assert "its factory makes 80 classes unless told otherwise, so a head of 3 starts afresh" in out
        commands = [shlex.split(line)[1:] for line in out.splitlines() if line.startswith("  qrecipe ")]
        assert [words[0] for words in commands] == ["plan", "apply", "apply", "evaluate", "predict"]
        little = ("--set", "train.epochs=1", "--set", "quantize.calibration={batches: 1, batch_size: 2}")
        assert tiny.qrecipe(*commands[0]).fine
        assert "nothing is quantized" in tiny.qrecipe(*commands[1], *little).fine
        second = tiny.qrecipe(*commands[2], *little).fine
        assert "student, trained" in second
        assert "AP" in tiny.qrecipe(*commands[3]).fine
        assert tiny.qrecipe(*commands[4][:-1], folder / "images" / "1.png").fine

    def test_a_folder_of_transformers(self) -> None:
        """Its configuration is spelled out, so the recipe builds the same model without the folder."""
        model = tiny_detr(labels=3, decoder_layers=1)
        model.config.id2label = dict(enumerate(reversed(NAMES)))  # type: ignore[union-attr]
        model.save_pretrained("detector")  # type: ignore[operator]
        stored = {"size": {"shortest_edge": 64, "longest_edge": 96}, "image_mean": 0.5, "image_std": [0.5, 0.4, 0.5]}
        Path("detector/preprocessor_config.json").write_text(json.dumps({**stored, "do_normalize": True}))
        data_set(Path("data"), ("train", "val"))
        out = tiny.qrecipe("init", "--model", "detector", "--data", "data").fine
        assert files() == ["data", "detector", "detector_data.yaml"]
        text = Path("detector_data.yaml").read_text()
        assert "as preprocessor_config.json beside the weights says" in text
        assert "input: {shortest: 64, longest: 96, mean: [0.5, 0.5, 0.5], std: [0.5, 0.4, 0.5]}" in text
        recipe = load_recipe("detector_data.yaml")
        assert recipe.model.architecture == "detr"
        assert recipe.model.config["d_model"] == 16
        assert recipe.model.config["backbone_config"]["hidden_sizes"] == [8, 8, 16, 16]
        assert recipe.model.weights is not None
        assert recipe.model.weights.folder == Path.cwd() / "detector"
        piece = load_recipe(PIECES / "q_detr.yaml", ["model.architecture=detr"], data=False)
        assert recipe.distill.targets == piece.distill.targets  # its scores are a softmax
        assert [one.at for one in recipe.distill.align] == [one.at for one in piece.distill.align]
        assert recipe.data.test is None
        assert "runs/detector_data --split val" in out
        assert "# No test split" in Path("detector_data.yaml").read_text()
        assert tiny.qrecipe("validate", "--bind", "detector_data.yaml").fine

    def test_a_folder_whose_head_does_not_fit(self) -> None:
        tiny_detr(labels=5, decoder_layers=1).save_pretrained("detector")  # type: ignore[operator]
        data_set(Path("data"), ("train", "val"))
        out = tiny.qrecipe("init", "--model", "detector", "--data", "data").fine
        assert "the stored head of 5 classes cannot be mapped to the data's 3 categories" in out
        assert "to be applied first, as its class head starts afresh" in out
        step2 = next(line for line in out.splitlines() if "model.weights" in line)
        assert shlex.split(step2)[-1] == "model.weights={file: runs/detector_data_teacher/student/weights.safetensors}"

    def test_a_model_without_attention(self) -> None:
        made = factory(Path("mine"))
        data_set(Path("data"))
        assert tiny.qrecipe("init", "--model", f"{made}:plain", "--data", "data", "--input-size", "64x64").fine
        text = Path("mine_data.yaml").read_text()
        assert "# No cross-attention was found in this model" in text
        assert "distill:" not in text

    def test_a_model_with_more_queries_in_training(self) -> None:
        """Its teacher, in evaluation, has half as many: the recipe has what binds."""
        made = factory(Path("mine"))
        data_set(Path("data"))
        assert tiny.qrecipe("init", "--model", f"{made}:doubled", "--data", "data", "--input-size", "64x64").fine
        recipe, text = load_recipe("mine_data.yaml"), Path("mine_data.yaml").read_text()
        assert [target.match.kind for target in recipe.distill.targets] == ["foreground"]
        assert " ".join(text.replace("#", " ").split()).count("not the same ones in training and in evaluation") == 1

    def test_another_teacher(self) -> None:
        made = factory(Path("mine"))
        data_set(Path("data"))
        typed = ("--model", f"{made}:build", "--data", "data", "--input-size", "64x64")
        error = tiny.qrecipe("init", *typed, "--teacher", f"{made}:plain").error
        assert error.startswith("mine_data.yaml:"), error
        assert "decoder.cross_attention.output" in error
        assert files() == ["data", "mine"]
        assert tiny.qrecipe("init", *typed, "--teacher", f"{made}:build").fine
        recipe = load_recipe("mine_data.yaml")
        assert recipe.teacher is not None
        assert recipe.teacher.labels_argument == "num_classes"
        assert recipe.distill.targets[0].match.kind == "foreground"
        text = " ".join(Path("mine_data.yaml").read_text().replace("#", " ").split())
        assert "matched by their boxes, as another teacher may have others" in text
        assert load_recipe("mine_data_teacher.yaml").teacher is None


class TestMistakes:
    """One message, exit code 2, and nothing that was not there before."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--model", "demo"), "--data: is missing"),
            (("--model", "demo", "--data", "gone"), "--data gone: no such folder"),
            (("--model", "demo", "--data", "synthetic", "--val", "a:b"), "synthetic data brings its own splits"),
            (("--model", "demo", "--data", "data", "--output", "taken.yaml"), "taken.yaml: is there already"),
            (("--model", "demo", "--data", "data", "--output", "gone/a.yaml"), "gone: there is no such folder"),
            (("--model", "mine/build.py:broken", "--data", "data"), "raised KeyError: 'weights'"),
            (("--model", "mine/build.py:wrong", "--data", "data"), "returned int, not a torch.nn.Module"),
            (("--model", "mine/build.py:fixed", "--data", "data"), "give the factory a parameter num_labels"),
            (("--model", "demo", "--data", "odd"), "categories differ between train and val: 3 (blue / pink)"),
        ],
    )
    def test_one_message(self, words: tuple[str, ...], message: str) -> None:
        factory(Path("mine"))
        data_set(Path("data"))
        data_set(Path("odd"), ("train",))
        coco(Path("odd/instances_val.json"), Path("odd/images"), names=("red", "green", "pink"), first=50)
        Path("taken.yaml").write_text("mine")
        before = files()
        assert message in tiny.qrecipe("init", *words).error
        assert files() == before
        assert Path("taken.yaml").read_text() == "mine"

    def test_the_second_recipe_s_name_is_taken(self) -> None:
        factory(Path("mine"))
        data_set(Path("data"))
        Path("mine_data_teacher.yaml").write_text("mine")
        before = files()
        error = tiny.qrecipe("init", "--model", "mine/build.py:build", "--data", "data").error
        assert error.startswith("mine_data_teacher.yaml: is there already")
        assert files() == before

    @pytest.mark.parametrize("good", [0, 1])
    def test_a_disk_that_is_full_at_either_recipe(self, monkeypatch: pytest.MonkeyPatch, good: int) -> None:
        """Half of a file is on it by then; and nothing was before both recipes were found to bind."""
        factory(Path("mine"))
        data_set(Path("data"))
        before, seen = files(), list[list[str]]()

        def full(path: Path, content: bytes) -> None:
            seen.append(files())
            path.write_bytes(content if len(seen) <= good else content[: len(content) // 2])
            if len(seen) > good:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("qrecipe.commands.init.write_synced", full)
        error = tiny.qrecipe("init", "--model", "mine/build.py:build", "--data", "data", "--input-size", "64x64").error
        assert error.endswith(": cannot be written: No space left on device"), error
        assert seen == [before, [*before, "mine_data.yaml"]][: good + 1]
        assert files() == before

    @pytest.mark.parametrize("linked", [True, False])
    def test_a_name_that_is_taken_in_the_last_moment(self, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
        """Whether or not the file system has links."""

        def refused(path: Path, target: Path) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        def late(path: Path, content: bytes) -> None:
            path.write_bytes(content)
            Path("demo_synthetic.yaml").write_text("mine")

        if not linked:
            monkeypatch.setattr(Path, "hardlink_to", refused)
        words = ("init", "--model", "demo", "--data", "synthetic")
        assert tiny.qrecipe(*words, "--output", "other.yaml").fine
        assert load_recipe("other.yaml").name == "other"
        monkeypatch.setattr("qrecipe.commands.init.write_synced", late)
        assert tiny.qrecipe(*words).error.startswith("demo_synthetic.yaml: is there already")
        assert Path("demo_synthetic.yaml").read_text() == "mine"
        assert files() == ["demo_synthetic.yaml", "other.yaml"]

    @pytest.mark.parametrize("bits", ["4", "4-4", "4-4-9", "1-4-8", "4-4-x"])
    def test_bits_that_are_none(self, bits: str) -> None:
        answer = tiny.qrecipe("init", "--model", "demo", "--data", "synthetic", "--bits", bits)
        assert answer.code == 2
        assert "write three numbers from 2 to 8" in answer.err
