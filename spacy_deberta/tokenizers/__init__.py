"""Text to pieces with character offsets.

    text ──> load.load_tokenizer(folder) ──> UnigramTokenizer ──> Pieces(ids, starts, ends)
                                                   ^
             training.train_unigram(texts) ────────┘

    encoding.py   Pieces, and what happens to lone surrogates
    unigram.py    SentencePiece's unigram model with DeBERTa's special pieces
    punctuation.py  texts cut at punctuation, where split_by_punct asks for it
    spans.py      the offsets: SentencePiece's normalized characters back to the caller's
    load.py       a model folder to a tokenizer: caps, checks, errors that name the file
    training.py   a new vocabulary in the same layout

Promises, for every text:

- `ids` are exactly those of SentencePiece; no special pieces are added, and special pieces typed in
  the text, such as "[MASK]", are text.
- `starts` and `ends` count characters (code points) of the caller's string, ordered and in range.
- Whitespace at the ends of a piece is not part of its span. A piece that is nothing but
  whitespace, a bare "▁", takes the span of the next piece.
- Pieces that share one source character, by normalization ("½" is three characters) or as its
  bytes, all have the whole source character. Apart from these and the bare "▁", spans do not
  overlap.
- Characters that normalization drops belong to the piece before them; at a word's beginning and at
  the text's end, to none.
- Time and memory are linear in the length of the text, whatever it is made of.
"""

from spacy_deberta.tokenizers.encoding import Pieces, SurrogateWarning
from spacy_deberta.tokenizers.load import load_tokenizer
from spacy_deberta.tokenizers.training import SENTENCEPIECE_LAYOUT, train_unigram
from spacy_deberta.tokenizers.unigram import UnigramTokenizer

__all__ = [
    "SENTENCEPIECE_LAYOUT",
    "Pieces",
    "SurrogateWarning",
    "UnigramTokenizer",
    "load_tokenizer",
    "train_unigram",
]
