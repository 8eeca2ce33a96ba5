"""Files of a model on the Hugging Face hub, in the local cache; fetched where they are not and there is a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..model_place import ModelPlace


def snapshot(hub: str, revision: str | None, files: Sequence[str], wanted: str, place: ModelPlace) -> Path:
    """The cached folder of a revision, with those of ``files`` that the repository has.

    Args:
        wanted: what is needed, for messages.

    Raises:
        ModelError: it is not cached whole and cannot be downloaded; says what to fetch and which key to set.
    """
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        named = f"{hub} (revision {revision})" if revision else hub
        fetch = f"hf download {hub}" + (f" --revision {revision}" if revision else "")
        raise place.error(
            ("weights", "hub"),
            f"{named} is not in the cache and cannot be downloaded: {str(error).splitlines()[0]}",
            f"where there is a network, download {wanted}: either into the cache {constants.HF_HUB_CACHE} "
            f"(`{fetch}`), or into a folder of your own (`{fetch} --local-dir FOLDER`) and set model.weights.folder "
            "to it instead of model.weights.hub",
        ) from error
