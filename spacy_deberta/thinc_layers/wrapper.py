"""A packed batch through the encoder to token rows.

Training is one autograd graph, with torch's own backward, over the piece rows of the whole batch.
Prediction pools the piece rows of each micro-batch before the next one, so that the memory it needs
beyond its result does not grow with a document.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.thinc_layers.types import EncoderBatch, Integers, MicroBatch
from spacy_deberta.thinc_layers.windows import micro_batches

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder


def encode_batch(
    encoder: "DebertaEncoder", batch: EncoderBatch, pooling: str, layers: Sequence[int] = ()
) -> Tensor:
    """Rows of all tokens of a batch, for training.

    Args:
        encoder: in the mode that is wanted.
        batch: the windows of Docs.
        pooling: the way from piece rows to token rows.
        layers: others to give beside the last one; 0 = the embeddings.

    Returns:
        (T, columns) float32: the rows of these layers, then of the last one. Tokens without pieces
        have a row of zeros.
    """
    from spacy_deberta.encoder import pool_rows

    device = next(encoder.parameters()).device
    states = [_encode(encoder, part, layers) for part in micro_batches(batch)]
    if not states:
        return torch.zeros(len(batch.rows_per_token), _columns(encoder, layers), device=device)
    index = torch.from_numpy(batch.index).to(device)
    lengths = torch.from_numpy(batch.rows_per_token).to(device)
    return pool_rows(torch.cat(states), index, lengths, pooling).float()


def predict_batch(
    encoder: "DebertaEncoder", batch: EncoderBatch, pooling: str, layers: Sequence[int] = ()
) -> list[Tensor]:
    """The same rows without a graph, for prediction.

    Returns:
        (n_tokens, columns) float32 of each Doc, in memory of its own.
    """
    device = next(encoder.parameters()).device
    with torch.no_grad():
        found = _TokenRows(batch, pooling, _columns(encoder, layers), device)
        for part in micro_batches(batch):
            found.add(part, _encode(encoder, part, layers))
    return found.per_doc


def attention_squares(encoder: "DebertaEncoder", batch: EncoderBatch) -> list[Tensor]:
    """Attention probabilities of each window, in packed order.

    Returns:
        (layers, heads, L, L) float32 of each window with L pieces, special ones included, on the
        CPU: how much each piece (query) takes from each.
    """
    squares = []
    with torch.no_grad():
        for part in micro_batches(batch):
            output = encoder(*_inputs(encoder, part), attentions=True)
            for window in zip(*output.attentions, strict=True):
                squares.append(torch.stack(window).float().cpu())
    return squares


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


def _encode(encoder: "DebertaEncoder", part: MicroBatch, layers: Sequence[int]) -> Tensor:
    """(n, columns) rows of the pieces of a micro-batch."""
    if not layers:
        states: Tensor = encoder(*_inputs(encoder, part)).last_hidden_state
        return states
    output = encoder(*_inputs(encoder, part), hidden_states=True)
    others = [output.hidden_states[layer] for layer in layers]
    return torch.cat([*others, output.last_hidden_state], dim=1)


def _inputs(encoder: "DebertaEncoder", part: MicroBatch) -> tuple[Tensor, list[int]]:
    device = next(encoder.parameters()).device
    return torch.from_numpy(part.ids).to(device), part.lengths.tolist()


def _columns(encoder: "DebertaEncoder", layers: Sequence[int]) -> int:
    return encoder.config.hidden_size * (len(layers) + 1)
