"""Tokens, pieces and windows: arrays only, no spaCy, no torch, nothing about tasks.

    tokens (characters) ─┐
                         ├─ align.align_tokens ──> TokenAlignment: token -> pieces
    pieces (characters) ─┘                                  │
        │                                                   │ token_rows
        └─ windows.split_windows ──> Windows ─ merge_windows: piece -> row of the encoder's output
                                        │
              packing.pack_windows: which windows go through the encoder together

`sequences.lay_text` lays a text or a pair of texts into rows for a head that judges them as
a whole.

A text longer than the encoder's window is cut into windows that overlap; each is encoded as
[CLS] pieces [SEP]. A piece inside several windows has its row taken from the one where it sees most
context on its poorer side. Everything is vectorized: O(n log n) in the number of pieces at most.

"CSR" means a ragged list of lists as two arrays: all entries one after another, and the length of
each list.
"""

from spacy_deberta.alignment.align import TokenAlignment, TokenRows, align_tokens, token_rows
from spacy_deberta.alignment.packing import pack_windows
from spacy_deberta.alignment.sequences import Frame, LaidRow, LaidText, lay_text
from spacy_deberta.alignment.windows import Windows, merge_windows, split_windows, window_pieces

__all__ = [
    "Frame",
    "LaidRow",
    "LaidText",
    "TokenAlignment",
    "TokenRows",
    "Windows",
    "align_tokens",
    "lay_text",
    "merge_windows",
    "pack_windows",
    "split_windows",
    "token_rows",
    "window_pieces",
]
