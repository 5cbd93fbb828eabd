"""A narrower piece table: `embedding_size` below the encoder's width, and a projection after it.

A vocabulary of 25,000 pieces at width 384 is most of a small encoder's size. The rows of a trained
table lie close to a subspace: the one that keeps most of their squared length, each row weighted by
how often its piece is read, so that frequent pieces stay nearly exact and rare ones pay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.tokenizers import Tokenizer

WEIGHT_POWER = 0.75  # of the counts; 0.5 and 0 left last layers 2 and 6 times as far off (rank 192)
READ_POSITIONS = 128  # rows of absolute positions that most texts reach
COUNTED_LINES = 100_000  # enough to rank pieces

_PIECES = "embeddings.pieces.weight"
_NARROWED = (_PIECES, "embeddings.positions.weight", "embeddings.types.weight")


def count_pieces(tokenizer: Tokenizer, lines: Iterable[str], size: int) -> Tensor:
    """(size,) how often each piece stands in the first lines."""
    counts = np.zeros(size, dtype=np.int64)
    for line in islice(lines, COUNTED_LINES):
        counts += np.bincount(tokenizer.encode(line).ids, minlength=size)
    return torch.from_numpy(counts)


def factorize_pieces(encoder: DebertaEncoder, counts: Tensor, width: int) -> DebertaEncoder:
    """The encoder whose piece and position rows are the nearest ones of this width.

    Args:
        encoder: with a piece table as wide as its layers.
        counts: (vocab_size,) how often each piece was read in running text.
        width: of the new tables, the config's `embedding_size`.

    Raises:
        ConfigError: a width that is not below the encoder's, or a table that is narrow already.
    """
    config = encoder.config
    if config.embedding_size != config.hidden_size or not 0 < width < config.hidden_size:
        raise ConfigError(
            f"embedding_size={width}: expected less than hidden_size={config.hidden_size}, of an "
            f"encoder whose piece table has that width; found {config.embedding_size}."
        )
    state = encoder.state_dict()
    tables = {name: state[name] for name in state if name in _NARROWED}
    basis = _basis(tables, counts, width)
    for name, table in tables.items():
        state[name] = table @ basis
    state["embeddings.projection.weight"] = basis.contiguous()
    narrowed = DebertaEncoder(replace(config, embedding_size=width))
    narrowed.load_state_dict(state)
    return narrowed.eval()


def _basis(tables: dict[str, Tensor], counts: Tensor, width: int) -> Tensor:
    """(hidden_size, width) orthonormal columns that keep most of the weighted rows."""
    weights = (counts.double() + 1) ** WEIGHT_POWER
    weighted = [tables[_PIECES].double() * weights[:, None].sqrt()]
    for name in _NARROWED[1:]:
        if name in tables:  # each of these rows stands in as many sums as all pieces together
            read = tables[name][:READ_POSITIONS].double()
            weighted.append(read * (weights.sum() / len(read)).sqrt())
    rows = torch.cat(weighted)
    vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors  # ascending
    return vectors[:, -width:].to(tables[_PIECES].dtype)
