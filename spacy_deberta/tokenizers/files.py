"""Files of a tokenizer's folder: their names, reading them with caps, writing them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece
from spacy_deberta.tokenizers.special import SPECIAL

SETTINGS_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
SPECIAL_FILE = "special_tokens_map.json"
TOKENIZER_FILE = "tokenizer.json"

MAX_JSON_BYTES = 4 * 2**20
SPECIAL_KEYS = dict(
    zip(("pad_token", "cls_token", "sep_token", "unk_token", "mask_token"), SPECIAL, strict=True)
)


def read_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object; an absent file reads as an empty one."""
    return parse_object(read_capped(path, max_bytes), str(path)) if path.exists() else {}


def parse_object(content: bytes, source: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        TokenizerError: it is something else; says which file it is.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{source}: not valid JSON ({error}). Download it again.") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{source}: holds a {type(value).__name__}, expected a JSON object.")
    return value


def read_capped(path: Path, max_bytes: int) -> bytes:
    """Read a file whose size is in bounds.

    Raises:
        TokenizerError: it is too large, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) > max_bytes:
        raise TokenizerError(
            f"{path}: larger than {max_bytes} bytes, too large for what it should be. Check that "
            "it is the checkpoint's own file."
        )
    return data


def write_folder(
    folder: Path,
    files: Mapping[str, bytes],
    settings: Mapping[str, Any],
    added: Mapping[str, AddedPiece],
) -> None:
    """Write the vocabulary's files, the settings, and the pieces that are looked for in texts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise TokenizerError(f"{folder}: is a file, expected a folder to write.") from error
    for name, data in files.items():
        (folder / name).write_bytes(data)
    content: dict[str, Any] = {**settings, **SPECIAL_KEYS}
    if any(piece not in SPECIAL or entry != _plain(entry) for piece, entry in added.items()):
        content |= _described(added)
    (folder / SETTINGS_FILE).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _plain(entry: AddedPiece) -> AddedPiece:
    return AddedPiece(entry.id, special=True)


def _described(added: Mapping[str, AddedPiece]) -> dict[str, Any]:
    """The pieces as tokenizer_config.json has them; not needed for the five special ones alone."""
    numbered = sorted(added.items(), key=lambda item: item[1].id)
    decoder = {}
    for piece, entry in numbered:
        flags = {**asdict(entry), "content": piece, "normalized": False}
        decoder[str(flags.pop("id"))] = flags
    additional = [piece for piece, entry in numbered if entry.special and piece not in SPECIAL]
    return {"added_tokens_decoder": decoder, "additional_special_tokens": additional}
