"""A packed batch through the encoder to token rows: one autograd graph, torch's own backward."""

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_deberta.thinc_layers.types import EncoderBatch

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder


def encode_batch(encoder: "DebertaEncoder", batch: EncoderBatch, pooling: str) -> Tensor:
    """Rows of all tokens of a batch.

    Returns:
        (T, width) float32. Tokens without pieces have a row of zeros.
    """
    from spacy_deberta.encoder import pool_rows

    device = next(encoder.parameters()).device
    states = [
        encoder(ids.to(device), lengths.tolist()).last_hidden_state
        for ids, lengths in _micro_batches(batch)
    ]
    if not states:
        return torch.zeros(len(batch.rows_per_token), encoder.config.hidden_size, device=device)
    index = torch.from_numpy(batch.index).to(device)
    lengths = torch.from_numpy(batch.rows_per_token).to(device)
    return pool_rows(torch.cat(states), index, lengths, pooling).float()


def _micro_batches(batch: EncoderBatch) -> list[tuple[Tensor, Tensor]]:
    """Pieces and window lengths of each micro-batch."""
    ids = torch.from_numpy(batch.ids)
    lengths = torch.from_numpy(batch.lengths)
    windows = list(pairwise(accumulate(batch.n_windows, initial=0)))
    parts = [lengths[start:end] for start, end in windows]
    n_pieces = [int(part.sum()) for part in parts]
    return list(zip(ids.split(n_pieces), parts, strict=True)) if parts else []
