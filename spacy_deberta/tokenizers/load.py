"""A model folder to a tokenizer: every file that decides ids is read, or refused by name."""

import json
from pathlib import Path
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.unigram import (
    ADDED_FILE,
    CLS,
    MASK,
    MAX_MODEL_BYTES,
    MODEL_FILE,
    PAD,
    SEP,
    SETTINGS_FILE,
    UNK,
    UnigramTokenizer,
)

MAX_JSON_BYTES = 4 * 2**20
MAX_LISTED = 10  # names of files in an error message
SPECIAL_KEYS = {
    "pad_token": PAD,
    "cls_token": CLS,
    "sep_token": SEP,
    "unk_token": UNK,
    "mask_token": MASK,
}
UNSUPPORTED = "do_lower_case"  # true in no released DeBERTa v2 or v3
SPLIT = "split_by_punct"  # the same, but true in the embedded model
BYTE_BPE_FILES = ("bpe_encoder.bin", "vocab.json", "merges.txt")


def load_tokenizer(folder: Path) -> UnigramTokenizer:
    """Load the tokenizer of a DeBERTa v2, v3 or mDeBERTa model folder.

    Reads spm.model and, where they exist, tokenizer_config.json and added_tokens.json.

    Raises:
        TokenizerError: a file is missing, too large or damaged, or the settings ask for something
            that would give other ids than the checkpoint was trained with.
    """
    path = _find_model(folder)
    settings = _read_object(folder / SETTINGS_FILE)
    _check_settings(settings, folder / SETTINGS_FILE)
    added = _added_pieces(settings, _read_object(folder / ADDED_FILE), folder)
    model = _read_capped(path, MAX_MODEL_BYTES)
    tokenizer = UnigramTokenizer(
        model,
        mask_id=added.pop(MASK, None),
        split_by_punct=settings.get(SPLIT, False),
        source=str(path),
    )
    for piece, number in added.items():
        if not 0 <= number < tokenizer.n_pieces or tokenizer.piece(number) != piece:
            raise TokenizerError(
                f"{folder}: added piece {piece!r} (number {number}) is not in {MODEL_FILE}; the "
                f"only piece that can be added to it is {MASK}. Remove it from {ADDED_FILE} and "
                f"{SETTINGS_FILE}, or use a checkpoint without added pieces."
            )
    return tokenizer


def _find_model(folder: Path) -> Path:
    """The path of spm.model; else an error that says what the folder holds instead."""
    path = folder / MODEL_FILE
    if path.is_file():
        return path
    if not folder.is_dir():
        raise TokenizerError(f"{folder}: not a folder; looked for {MODEL_FILE} in it.")
    found = sorted(entry.name for entry in folder.iterdir())
    if any(name in found for name in BYTE_BPE_FILES):
        raise TokenizerError(
            f"{folder}: no {MODEL_FILE}, but {', '.join(n for n in BYTE_BPE_FILES if n in found)}: "
            "the byte-level BPE of DeBERTa v1, which is not supported yet. Use a v2 or v3 model."
        )
    listing = ", ".join(found[:MAX_LISTED]) or "nothing"
    listing += ", ..." * (len(found) > MAX_LISTED)
    raise TokenizerError(
        f"{folder}: no {MODEL_FILE} (the SentencePiece model of DeBERTa v2 and v3); the folder "
        f"holds {listing}. Copy {MODEL_FILE} from the checkpoint into it."
    )


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    """Refuse settings that change ids and that the tokenizer does not follow."""
    value = settings.get(UNSUPPORTED, False)
    if value is not False:
        raise TokenizerError(
            f"{path}: {UNSUPPORTED}={value!r} is not supported, expected false. Its pieces would "
            "differ from those the checkpoint was trained with."
        )
    value = settings.get(SPLIT, False)
    if not isinstance(value, bool):
        raise TokenizerError(f"{path}: {SPLIT}={value!r}, expected true or false.")
    for key, expected in SPECIAL_KEYS.items():
        value = settings.get(key, expected)
        content = value.get("content") if isinstance(value, dict) else value
        if content != expected:
            raise TokenizerError(
                f"{path}: {key}={content!r}, expected {expected!r}. Use the file saved with "
                f"{MODEL_FILE}."
            )


def _added_pieces(settings: dict[str, Any], added: dict[str, Any], folder: Path) -> dict[str, int]:
    """Piece to number, from both places where pieces can be added to a model."""
    pieces = dict(added)
    decoder = settings.get("added_tokens_decoder", {})
    try:
        for number, entry in decoder.items():
            if pieces.setdefault(entry["content"], int(number)) != int(number):
                raise TokenizerError(
                    f"{folder}: {entry['content']!r} is number {number} in {SETTINGS_FILE} and "
                    f"{pieces[entry['content']]} in {ADDED_FILE}. Keep the checkpoint's own files."
                )
        return {str(piece): int(number) for piece, number in pieces.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise TokenizerError(
            f"{folder}: added pieces are malformed ({error!r}); expected piece to number in "
            f"{ADDED_FILE} and number to an object with 'content' in {SETTINGS_FILE}."
        ) from error


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file reads as an empty one."""
    if not path.exists():
        return {}
    try:
        value = json.loads(_read_capped(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(f"{path}: not valid JSON ({error}). Download it again.") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: holds a {type(value).__name__}, expected a JSON object.")
    return value


def _read_capped(path: Path, max_bytes: int) -> bytes:
    """Read a file whose size is in bounds, looking at the size first."""
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
