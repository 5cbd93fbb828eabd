"""The attention of DeBERTa as its papers write it: plain, slow, and the specification.

Letters: B batch, H heads, L length, D head width, R rows of the position table in use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Relative:
    """The relative table as one layer sees it.

    Attributes:
        keys: (H, R, D) rows through the key side for content-to-position; None without c2p.
        queries: (H, R, D) rows through the query side for position-to-content; None without p2c.
        rows: (2 * L - 1,) row of each distance, ascending from -(L - 1), for the longest L.
        places: (B, Q) place of every query among the keys of its sequence; None = query i stands
            at key i. Other places than that are for the plain path alone.
        reach: from this distance on, either way, all distances read the same row; None = unknown.
        kept: where a path may keep what it makes of keys and queries, by the scale, for as long as
            they are the same; None = they are of this call alone.
    """

    keys: Tensor | None
    queries: Tensor | None
    rows: Tensor
    places: Tensor | None = None
    reach: int | None = None
    kept: dict[float, Any] | None = None

    def index(self, length: int) -> Tensor:
        """Table row of every query and key, by the distance between their places.

        Args:
            length: number of keys, K.

        Returns:
            (K, K), or (B, 1, Q, K) with places of their own.
        """
        longest = (self.rows.shape[0] + 1) // 2
        key = torch.arange(length, device=self.rows.device)
        query = key if self.places is None else self.places[:, None]
        return self.rows[query[..., None] - key + longest - 1]


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys and values of sequences of one length.

    Attributes:
        query: (B, H, L, D).
        key: (B, H, L, D).
        value: (B, H, L, D).
        keep: (B, L) bool, true = a real piece, with at least one in every row; None = all real.
        filled: keys before this place are known to be real in all sequences.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    keep: Tensor | None
    filled: int = 0


def relative_bias(query: Tensor, key: Tensor, relative: Relative) -> Tensor:
    """Sum the content-to-position and position-to-content terms.

    Args:
        query: (B, H, L, D).
        key: (B, H, L, D).
        relative: projected table rows and the row of each distance.

    Returns:
        (B, H, L, L).

    Source: He et al. 2021 (arXiv:2006.03654), eq. 4. The paper indexes the p2c term by the distance
    from key to query; the released code, and so the released weights, use the distance from query
    to key for both terms (microsoft/DeBERTa, disentangled_attention.py). We follow the weights.
    """
    index = relative.index(key.shape[-2]).expand(*query.shape[:2], -1, -1)
    bias = query.new_zeros(())
    if relative.keys is not None:
        c2p = query @ relative.keys.transpose(-1, -2)  # (B, H, L, R): by query and table row
        bias = bias + c2p.gather(-1, index)
    if relative.queries is not None:
        p2c = key @ relative.queries.transpose(-1, -2)  # (B, H, L, R): by key and table row
        bias = bias + p2c.gather(-1, index.transpose(-1, -2)).transpose(-1, -2)
    return bias


def attention_probabilities(heads: Heads, relative: Relative | None, *, scale: float) -> Tensor:
    """softmax(scale * (q.k + c2p + p2c)) over the real keys.

    Every product is scaled before it is formed, so that half precision overflows only when the
    scaled score itself would.

    Args:
        heads: queries, keys and the mask of real keys. Rows of padded queries are finite and mean
            nothing.
        relative: the position terms; None without relative attention.
        scale: factor on all three terms alike.

    Returns:
        (B, H, L, L): by query and key; 0 for padded keys.
    """
    query = heads.query * scale
    scores = query @ heads.key.transpose(-1, -2)
    if relative is not None:
        scores = scores + relative_bias(query, heads.key, scaled_queries(relative, scale))
    if heads.keep is not None:
        scores = scores.masked_fill(~heads.keep[:, None, None, :], float("-inf"))
    return scores.softmax(-1)


def attend_plain(
    heads: Heads, relative: Relative | None, *, scale: float, dropout: float
) -> Tensor:
    """Disentangled attention: the probabilities' mean of the values.

    Args:
        heads: queries, keys, values and the mask of real keys.
        relative: the position terms; None without relative attention.
        scale: factor on all three terms of a score alike.
        dropout: share of the attention probabilities to drop.

    Returns:
        (B, H, L, D) context.
    """
    probabilities = attention_probabilities(heads, relative, scale=scale)
    return F.dropout(probabilities, dropout) @ heads.value


def scaled_queries(relative: Relative, scale: float) -> Relative:
    """The same table with its query side scaled, for the term that holds no content query."""
    queries = None if relative.queries is None else relative.queries * scale
    return replace(relative, queries=queries)
