"""Train a SentencePiece vocabulary in the layout of DeBERTa v3."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.special import CLS, PAD, SEP, UNK
from spacy_deberta.tokenizers.unigram import UnigramTokenizer

LONGEST = 4192  # bytes of a text, SentencePiece's default; it leaves longer ones out
_LARGEST = 4  # bytes of a character

LAYOUT: dict[str, Any] = {
    "model_type": "unigram",
    "byte_fallback": True,
    "normalization_rule_name": "nmt_nfkc",
    "pad_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "unk_id": 3,
    "pad_piece": PAD,
    "bos_piece": CLS,
    "eos_piece": SEP,
    "unk_piece": UNK,
    "max_sentence_length": LONGEST,
    "minloglevel": 2,  # errors only
}


def train_unigram(
    texts: Iterable[str],
    *,
    n_pieces: int,
    character_coverage: float = 0.9995,
    max_texts: int = 0,
    n_threads: int = 1,
) -> UnigramTokenizer:
    """Train a unigram vocabulary with byte fallback, NFKC and DeBERTa's special pieces.

    The layout is that of DeBERTa v3: [PAD] 0, [CLS] 1, [SEP] 2, [UNK] 3, the 256 byte pieces, the
    learned pieces, and [MASK] behind the last.

    Args:
        texts: sentences or paragraphs; those of more than 4,192 UTF-8 bytes are cut, at spaces
            where there are any.
        n_pieces: size of the vocabulary, special pieces, bytes and [MASK] included.
        character_coverage: share of the characters in the texts that get pieces of their own;
            the others are written in bytes.
        max_texts: train on this many texts, drawn at random; 0 is all of them.
        n_threads: the learned pieces do not depend on it.

    Raises:
        TokenizerError: the texts do not support that many pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(part for text in texts for part in _cut(text)),
            model_writer=model,
            vocab_size=n_pieces - 1,  # [MASK] is not part of the model file
            character_coverage=character_coverage,
            input_sentence_size=max_texts,
            shuffle_input_sentence=max_texts > 0,
            num_threads=n_threads,
            **LAYOUT,
        )
    except RuntimeError as error:
        raise TokenizerError(
            f"SentencePiece could not train {n_pieces} pieces: {str(error).rstrip('.')}. Give more "
            "texts, or ask for fewer pieces, but more than the texts have characters with the 256 "
            "bytes and 5 special pieces."
        ) from error
    return UnigramTokenizer(model.getvalue(), source="the trained model")


def _cut(text: str) -> Iterator[str]:
    """A text in parts that SentencePiece does not leave out."""
    size = LONGEST // _LARGEST
    while len(text) > size and len(text.encode()) > LONGEST:
        space = text.rfind(" ", 1, size)
        end = size if space < 0 else space
        yield text[:end]
        text = text[end:]
    yield text
