"""Where a model comes from: the embedded one, a folder the user names, or the hub."""

from __future__ import annotations

import os.path
from pathlib import Path

from spacy_deberta.checkpoints.files import CONFIG_FILE, MICROSOFT_CONFIG_FILE
from spacy_deberta.checkpoints.hub import fetch_checkpoint, fetch_tokenizer, is_hub_name
from spacy_deberta.errors import CheckpointError

EMBEDDED_PIPELINE = Path(__file__).resolve().parent.parent / "models" / "embedded"
EMBEDDED_FOLDER = EMBEDDED_PIPELINE / "deberta"  # its encoder, a checkpoint of its own


def resolve_source(
    source: str | None, *, revision: str | None = None, prefer: str | None = None
) -> Path:
    """The checkpoint folder that a user's `source` stands for.

    Args:
        source: path of a checkpoint folder, or a name on the hub ("owner/name") where no such
            folder exists; None = the embedded model.
        revision: branch, tag or commit on the hub.
        prefer: a weight file to fetch from the hub instead of the usual ones, where it has one.

    Raises:
        CheckpointError: nothing is there; says what was looked for and where.
    """
    if source is None:
        _refuse_revision("the embedded model", revision)
        return EMBEDDED_FOLDER
    try:
        folder = Path(source).expanduser()
        folder.resolve().stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"source={source!r}: is no path to a checkpoint folder ({error})."
        ) from error
    if not folder.exists() and is_hub_name(source):
        return fetch_checkpoint(source, revision=revision, prefer=prefer)
    _refuse_revision(f"the folder {folder}", revision)
    if folder.is_file():
        raise CheckpointError(
            f"source={source!r}: is a file; give the path of the checkpoint folder around it."
        )
    if any((folder / name).is_file() for name in (CONFIG_FILE, MICROSOFT_CONFIG_FILE)):
        return folder
    if folder.is_dir():
        raise CheckpointError(
            f"source={source!r}: the folder {folder.resolve()} holds no {CONFIG_FILE}; expected a "
            f"DeBERTa checkpoint with {CONFIG_FILE}, its weights and its tokenizer."
        )
    raise CheckpointError(
        f"source={source!r}: looked for a checkpoint folder at {folder.resolve()}, and nothing is "
        f"there. Give the path of a folder with {CONFIG_FILE}, weights and tokenizer, a name on "
        'the hub such as "microsoft/deberta-v3-base", or null for the embedded model.'
    )


def resolve_tokenizer_source(source: str | None, *, revision: str | None = None) -> Path:
    """The folder with the tokenizer that a user's `source` stands for.

    As `resolve_source`, but a folder needs no config.json, and no weights are fetched.
    """
    if source is not None:
        path = os.path.expanduser(source)
        if os.path.isdir(path):
            _refuse_revision(f"the folder {path}", revision)
            return Path(path)
        if is_hub_name(source) and not os.path.exists(path):
            return fetch_tokenizer(source, revision=revision)
    return resolve_source(source, revision=revision)


def _refuse_revision(place: str, revision: str | None) -> None:
    if revision is not None:
        raise CheckpointError(
            f"revision={revision!r}: {place} has no revisions; give it with a name on the hub."
        )
