"""Attention whose position terms are read off a matrix product through a skewed view, no gather.

Both terms depend on a content row and on the distance only. Multiplying all content rows with the
table expanded to distances gives a matrix whose diagonals are the wanted terms; dropping the first
L - 1 and the last entry of its flattened form and folding it again puts them into columns:

        u ->  0  1  2  3  4               j ->  0  1  2
    i=0       .  .  a  b  c               i=0   a  b  c
    i=1       .  d  e  f  .        ->     i=1   d  e  f        (L = 3, 2L - 1 = 5 distances)
    i=2       g  h  i  .  .               i=2   g  h  i
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.encoder.scores import Heads, Relative, scaled_queries


def attend_skew(heads: Heads, relative: Relative | None, *, scale: float, dropout: float) -> Tensor:
    """`scores.attend_plain` by skewed views and torch's fused attention.

    Args:
        heads: queries, keys, values and the mask of real keys.
        relative: the position terms; None without relative attention.
        scale: factor on all three terms alike.
        dropout: share of the attention probabilities to drop.

    Returns:
        (B, H, L, D) context.
    """
    query = heads.query * scale
    bias = None
    if relative is not None:
        bias = skewed_bias(query, heads.key, scaled_queries(relative, scale))
    if heads.keep is not None:
        blocked = (~heads.keep)[:, None, None, :]
        zeros = query.new_zeros(blocked.shape) if bias is None else bias
        bias = zeros.masked_fill(blocked, float("-inf"))
    return F.scaled_dot_product_attention(
        query, heads.key, heads.value, attn_mask=bias, dropout_p=dropout, scale=1.0
    )


def skewed_bias(query: Tensor, key: Tensor, relative: Relative) -> Tensor | None:
    """The sum of `scores.relative_bias`, (B, H, L, L); None when neither term is there."""
    length = query.shape[-2]
    longest = (relative.rows.shape[0] + 1) // 2
    rows = relative.rows[longest - length : longest + length - 1]  # ascending distances
    c2p = p2c = None
    if relative.keys is not None:
        c2p = skew(query @ relative.keys.index_select(1, rows.flip(0)).transpose(-1, -2))
    if relative.queries is not None:
        by_key = skew(key @ relative.queries.index_select(1, rows).transpose(-1, -2))
        p2c = by_key.transpose(-1, -2)
    if c2p is None or p2c is None:
        return c2p if p2c is None else p2c
    return c2p + p2c


def skew(by_distance: Tensor) -> Tensor:
    """Columns of the diagonals: out[i, j] = in[i, L - 1 - i + j].

    Args:
        by_distance: (..., L, 2 * L - 1).

    Returns:
        (..., L, L), a view where the input is contiguous.
    """
    skewed: Tensor = _Skew.apply(by_distance.contiguous())  # type: ignore[no-untyped-call]
    return skewed


def _diagonals(by_distance: Tensor) -> Tensor:
    """The strided view behind `skew`; it meets no element twice."""
    *batch, length, distances = by_distance.shape
    strides = (*by_distance.stride()[:-2], max(distances - 1, 1), 1)
    first = by_distance.storage_offset() + length - 1
    return by_distance.as_strided((*batch, length, length), strides, first)


class _Skew(torch.autograd.Function):
    """The view, with a backward that fills one matrix instead of one per slice."""

    @staticmethod
    def forward(ctx: Any, by_distance: Tensor) -> Tensor:
        ctx.shape = by_distance.shape
        return _diagonals(by_distance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        below = gradients[0].new_zeros(ctx.shape)
        _diagonals(below).copy_(gradients[0])
        return below
