"""Text to pieces with character offsets.

    folder ──> load_tokenizer ──> UnigramTokenizer | BytePairTokenizer ──> Pieces(ids, starts, ends)
                                                   ^                text ──┘
             training.train_unigram(texts) ────────┘

    encoding.py         Pieces, the protocol of every tokenizer, what happens to lone surrogates
    unigram.py          SentencePiece's unigram model with DeBERTa's special pieces (v2, v3)
    bpe.py              byte-level BPE with DeBERTa's special pieces (v1)
    special.py          special and added pieces, found in texts as they are typed
    punctuation.py      texts cut at punctuation, where split_by_punct asks for it
    lowering.py         texts in lower case, where do_lower_case asks for it
    spans.py            unigram's offsets: normalized characters back to the caller's
    byte_level.py       BPE's offsets: bytes back to the caller's characters
    load.py             a model folder to a tokenizer: added.py (what is looked for in texts),
                        byte_pair_files.py, tokenizer_json.py, files.py (caps, JSON, writing)
    model_file.py       the bytes of spm.model, looked over and written
    packing.py          a tokenizer as bytes
    training.py         a new vocabulary in the layout of v3
    batch/              pieces of texts, pairs and words to rectangles, for the public tokenizers

Promises, for every text:

- `ids` are exactly those of SentencePiece, or of GPT-2's BPE; no special pieces are added, and
  special pieces typed in the text, such as "[MASK]", are text unless `specials=True`.
- `starts` and `ends` count characters (code points) of the caller's string, ordered and in range.
- Whitespace at the ends of a piece is not part of its span. A piece that is nothing but
  whitespace, such as a bare "▁", takes the span of the next piece.
- Pieces that share one source character, by normalization ("½" is three characters) or as its
  bytes, all have the whole source character. Apart from these and from pieces of whitespace,
  spans do not overlap.
- Whitespace that [MASK] takes from before it (v1) is not part of its span.
- Characters that normalization drops belong to the piece before them; at a word's beginning and at
  the text's end, to none.
- Time and memory are linear in the length of the text, whatever it is made of.
"""

from spacy_deberta.tokenizers.bpe import BytePairTokenizer
from spacy_deberta.tokenizers.encoding import (
    AddedPiece,
    Pieces,
    SurrogateWarning,
    Tokenizer,
    TruncationWarning,
)
from spacy_deberta.tokenizers.load import load_tokenizer, tokenizer_from_bytes
from spacy_deberta.tokenizers.tokenizer_json import NormalizationWarning
from spacy_deberta.tokenizers.training import train_unigram
from spacy_deberta.tokenizers.unigram import UnigramTokenizer

__all__ = [
    "AddedPiece",
    "BytePairTokenizer",
    "NormalizationWarning",
    "Pieces",
    "SurrogateWarning",
    "Tokenizer",
    "TruncationWarning",
    "UnigramTokenizer",
    "load_tokenizer",
    "tokenizer_from_bytes",
    "train_unigram",
]
