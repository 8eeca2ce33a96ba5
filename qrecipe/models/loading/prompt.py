"""The prompt of a detector that is told its categories in words: Grounding DINO's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.labels import LabelMap
from ...recipe.definition import ModelSpec
from ..families.grounding_dino import DELIMITERS, phrases_of
from ..model_place import ModelPlace
from .label_mapping import map_labels
from .weight_files import TOKENIZER, model_folder

START, END, STOP = 101, 102, 1012
"""[CLS], [SEP] and the full stop of the BERT vocabulary."""


def set_prompt(
    config: Any,
    folder: Path | None,
    spec: ModelSpec,
    categories: Sequence[tuple[int, str]],
    place: ModelPlace,
    known: LabelMap | None,
) -> tuple[LabelMap, tuple[str, ...]]:
    """Put the tokens of the categories' names into ``config.prompt_ids``, and map each category to its phrase.

    The names are in ascending order of category ids, in lower case, each with a full stop behind it. ``prompt_ids``
    of the recipe's ``model.config`` are kept as they are. A model without weights knows no words: any one stands for
    a category, and the messages that are returned with the mapping say so.

    Args:
        folder: where the weights and their tokenizer are, if they were needed so far.
        known: a mapping that is kept as it is.

    Raises:
        ModelError: no tokenizer, a name that is no single phrase, or a prompt that is too long.
    """
    label_map = known
    if label_map is None:
        mapped = map_labels(categories, len(categories), None, "contiguous")
        assert mapped is not None
        label_map = mapped.label_map
    names = [label_map.names[label_map.class_to_category[index]] for index in range(label_map.classes)]
    given = spec.config.get("prompt_ids")
    messages: tuple[str, ...] = ()
    if given is not None:
        ids = list(given)
    elif spec.weights is None:
        ids = _any_words(len(names), int(config.text_config.vocab_size))
        messages = ("it reads a prompt, and names no weights: an arbitrary word stands for each category",)
    else:
        ids = _tokens(names, folder, spec, place)
    found = len(phrases_of(ids))
    if found != len(names):
        where = ("config", "prompt_ids") if given is not None else ()
        raise place.error(where, f"the prompt has {found} phrases for {len(names)} categories: {'. '.join(names)}")
    if len(ids) > config.max_text_len:
        what = f"the prompt has {len(ids)} tokens, and the model reads {config.max_text_len}"
        raise place.error((), what, "use data with fewer categories, or shorter names")
    config.prompt_ids = ids
    return label_map, messages


def _any_words(count: int, vocabulary: int) -> list[int]:
    """A prompt of one token for each category, the last ones of the vocabulary."""
    words = [token for token in range(vocabulary) if token not in DELIMITERS][-count:]
    return [START, *(token for word in words for token in (word, STOP)), END]


def _tokens(names: Sequence[str], folder: Path | None, spec: ModelSpec, place: ModelPlace) -> list[int]:
    from transformers import AutoTokenizer

    if folder is None and spec.weights is not None and spec.weights.file is None:
        folder = model_folder(spec.weights, place, with_weights=False)
    if folder is None or not any((folder / name).is_file() for name in TOKENIZER):
        raise place.error(
            ("config", "prompt_ids"),
            "there is no tokenizer to write the prompt with" + (f" in {folder}" if folder else ""),
            "set weights.hub or weights.folder to a model with its tokenizer, or config.prompt_ids to the tokens of "
            f'"{" ".join(f"{name}." for name in names[:3])}"',
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    ids: list[int] = tokenizer(" ".join(f"{name.strip().lower()}." for name in names))["input_ids"]
    return ids
