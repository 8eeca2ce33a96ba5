"""Finding weights on disk, in the Hugging Face cache or in the package. Only safetensors: a pickle would run code."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...recipe.definition import WeightsSource
from ..located import Place, did_you_mean

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
BUILTIN = Path(__file__).parents[1] / "demo" / "weights"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
"""Beside the weights of a model that reads a prompt."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
REFUSED = "only .safetensors is read: a pickle can run code. Convert it with safetensors.torch.save_file"


def model_folder(source: WeightsSource, place: Place, with_weights: bool = True) -> Path:
    """The local folder that holds ``config.json`` and ``model.safetensors`` of a hub id or a folder.

    Raises:
        ModelError: it cannot be downloaded, or a file is missing; says what to fetch and which key to set.
    """
    if source.hub is not None:
        folder, path = _download(source.hub, source.revision, place, with_weights), "hub"
    else:
        assert source.folder is not None
        folder, path = source.folder, "folder"
    needed = ["config.json"] if not (folder / "config.json").is_file() else []
    if needed or not folder.is_dir():
        raise place.error(("weights", path), f"no config.json in {folder}", "a folder needs config.json and " + WEIGHTS)
    if with_weights and not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        raise _no_weights(folder, path, place)
    return folder


def state_file(source: WeightsSource, place: Place) -> Path:
    """The one ``.safetensors`` file that a source means, for a module that is not transformers' own.

    Raises:
        ModelError: there is no such file, or it is a pickle.
    """
    if source.builtin is not None:
        return _builtin(source.builtin, place)
    if source.file is not None:
        if source.file.suffix != ".safetensors":
            raise place.error(("weights", "file"), f"{source.file.name} is not a .safetensors file", REFUSED)
        if not source.file.is_file():
            raise place.error(("weights", "file"), f"no file {source.file}")
        return source.file
    if source.hub is not None:
        folder, path = _download(source.hub, source.revision, place, with_weights=True), "hub"
    else:
        assert source.folder is not None
        folder, path = source.folder, "folder"
    if not (folder / WEIGHTS).is_file():
        raise _no_weights(folder, path, place)
    return folder / WEIGHTS


def read_state(file: Path, place: Place) -> dict[str, Tensor]:
    """Names and tensors of a ``.safetensors`` file.

    Raises:
        ModelError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise place.error(("weights",), f"{file} cannot be read: {error}") from error


def _builtin(name: str, place: Place) -> Path:
    there = sorted(file.stem for file in BUILTIN.glob("*.safetensors"))
    if name in there:
        return BUILTIN / f"{name}.safetensors"
    hint = did_you_mean(name, there)
    known = f"there are {', '.join(there)}" if there else "the package holds none"
    raise place.error(("weights", "builtin"), f'no built-in weights "{name}"', hint + known)


def _no_weights(folder: Path, path: str, place: Place) -> Exception:
    pickles = [file.name for file in sorted(folder.glob("*")) if file.suffix in PICKLES]
    if pickles:
        return place.error(("weights", path), f"{folder} holds {pickles[0]} and no {WEIGHTS}", REFUSED)
    return place.error(("weights", path), f"no {WEIGHTS} in {folder}")


def _download(hub: str, revision: str | None, place: Place, with_weights: bool) -> Path:
    from huggingface_hub import constants, snapshot_download

    files = ["config.json", *TOKENIZER, *([WEIGHTS, INDEX, "model-*.safetensors"] if with_weights else [])]
    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        named = f"{hub} (revision {revision})" if revision else hub
        fetch = f"hf download {hub}" + (f" --revision {revision}" if revision else "")
        wanted = "config.json and " + WEIGHTS if with_weights else "config.json"
        raise place.error(
            ("weights", "hub"),
            f"{named} is not in the cache and cannot be downloaded: {str(error).splitlines()[0]}",
            f"where there is a network, download {wanted}: either into the cache {constants.HF_HUB_CACHE} "
            f"(`{fetch}`), or into a folder of your own (`{fetch} --local-dir FOLDER`) and set model.weights.folder "
            "to it instead of model.weights.hub",
        ) from error
