"""Which files hold a model's weights: those that transformers would load. Only safetensors: a pickle would run code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...recipe.definition import WeightsSource
from ...suggestions import hint
from ..model_place import ModelPlace
from .file_kinds import CONVERT, cut_off, foreign, is_safetensors, read_mapping, reading
from .hub import snapshot

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""What says how images are prepared; transformers 5 may write it into the first."""
BUILTIN = Path(__file__).parents[1] / "demo" / "weights"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
"""Beside the weights of a model that reads a prompt."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NAMED = "transformers_weights"
"""The key of a config.json that names another file in the place of ``model.safetensors``."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and what is to be said of where they are from. folder: of a hub id or a folder."""

    state: Mapping[str, Tensor]
    messages: tuple[str, ...] = ()
    folder: Path | None = None


def model_folder(source: WeightsSource, place: ModelPlace, with_weights: bool = True) -> Path:
    """The local folder that holds ``config.json`` and the weights of a hub id or a folder.

    Raises:
        ModelError: it cannot be downloaded, or a file is missing; says what to fetch and which key to set.
    """
    folder, key = _folder(source, place, with_weights)
    path = ("weights", key)
    with reading(folder, path, place):
        if not (folder / CONFIG).is_file():
            raise place.error(path, f"no config.json in {folder}", "a folder needs config.json and " + WEIGHTS)
    if with_weights:
        weight_files(source, place, folder)
    return folder


def weight_files(source: WeightsSource, place: ModelPlace, folder: Path | None = None) -> list[Path]:
    """The files that a source means, all there: of a folder ``model.safetensors`` alone, else what its index names.

    Args:
        folder: that of the source, where it is known already.

    Raises:
        ModelError: one is missing, or a pickle.
    """
    if source.builtin is not None:
        return [_builtin(source.builtin, place)]
    if source.file is not None:
        with reading(source.file, ("weights", "file"), place):
            return [_single(source.file, place)]
    key = "hub" if source.hub is not None else "folder"
    if folder is None:
        folder, key = _folder(source, place, with_weights=True)
    with reading(folder, ("weights", key), place):
        return _of_folder(folder, source, key, place)


def read_weights(source: WeightsSource, place: ModelPlace, folder: Path | None = None) -> Weights:
    """All tensors of a source.

    Raises:
        ModelError: as ``weight_files``; or a file is damaged, or no safetensors at all, and what it is instead.
    """
    files = weight_files(source, place, folder)
    state = {key: value for file in files for key, value in _read(file, place).items()}
    beside = source.file is None and source.builtin is None
    return Weights(state, _passed_over(files), files[0].parent) if beside else Weights(state)


def _of_folder(folder: Path, source: WeightsSource, key: str, place: ModelPlace) -> list[Path]:
    named = read_mapping(folder / CONFIG, ("weights", key), place).get(NAMED) if (folder / CONFIG).is_file() else None
    first = folder / str(named) if named else folder / WEIGHTS
    if named and not _inside(folder, first):
        raise place.error(("weights", key), f"{folder / CONFIG}: {NAMED} leads out of its folder: {named}")
    if first.name.endswith(".index.json"):
        return _shards(first, source, key, place)
    if first.is_file():
        return [first]
    if first.is_symlink():
        raise place.error(("weights", key), f"{first} is a link to a file that is not there", "fetch it again")
    if not named and (folder / INDEX).is_file():
        return _shards(folder / INDEX, source, key, place)
    raise _no_weights(folder, first.name, key, place)


def _read(file: Path, place: ModelPlace) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        strange = foreign(file)
        if strange is None and (less := cut_off(file)) is not None:
            strange = less, "download it again"
        if strange is None:
            return load_file(file)
    except (SafetensorError, OSError) as error:
        raise place.error(("weights",), f"{file} cannot be read: {error}") from error
    raise place.error(("weights",), f"{file} {strange[0]}", strange[1])


