"""Checkpoints by their name on the Hugging Face hub: only the files that are needed.

This is the only place that imports huggingface_hub (extra `hub`). Its settings hold as everywhere:
HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME or HF_HUB_CACHE, HF_TOKEN.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from spacy_deberta.checkpoints.files import (
    CONFIG_FILE,
    INDEX_SUFFIX,
    TOKENIZER_FILES,
    WEIGHT_FILES,
)
from spacy_deberta.checkpoints.shards import shard_names
from spacy_deberta.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def is_hub_name(source: str) -> bool:
    """Tell whether this can be a name on the hub: "owner/name"."""
    return _NAME.fullmatch(source) is not None


def fetch_checkpoint(name: str, *, revision: str | None = None, prefer: str | None = None) -> Path:
    """The cached folder of a checkpoint on the hub, with what was missing downloaded.

    Args:
        name: "owner/name".
        revision: branch, tag or commit; None = the main branch.
        prefer: a weight file to take instead of the usual ones, where there is one.

    Raises:
        CheckpointError: the extra is not installed, there is no such checkpoint, it cannot be
            reached and is not in the cache, or it has no weights in a format that is read.
    """
    hub = _library(name)
    folder, names = _list(hub, name, revision)
    weights = next((file for file in (prefer, *WEIGHT_FILES) if file in names), None)
    if weights is None:
        raise CheckpointError(
            f"source={name!r}: {_place(hub)} and the cache {folder} hold none of "
            f"{', '.join(WEIGHT_FILES)}. Choose a checkpoint with weights in one of them."
        )
    wanted = [weights, *(file for file in TOKENIZER_FILES if file in names)]
    for file in wanted:
        path = _fetch(hub, name, file, folder)
        wanted += shard_names(path) if file.endswith(INDEX_SUFFIX) else []
    return folder


def fetch_tokenizer(name: str, *, revision: str | None = None) -> Path:
    """The cached folder of a checkpoint on the hub, with its tokenizer and without its weights.

    Args:
        name: "owner/name".
        revision: branch, tag or commit; None = the main branch.

    Raises:
        CheckpointError: the extra is not installed, there is no such checkpoint, or it cannot be
            reached and is not in the cache.
    """
    hub = _library(name)
    folder, names = _list(hub, name, revision)
    for file in TOKENIZER_FILES:
        if file in names:
            _fetch(hub, name, file, folder)
    return folder


def _list(hub: ModuleType, name: str, revision: str | None) -> tuple[Path, Collection[str]]:
    """The cached folder of one commit, with config.json, and the names of what the commit holds."""
    try:
        config = Path(hub.hf_hub_download(name, CONFIG_FILE, revision=revision))
    except Exception as error:  # its own classes, and those of its HTTP library
        raise _unreachable(hub, name, CONFIG_FILE, revision, error) from error
    folder = config.parent  # of one commit, by whose name the rest is asked for
    try:
        names: Collection[str] = hub.HfApi().list_repo_files(name, revision=folder.name)
    except Exception:  # offline: what earlier calls have fetched must do
        names = [entry.name for entry in folder.iterdir()]
    return folder, names


def _fetch(hub: ModuleType, name: str, file: str, folder: Path) -> Path:
    try:
        return Path(hub.hf_hub_download(name, file, revision=folder.name))
    except Exception as error:  # its own classes, and those of its HTTP library
        raise _unreachable(hub, name, file, folder.name, error) from error


def _unreachable(
    hub: ModuleType, name: str, file: str, revision: str | None, error: Exception
) -> CheckpointError:
    reason = " ".join(str(error).split()) or type(error).__name__
    where = f" at revision {revision!r}" if revision else ""
    return CheckpointError(
        f"source={name!r}: looked for a checkpoint folder of this name, and for {file} at "
        f"{_place(hub)}{where} and in the cache {hub.constants.HF_HUB_CACHE} ({reason}). Check "
        "the name and the connection, or give the path of a folder."
    )


def _place(hub: ModuleType) -> str:
    """The hub's address, also where it may not be reached."""
    offline = " (HF_HUB_OFFLINE is set)" if hub.constants.HF_HUB_OFFLINE else ""
    return f"{hub.constants.ENDPOINT}{offline}"


def _library(name: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            f"source={name!r}: no checkpoint folder is there, and names on the hub need "
            "huggingface_hub; install it with pip install 'spacy-deberta[hub]', or give the path "
            "of a folder."
        ) from error
    return huggingface_hub
