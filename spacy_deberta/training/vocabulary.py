"""Another vocabulary for an encoder: new rows from the old rows of their text.

old, WordPiece     zu  ##cker  ##berg        a continued word is marked
old, byte-level    Ġz  ucker   berg          a new word is
new, unigram       ▁zu  cker    berg         so, too
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer

ROW_MULTIPLE = 64  # rows; the piece table is padded to a multiple, for aligned matrix products

_ASCII = 128  # characters whose single byte is their text
_SPECIAL = {  # as BERT and as RoBERTa writes them
    "[PAD]": ("[PAD]", "<pad>"),
    "[CLS]": ("[CLS]", "<s>"),
    "[SEP]": ("[SEP]", "</s>"),
    "[UNK]": ("[UNK]", "<unk>"),
    "[MASK]": ("[MASK]", "<mask>"),
}


def load_old_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a BERT-like checkpoint, without padding and truncation.

    Args:
        folder: holds tokenizer.json, or vocab.json and merges.txt as RoBERTa's do.

    Raises:
        TokenizerError: the folder holds neither.
    """
    path, pieces, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
    elif pieces.is_file() and merges.is_file():
        tokenizer = Tokenizer(models.BPE.from_file(str(pieces), str(merges)))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        raise TokenizerError(
            f"{folder}: holds no tokenizer.json, nor vocab.json with merges.txt; expected the old "
            "vocabulary."
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def replace_vocabulary(
    encoder: DebertaEncoder, old: Tokenizer, new: UnigramTokenizer
) -> DebertaEncoder:
    """The same encoder over another vocabulary.

    A new row is the mean of the old rows of its text: a piece that begins a word as the old
    tokenizer cuts that word, any other as it cuts the rest of a word. Special pieces keep
    their rows; what has no old rows, bytes for example, starts as [UNK].

    Args:
        encoder: with the old vocabulary.
        old: the old tokenizer, as `load_old_tokenizer` reads it.
        new: the new one.

    Raises:
        TokenizerError: the old vocabulary lacks a special piece.
    """
    rows = encoder.embeddings.pieces.weight.detach()
    size = -(-new.n_pieces // ROW_MULTIPLE) * ROW_MULTIPLE
    table = rows[_special_id(old, "[UNK]")].repeat(size, 1)
    specials = {
        new.pad_id: "[PAD]",
        new.cls_id: "[CLS]",
        new.sep_id: "[SEP]",
        new.unk_id: "[UNK]",
        new.mask_id: "[MASK]",
    }
    for number in range(new.n_pieces):
        if number in specials:
            table[number] = rows[_special_id(old, specials[number])]
            continue
        ids = _old_ids(new.piece(number), old)
        if ids:
            table[number] = rows[torch.tensor(ids)].mean(0)
    config = replace(encoder.config, vocab_size=size, pad_token_id=new.pad_id)
    replaced = DebertaEncoder(config)
    replaced.load_state_dict({**encoder.state_dict(), "embeddings.pieces.weight": table})
    return replaced.eval()


def _special_id(old: Tokenizer, piece: str) -> int:
    found = [number for number in map(old.token_to_id, _SPECIAL[piece]) if number is not None]
    if not found:
        names = " or ".join(_SPECIAL[piece])
        raise TokenizerError(f"the old vocabulary has no {names}; expected the special pieces.")
    return found[0]


def _old_ids(piece: str, old: Tokenizer) -> Sequence[int]:
    """Old ids of a new piece's text; none for a bare word marker."""
    text = piece.removeprefix("\u2581")
    if piece.startswith("<0x") and piece.endswith(">"):
        value = int(piece[3:-1], 16)
        text = chr(value) if value < _ASCII else ""  # a lone byte of a longer character has no text
    if not text.strip():
        return []
    begins = piece.startswith("\u2581")
    if isinstance(old.model, models.BPE):
        return old.encode(" " + text if begins else text, add_special_tokens=False).ids
    if begins:
        return _known(old.encode(text, add_special_tokens=False).ids, old)
    return _continued(text, old)


def _continued(text: str, old: Tokenizer) -> Sequence[int]:
    """WordPiece ids of a text that goes on with a word."""
    exact = old.token_to_id("##" + text)
    if exact is not None:
        return [exact]
    # "a" begins a word of its own; what the old tokenizer adds after it continues that word
    start = len(old.encode("a", add_special_tokens=False).ids)
    continued = old.encode("a" + text, add_special_tokens=False)
    if len(continued.ids) > start and continued.tokens[0] == "a":
        return _known(continued.ids[start:], old)
    return _known(old.encode(text, add_special_tokens=False).ids, old)


def _known(ids: Sequence[int], old: Tokenizer) -> list[int]:
    unknown = old.token_to_id("[UNK]")
    return [number for number in ids if number != unknown]