def _folder(source: WeightsSource, place: ModelPlace, with_weights: bool) -> tuple[Path, str]:
    """The folder of a hub id or a folder, and which of the two it is."""
    if source.hub is None:
        assert source.folder is not None
        return source.folder, "folder"
    files = [CONFIG, *PROCESSORS, *TOKENIZER, *([WEIGHTS, INDEX] if with_weights else [])]
    wanted = "config.json and " + WEIGHTS if with_weights else "config.json"
    return snapshot(source.hub, source.revision, files, wanted, place), "hub"


def _single(file: Path, place: ModelPlace) -> Path:
    path = ("weights", "file")
    if not file.is_file():
        raise place.error(path, f"{file} is a folder" if file.is_dir() else f"no file {file}")
    if file.suffix != ".safetensors":
        if is_safetensors(file):
            raise place.error(path, f"{file.name} holds safetensors under another name", "rename it to .safetensors")
        raise place.error(path, f"{file.name} is not a .safetensors file", CONVERT)
    return file


def _shards(index: Path, source: WeightsSource, key: str, place: ModelPlace) -> list[Path]:
    """The files that an index names, fetched where they are the hub's.

    Raises:
        ModelError: it is no index, or a file of it is not there.
    """
    path, folder = ("weights", key), index.parent
    named = read_mapping(index, path, place).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(file, str) for file in named.values()):
        raise place.error(path, f"{index} names no files: it has no weight_map", "download it again")
    names = sorted(set(named.values()))
    if source.hub is not None and not all((folder / name).is_file() for name in names):
        snapshot(source.hub, source.revision, [CONFIG, *names], f"{', '.join(names)}", place)
    for name in names:
        if not _inside(folder, folder / name):
            raise place.error(path, f"{index} leads out of its folder: {name}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        what = f"{index} names {len(names)} files, of which {len(missing)} are not there: {_some(missing)}"
        raise place.error(path, what, "download the model again, all of its files")
    if pickled := [name for name in names if Path(name).suffix in PICKLES]:
        raise place.error(path, f"{index} names {pickled[0]}", CONVERT)
    return [folder / name for name in names]


def _passed_over(files: list[Path]) -> tuple[str, ...]:
    """Other weights beside those that are read."""
    try:
        others = sorted(file.name for file in files[0].parent.glob("*.safetensors") if file not in files)
    except OSError:
        return ()
    if not others:
        return ()
    read = files[0].name if len(files) == 1 else f"the {len(files)} files of its index"
    return (f"of {files[0].parent} {read} is read, as transformers does; not read: {_some(others)}",)


def _builtin(name: str, place: ModelPlace) -> Path:
    there = sorted(file.stem for file in BUILTIN.glob("*.safetensors"))
    if name in there:
        return BUILTIN / f"{name}.safetensors"
    near = hint(name, there)
    known = f"there are {', '.join(there)}" if there else "the package holds none"
    raise place.error(("weights", "builtin"), f'no built-in weights "{name}"', near + known)


def _no_weights(folder: Path, first: str, key: str, place: ModelPlace) -> Exception:
    path = ("weights", key)
    here = [file for file in sorted(folder.glob("*")) if file.is_file()] if folder.is_dir() else []
    known = [file for file in here if file.name in PICKLED]
    pickles = known or [file for file in here if file.suffix in PICKLES]
    if pickles and pickles[0].suffix in PICKLES and is_safetensors(pickles[0]):
        what = f"{folder} holds no {first}, and {pickles[0].name} holds safetensors under another name"
        return place.error(path, what, f"rename it to {first}")
    if pickles:
        return place.error(path, f"{folder} holds {pickles[0].name} and no {first}", CONVERT)
    others = [file.name for file in here if file.suffix == ".safetensors"]
    what = f"no {first} in {folder}"
    if others:
        remedy = f"if {others[0]} holds the weights, name it: model.weights: {{file: {folder / others[0]}}}"
        return place.error(path, f"{what}, but {_some(others)}", remedy)
    return place.error(path, what)


def _inside(folder: Path, file: Path) -> bool:
    """Whether a name stays in its folder. Links are not followed: the hub's cache is made of them."""
    return ".." not in file.relative_to(folder).parts if file.is_relative_to(folder) else False


def _some(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
