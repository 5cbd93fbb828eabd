"""The encoder: torch only, no files, no spaCy.

Read in this order:

    positions.py    distances -> rows of the relative table            pure functions
    scores.py       the attention formula, plain                       the specification
    fast/           the same formula, fast                             compared with it in tests
    paths.py        the table of those paths
    linear.py, dropout.py   products and random numbers by the fastest that torch carries
    cache.py        what depends on weights alone, until they change
    packing.py      a batch: real pieces plus lengths, no padded rectangle
    inputs.py       what may be given beside piece ids
    embeddings.py, table.py, attention.py, layer.py, convolution.py -> encoder.py      the modules
    pooling.py      rows of tokens from rows of pieces
"""

from spacy_deberta.encoder.encoder import DebertaEncoder, EncoderOutput, RectangleOutput
from spacy_deberta.encoder.inputs import EncoderInputs
from spacy_deberta.encoder.paths import PATHS
from spacy_deberta.encoder.pooling import POOLINGS, check_pooling, pool_rows

__all__ = [
    "PATHS",
    "POOLINGS",
    "DebertaEncoder",
    "EncoderInputs",
    "EncoderOutput",
    "RectangleOutput",
    "check_pooling",
    "pool_rows",
]
