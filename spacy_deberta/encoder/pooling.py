"""Rows of tokens from rows of pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from spacy_deberta.errors import ConfigError

POOLINGS = ("mean", "first", "last", "max", "sum")


def check_pooling(pooling: str) -> None:
    """Refuse a name that stands for no pooling."""
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling={pooling!r} is unknown; supported: {', '.join(POOLINGS)}.")


def pool_rows(rows: Tensor, index: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """One row per token from the rows of its pieces.

    Args:
        rows: (N, W) rows of pieces.
        index: (M,) rows of the pieces of each token, one token after the other.
        lengths: (T,) pieces of each token, adding up to M.
        pooling: one of POOLINGS.

    Returns:
        (T, W); zeros for a token without pieces. Differentiable in `rows`.

    Raises:
        ConfigError: unknown pooling.
    """
    check_pooling(pooling)
    if index.shape[0] == 0:
        return rows.new_zeros(lengths.shape[0], rows.shape[1]) + rows[:0].sum()
    if pooling in ("first", "last"):
        return _one_piece(rows, index, lengths, first=pooling == "first")
    if pooling == "max":
        return _largest(rows, index, lengths)
    reduced = torch.segment_reduce(
        rows.index_select(0, index), pooling, lengths=lengths, axis=0, unsafe=True, initial=None
    )
    filled = (lengths > 0)[:, None]
    return torch.where(filled, reduced, torch.zeros_like(reduced))


def _largest(rows: Tensor, index: Tensor, lengths: Tensor) -> Tensor:
    """Like segment_reduce, whose gradient is wrong where equal pieces share a negative one."""
    width = rows.shape[1]
    token = torch.repeat_interleave(torch.arange(len(lengths), device=rows.device), lengths)
    zeros = rows.new_zeros(len(lengths), width)
    pieces = rows.index_select(0, index)
    place = token[:, None].expand(-1, width)
    return zeros.scatter_reduce(0, place, pieces, "amax", include_self=False)


def _one_piece(rows: Tensor, index: Tensor, lengths: Tensor, *, first: bool) -> Tensor:
    ends = lengths.cumsum(0)
    place = (ends - lengths if first else ends - 1).clamp(0, index.shape[0] - 1)
    return rows.index_select(0, index[place]) * (lengths > 0)[:, None]
