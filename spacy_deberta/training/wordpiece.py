"""A WordPiece vocabulary as a SentencePiece model: the old pieces, the old rows.

A new vocabulary costs an upcycled encoder most of what it knows, because rows of its pieces are
guesses. This keeps as many of the old pieces as the new table has room for, so that all their rows
are exact:

    WordPiece   zu  ##cker  ##berg  '  s
    here       ▁zu    cker    berg ▁' ▁s      (split_by_punct: "'" and "s" begin anew, as in BERT)

BERT's cleaning (compatibility forms, lower case, no accents, no control characters) becomes the
model's normalizer, character by character. Pieces that are left out are written in those that are
kept; what no piece covers, in bytes.
"""

from __future__ import annotations

import json
import math
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.tokenizers.model_file import (
    BYTE_PIECES,
    Vocabulary,
    compiled_rules,
    write_model,
)
from spacy_deberta.tokenizers.special import CLS, PAD, SEP, UNK

SPACE = "\u2581"
CONTINUED = "##"
BATCH_TEXTS = 2000
N_OWN_PIECES = 262  # four special ones, 256 bytes, a bare "▁", and [MASK] behind the model
LAST_CHARACTER = 0x2FFFF  # no letters with case, accents or compatibility forms behind it


def unigram_from_wordpiece(old: Tokenizer, texts: Sequence[str], n_pieces: int) -> UnigramTokenizer:
    """The most frequent pieces of a lower-casing WordPiece vocabulary as a unigram model.

    A piece scores the logarithm of its share of all pieces, so that the best segmentation of a
    known word is the word.

    Args:
        old: without padding and truncation; BERT's uncased form.
        texts: running text to count pieces in.
        n_pieces: size of the vocabulary, special pieces, bytes and [MASK] included.

    Raises:
        TokenizerError: the vocabulary and the texts do not support that many pieces.
    """
    room = n_pieces - N_OWN_PIECES
    kept = _most_frequent(old, _count(old, texts), room)
    counts = _count(_restricted(old, kept), texts)
    total = counts.total() or 1
    scores = {piece: math.log((counts[piece] + 0.5) / total) for piece in kept}
    return UnigramTokenizer(_model(scores), split_by_punct=True, source="the converted model")


def _count(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for start in range(0, len(texts), BATCH_TEXTS):
        batch = texts[start : start + BATCH_TEXTS]
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            counts.update(encoding.tokens)
    return counts


def _most_frequent(old: Tokenizer, counts: Counter[str], room: int) -> list[str]:
    """Every ASCII character, alone and continued, then what was seen most."""
    vocabulary = old.get_vocab()
    alone = string.ascii_lowercase + string.digits + string.punctuation
    needed = [piece for char in alone for piece in (char, CONTINUED + char) if piece in vocabulary]
    seen = (piece for piece, _ in counts.most_common() if not piece.startswith("["))
    ranked = list(dict.fromkeys([*needed, *seen]))
    if not len(needed) <= room <= len(ranked):
        raise TokenizerError(
            f"{room + N_OWN_PIECES} pieces were asked for; these texts and this vocabulary support "
            f"{len(needed) + N_OWN_PIECES} to {len(ranked) + N_OWN_PIECES}."
        )
    kept = ranked[:room]
    return sorted(kept, key=lambda piece: (-counts[piece], piece))


def _restricted(old: Tokenizer, kept: Iterable[str]) -> Tokenizer:
    """The same tokenizer, knowing these pieces only."""
    content = json.loads(old.to_str())
    known = {*kept, *(entry["content"] for entry in content["added_tokens"])}
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {piece: n for piece, n in vocabulary.items() if piece in known}
    return Tokenizer.from_str(json.dumps(content))


def _model(scores: dict[str, float]) -> bytes:
    """A serialized SentencePiece model: DeBERTa's layout, BERT's cleaning, these pieces."""
    pieces = [PAD, CLS, SEP, UNK, *BYTE_PIECES, SPACE, *map(_marked, scores)]
    values = [0.0] * (len(pieces) - len(scores) - 1) + [min(scores.values()), *scores.values()]
    return write_model(Vocabulary(pieces, values, compiled_rules("".join(_cleaning_rules()))))


def _marked(piece: str) -> str:
    """WordPiece marks what continues a word, SentencePiece what begins one."""
    if piece.startswith(CONTINUED) and len(piece) > len(CONTINUED):
        return piece.removeprefix(CONTINUED)
    return SPACE + piece


def _cleaning_rules() -> Iterator[str]:
    """Lines of source and target in code points, for every character that BERT changes."""
    for code in range(1, LAST_CHARACTER + 1):
        char = chr(code)
        if unicodedata.category(char) in ("Cs", "Cn", "Co"):
            continue
        cleaned = _cleaned(char)
        if cleaned != char:
            yield f"{code:X}\t{' '.join(f'{ord(c):X}' for c in cleaned)}\n"


def _cleaned(char: str) -> str:
    if char.isspace():
        return " "
    if unicodedata.category(char) in ("Cc", "Cf", "Mn") or char == "\ufffd":
        return ""
    lowered = unicodedata.normalize("NFKC", char).lower()
    letters = (c for c in unicodedata.normalize("NFD", lowered) if unicodedata.category(c) != "Mn")
    return unicodedata.normalize("NFC", "".join(letters))
