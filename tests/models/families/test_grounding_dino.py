"""Grounding DINO: its prompt, its loss against its eager self, phrases' scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.errors import ModelError
from qrecipe.models.families import build_family
from qrecipe.models.families.grounding_dino import phrases_of
from qrecipe.models.loading.build import build_model
from qrecipe.recipe.definition import LossSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import GROUNDING_DINO, PROMPT
from tests.tiny_detectors import some_images, some_labels, stir, tiny_grounding_dino

PETS = [(1, "dog"), (3, "Tabby cat"), (7, "bird")]


def run(family: Any, model: Any, batch: int = 2) -> Any:
    return family.forward(model, family.inputs(some_images(batch, 64, 96), None))


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("counts", [(2, 1, 3), (0, 3, 0), (0, 0, 0)])
def test_loss_is_the_eager_models(counts: tuple[int, ...], auxiliary: bool) -> None:
    model: Any = stir(tiny_grounding_dino(auxiliary_loss=auxiliary)).train()
    family = build_family(model, LossSpec(auxiliary=auxiliary))
    labels = some_labels(counts)
    total, parts = family.loss(*run(family, model, 3), labels)
    total.backward()
    found = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    prompt = torch.tensor([PROMPT] * 3)
    eager = model(**family.inputs(some_images(3, 64, 96), None), input_ids=prompt, labels=labels).loss
    eager.backward()
    torch.testing.assert_close(total, eager, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum(parts.values()), total.detach())
    assert set(parts) == {"class", "l1", "giou", "auxiliary"}
    for key, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(found[key], value.grad, rtol=1e-3, atol=1e-4)


def test_a_phrases_score_is_the_mean_over_its_tokens() -> None:
    model = stir(tiny_grounding_dino()).eval().double()
    family = build_family(model, LossSpec())
    outputs, extras = family.forward(model, family.inputs(some_images(2, 64, 96).double(), None))
    prediction = family.read(outputs, extras)
    tokens = outputs.logits.sigmoid()
    expected = torch.stack([tokens[..., 1], (tokens[..., 3] + tokens[..., 4]) / 2, tokens[..., 6]], -1)
    torch.testing.assert_close(prediction.logits.sigmoid(), expected)
    assert prediction.logits.isfinite().all()
    assert prediction.auxiliary == ()
    assert (family.classes, family.scores) == (3, "sigmoid")
    assert (family.default_input.shortest, family.default_input.mask) == (800, True)
    assert "prompt" in family.notes[0]


def test_earlier_layers_are_those_of_the_models_own_loss() -> None:
    model: Any = stir(tiny_grounding_dino(auxiliary_loss=True, decoder_layers=3)).train()
    family = build_family(model, LossSpec())
    outputs, extras = run(family, model)
    inputs = family.inputs(some_images(2, 64, 96), None)
    eager = model(**inputs, input_ids=torch.tensor([PROMPT] * 2), labels=some_labels((2, 1)))
    assert len(extras["aux_boxes"]) == len(eager.auxiliary_outputs) == 2
    for index, layer in enumerate(eager.auxiliary_outputs):
        torch.testing.assert_close(extras["aux_logits"][index], layer["logits"])
        torch.testing.assert_close(extras["aux_boxes"][index], layer["pred_boxes"])
    assert len(family.read(outputs, extras).auxiliary) == 2


def test_phrases_are_what_lies_between_delimiters() -> None:
    assert phrases_of(PROMPT) == [[1], [3, 4], [6]]
    assert phrases_of([101, 1012, 102, 0]) == []


def test_no_prompt() -> None:
    with pytest.raises(ModelError, match=r"no prompt.*model\.config\.prompt_ids"):
        build_family(tiny_grounding_dino(prompt_ids=None), LossSpec())


class TestBuild:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A model beside its tokenizer, whose vocabulary has the delimiters at BERT's own places."""
        from transformers import BertTokenizer

        words = [f"[unused{index}]" for index in range(1030)]
        own = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
        own |= {500: "dog", 501: "tabby", 502: "cat", 503: "bird"}
        for index, word in own.items():
            words[index] = word
        (tmp_path / "vocab.txt").write_text("\n".join(words))
        BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
        stir(tiny_grounding_dino(prompt_ids=None)).save_pretrained(tmp_path)  # type: ignore[operator]
        return tmp_path

    def test_the_prompt_is_written_from_the_categories(self, folder: Path) -> None:
        for spec in (
            ModelSpec(weights=WeightsSource(folder=folder)),
            ModelSpec(architecture="grounding-dino", config=GROUNDING_DINO, weights=WeightsSource(folder=folder)),
        ):
            built = build_model(spec, PETS)
            model: Any = built.model
            assert model.config.prompt_ids == [101, 500, 1012, 501, 502, 1012, 503, 1012, 102]
            assert built.label_map.category_to_class == {1: 0, 3: 1, 7: 2}
            assert built.family.classes == 3
            (said,) = built.messages  # of classes and prompt nothing
            assert said.startswith("no preprocessor_config.json in")
        again = build_model(spec, PETS, random_weights=True, label_map=built.label_map)
        assert again.label_map == built.label_map
        with pytest.raises(ModelError, match="4 phrases for 3 categories"):
            build_model(spec, [(1, "dog"), (2, "tabby. cat"), (3, "bird")])

    def test_a_prompt_of_the_recipe(self) -> None:
        config = {**GROUNDING_DINO, "prompt_ids": PROMPT}
        built = build_model(ModelSpec(architecture="grounding-dino", config=config), PETS)
        assert built.family.classes == 3
        with pytest.raises(ModelError, match=r"config\.prompt_ids: the prompt has 3 phrases for 2 categories"):
            build_model(ModelSpec(architecture="grounding-dino", config=config), PETS[:2])
        with pytest.raises(ModelError, match="has 9 tokens, and the model reads 8"):
            build_model(ModelSpec(architecture="grounding-dino", config={**config, "max_text_len": 8}), PETS)

    def test_without_weights_any_words_will_do(self) -> None:
        built = build_model(ModelSpec(architecture="grounding-dino", config=GROUNDING_DINO), PETS)
        model: Any = built.model
        assert model.config.prompt_ids == [101, 1097, 1012, 1098, 1012, 1099, 1012, 102]
        assert built.family.classes == 3
        assert "arbitrary word" in built.messages[0]

    def test_weights_without_a_tokenizer_are_an_error(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
        weights = WeightsSource(file=tmp_path / "model.safetensors")
        with pytest.raises(ModelError, match=r"config\.prompt_ids: there is no tokenizer"):
            build_model(ModelSpec(architecture="grounding-dino", config=GROUNDING_DINO, weights=weights), PETS)
