"""A packed batch through the encoder to token rows.

Training is one autograd graph, with torch's own backward, over the piece rows of the whole batch.
Prediction pools the piece rows of each micro-batch before the next one, so that the memory it needs
beyond its result does not grow with a document.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.thinc_layers.types import EncoderBatch, Integers, MicroBatch
from spacy_deberta.thinc_layers.windows import micro_batches

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder


def encode_batch(encoder: "DebertaEncoder", batch: EncoderBatch, pooling: str) -> Tensor:
    """Rows of all tokens of a batch, for training.

    Returns:
        (T, width) float32. Tokens without pieces have a row of zeros.
    """
    from spacy_deberta.encoder import pool_rows

    device = next(encoder.parameters()).device
    states = [_encode(encoder, part, device) for part in micro_batches(batch)]
    if not states:
        return torch.zeros(len(batch.rows_per_token), encoder.config.hidden_size, device=device)
    index = torch.from_numpy(batch.index).to(device)
    lengths = torch.from_numpy(batch.rows_per_token).to(device)
    return pool_rows(torch.cat(states), index, lengths, pooling).float()


def predict_batch(encoder: "DebertaEncoder", batch: EncoderBatch, pooling: str) -> list[Tensor]:
    """The same rows without a graph, for prediction.

    Returns:
        (n_tokens, width) float32 of each Doc, in memory of its own.
    """
    device = next(encoder.parameters()).device
    with torch.no_grad():
        found = _TokenRows(batch, pooling, encoder.config.hidden_size, device)
        for part in micro_batches(batch):
            found.add(part, _encode(encoder, part, device))
    return found.per_doc


class _TokenRows:
    """Token rows, filled in as micro-batches bring the rows of pieces.

    Rows of pieces are kept only of tokens that began in one micro-batch and go on in a later one.
    """

    def __init__(self, batch: EncoderBatch, pooling: str, width: int, device: torch.device) -> None:
        self.per_doc = [torch.zeros(n, width, device=device) for n in batch.n_tokens]
        self._first_tokens = np.cumsum([0, *batch.n_tokens])
        self._rows_per_token = batch.rows_per_token
        self._pooling = pooling
        self._unfinished: dict[int, list[Tensor]] = {}

    def add(self, part: MicroBatch, states: Tensor) -> None:
        """Take the piece rows (n, width) of the next micro-batch."""
        self._pool(part.tokens, states, part.index, part.rows_per_token)
        for token, index in part.split.items():  # pooled in part above: overwritten when complete
            pieces = self._unfinished.setdefault(token, [])
            pieces.append(states[torch.from_numpy(index).to(states.device)])
            n_pieces = sum(map(len, pieces))
            if n_pieces == self._rows_per_token[token]:
                joined = torch.cat(self._unfinished.pop(token))
                self._pool(np.array([token]), joined, np.arange(n_pieces), np.array([n_pieces]))

    def _pool(self, tokens: Integers, pieces: Tensor, index: Integers, lengths: Integers) -> None:
        """Write the rows of some tokens, ascending; the other arguments are those of pool_rows."""
        from spacy_deberta.encoder import pool_rows

        device = pieces.device
        rows = pool_rows(
            pieces,
            torch.from_numpy(index).to(device),
            torch.from_numpy(lengths).to(device),
            self._pooling,
        ).float()
        bounds = np.searchsorted(tokens, self._first_tokens)
        for doc in np.flatnonzero(np.diff(bounds)):
            mine = slice(bounds[doc], bounds[doc + 1])
            places = torch.from_numpy(tokens[mine] - self._first_tokens[doc]).to(device)
            self.per_doc[doc].index_copy_(0, places, rows[mine])


def _encode(encoder: "DebertaEncoder", part: MicroBatch, device: torch.device) -> Tensor:
    """(n, width) rows of the pieces of a micro-batch."""
    states: Tensor = encoder(
        torch.from_numpy(part.ids).to(device), part.lengths.tolist()
    ).last_hidden_state
    return states
