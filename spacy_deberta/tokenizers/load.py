"""A model folder to a tokenizer: every file that decides ids is read, or refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import bpe, unigram
from spacy_deberta.tokenizers.added import AddedFiles
from spacy_deberta.tokenizers.bpe import MERGES_FILE, VOCAB_FILE, BytePairTokenizer, parse_merges
from spacy_deberta.tokenizers.byte_pair_files import (
    ENCODER_FILE,
    VocabAndMerges,
    read_encoder_file,
)
from spacy_deberta.tokenizers.encoding import Tokenizer
from spacy_deberta.tokenizers.files import (
    SETTINGS_FILE,
    TOKENIZER_FILE,
    read_capped,
    read_object,
)
from spacy_deberta.tokenizers.model_file import MAX_MODEL_BYTES
from spacy_deberta.tokenizers.packing import WHAT, unpack
from spacy_deberta.tokenizers.special import MASK, SPECIAL
from spacy_deberta.tokenizers.tokenizer_json import (
    UNIGRAM,
    TokenizerJson,
    read_tokenizer_json,
)
from spacy_deberta.tokenizers.unigram import MODEL_FILE, UnigramTokenizer

MASK_TAKES_SPACES = {MASK: {"lstrip": True}}
MAX_LISTED = 10  # names of files in an error message
KINDS: dict[str, type[UnigramTokenizer] | type[BytePairTokenizer]] = {
    unigram.KIND: UnigramTokenizer,
    bpe.KIND: BytePairTokenizer,
}


def load_tokenizer(folder: Path, changes: Mapping[str, Any] | None = None) -> Tokenizer:
    """Load the tokenizer of a DeBERTa model folder, of any version.

    The vocabulary is the first of these that is there: spm.model (v2, v3, mDeBERTa), vocab.json
    with merges.txt, bpe_encoder.bin (both v1), tokenizer.json (either). Read beside it, where they
    exist: tokenizer_config.json, special_tokens_map.json and added_tokens.json.

    Args:
        folder: of the model.
        changes: settings to take instead of those in tokenizer_config.json.

    Raises:
        TokenizerError: a file is missing, too large or damaged, or the settings ask for something
            that would give other ids than the checkpoint was trained with.
    """
    settings = {**read_object(folder / SETTINGS_FILE), **(changes or {})}
    if (folder / MODEL_FILE).is_file():
        return _unigram(folder, settings)
    if (folder / VOCAB_FILE).is_file() and (folder / MERGES_FILE).is_file():
        vocab = read_object(folder / VOCAB_FILE, MAX_MODEL_BYTES)
        merges = read_capped(folder / MERGES_FILE, MAX_MODEL_BYTES)
        path = folder / VOCAB_FILE
        return _byte_pair(path, (vocab, parse_merges(merges, str(folder / MERGES_FILE))), settings)
    if (folder / ENCODER_FILE).is_file():
        path = folder / ENCODER_FILE
        return _byte_pair(path, read_encoder_file(path), settings)
    if (folder / TOKENIZER_FILE).is_file():
        described = read_tokenizer_json(folder / TOKENIZER_FILE)
        if described.kind == UNIGRAM:
            return _unigram(folder, settings, described)
        return _byte_pair(described.path, described.vocab_and_merges(), settings, described)
    raise TokenizerError(_nothing_found(folder))


def tokenizer_from_bytes(data: bytes) -> Tokenizer:
    """Rebuild a tokenizer of any class from its `to_bytes`.

    Raises:
        TokenizerError: the bytes are something else.
    """
    kind = unpack(data).kind
    if kind not in KINDS:
        raise TokenizerError(
            f"{WHAT}: hold a {kind!r} tokenizer, expected {' or '.join(map(repr, KINDS))}. A newer "
            "version has written them; update spacy-deberta."
        )
    return KINDS[kind].from_bytes(data)


def _unigram(
    folder: Path, settings: dict[str, Any], described: TokenizerJson | None = None
) -> UnigramTokenizer:
    path = described.path if described else folder / MODEL_FILE
    model = described.model() if described else read_capped(path, MAX_MODEL_BYTES)
    files = AddedFiles(folder, settings, listed=described.added if described else ())
    steps = described.steps if described else {}
    known: dict[str, int] = {}
    if files.unnumbered():
        plain = UnigramTokenizer(model, mask_id=files.numbers.get(MASK), source=str(path))
        known = {piece: plain.added[piece].id for piece in SPECIAL}
    return UnigramTokenizer(
        model,
        mask_id=files.numbers.get(MASK),
        split_by_punct=_switch(settings, "split_by_punct", folder, "Punctuation" in steps),
        do_lower_case=_switch(settings, "do_lower_case", folder, "Lowercase" in steps),
        added=files.pieces(known),
        source=str(path),
    )


def _byte_pair(
    path: Path,
    vocabulary: VocabAndMerges,
    settings: dict[str, Any],
    described: TokenizerJson | None = None,
) -> BytePairTokenizer:
    vocab, merges = vocabulary
    listed = described.added if described else ()
    files = AddedFiles(path.parent, settings, listed=listed, defaults=MASK_TAKES_SPACES)
    step = described.steps["ByteLevel"] if described else {}
    default = step.get("add_prefix_space") is True
    return BytePairTokenizer(
        vocab,
        merges,
        added=files.pieces(vocab),
        add_prefix_space=_switch(settings, "add_prefix_space", path.parent, default),
        source=str(path),
    )


def _switch(settings: dict[str, Any], key: str, folder: Path, default: bool) -> bool:
    value = settings.get(key, default)
    if not isinstance(value, bool):
        raise TokenizerError(f"{folder / SETTINGS_FILE}: {key}={value!r}, expected true or false.")
    return value


def _nothing_found(folder: Path) -> str:
    """What is missing, and what the folder holds instead."""
    if not folder.is_dir():
        return f"{folder}: not a folder; looked for {MODEL_FILE} in it."
    found = sorted(entry.name for entry in folder.iterdir())
    listing = ", ".join(found[:MAX_LISTED]) or "nothing"
    listing += ", ..." * (len(found) > MAX_LISTED)
    return (
        f"{folder}: no {MODEL_FILE} (the SentencePiece model of DeBERTa v2 and v3), no "
        f"{VOCAB_FILE} with {MERGES_FILE} and no {ENCODER_FILE} (v1), no {TOKENIZER_FILE}; the "
        f"folder holds {listing}. Copy the checkpoint's own files into it."
    )
