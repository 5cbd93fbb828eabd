"""Attention by tiles: score buffers filled in place, so that memory grows with L, not L².

The scores of a block of queries against all keys are one buffer, filled in this order:

    1. position-to-content   by tiles of keys: a key meets only its distances to these queries
    2. content-to-position   by tiles of queries, likewise
    3. content-to-content    added by the product itself

From `Relative.reach` on, all distances read one row of the table: there, a score gets the sum of
one number of the query and one of the key.

With gradients the block is the whole sequence, and the scores have a backward of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacy_deberta.encoder.dropout import dropout as drop
from spacy_deberta.encoder.fast.distances import (
    TILE,
    Distances,
    by_distance,
    by_place,
    expand,
    expand_once,
    tiles,
)
from spacy_deberta.encoder.fast.softmax import softmax
from spacy_deberta.encoder.linear import add_pairwise_, pairwise
from spacy_deberta.encoder.scores import Heads, Relative

BLOCK = 512  # queries whose scores are in memory at once
BUFFER_BYTES = 2**22  # of scores: as many heads are taken together as stay in the cores' caches


def attend_tiles(
    heads: Heads, relative: Relative | None, *, scale: float, dropout: float
) -> Tensor:
    """`scores.attend_plain` by tiles.

    Args:
        heads: queries, keys, values and the mask of real keys.
        relative: the position terms; None without relative attention.
        scale: factor on all three terms alike.
        dropout: share of the attention probabilities to drop.

    Returns:
        (B, H, L, D) context.
    """
    length = heads.query.shape[-2]
    trained = torch.is_grad_enabled()
    block = length if trained else min(length, BLOCK)
    reach = length if trained or relative is None else relative.reach or length
    lay_out = expand if trained else expand_once
    # Query and key are read several times, and slowly unless each head's rows are together.
    rows = _Rows(
        heads.query.transpose(0, 1).contiguous(),
        heads.key.transpose(0, 1).contiguous(),
        heads.value.transpose(0, 1),
        distances=lay_out(relative, min(length - 1, reach + BLOCK + TILE), scale),
        blocked=None if heads.keep is None else ~heads.keep[:, None, heads.filled :],
        reach=reach,
    )
    return _attend_whole(rows, dropout) if trained else _attend_by_blocks(rows, block, dropout)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Heads first.

    Attributes:
        query: (H, B, L, D).
        key: (H, B, L, D).
        value: (H, B, L, D).
        distances: the position terms by distance.
        blocked: (B, 1, n) bool of the last n keys, true = no real piece; None = all are.
        reach: from this distance on, all read one row.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    distances: Distances
    blocked: Tensor | None
    reach: int


def _attend_by_blocks(rows: _Rows, block: int, dropout: float) -> Tensor:
    """(B, H, L, D), with one buffer of scores for all blocks and heads."""
    n_heads, count, length, width = rows.query.shape
    context = rows.query.new_empty(count, length, n_heads, width)
    groups = list(_head_groups(rows.query, block))
    buffer = rows.query.new_empty(groups[0].stop * count * block * length)
    for group in groups:
        query, key, distances = rows.query[group], rows.key[group], rows.distances.of(group)
        values = rows.value[group].flatten(0, 1).transpose(-1, -2)
        for start in range(0, length, block):
            places = slice(start, min(start + block, length))
            mine = query[:, :, places]
            shape = (*mine.shape[:-1], length)
            scores = buffer[: mine.shape[:-1].numel() * length].view(shape)
            _fill_scores(scores, mine, key, distances, places=places, reach=rows.reach)
            if rows.blocked is not None:
                _block(scores, rows.blocked)
            weights = drop(softmax(scores), dropout).flatten(0, 1)
            found = pairwise(weights, values).unflatten(0, shape[:2])
            context[:, places, group] = found.permute(1, 2, 0, 3)
    return context.transpose(1, 2)


def _attend_whole(rows: _Rows, dropout: float) -> Tensor:
    """(B, H, L, D), differentiable."""
    distances = rows.distances
    tables = distances.falling, distances.rising
    scores: Tensor = _Scores.apply(  # type: ignore[no-untyped-call]
        rows.query, rows.key, *tables, distances.scale, rows.blocked
    )
    return (drop(scores.softmax(-1), dropout) @ rows.value).transpose(0, 1)


def _head_groups(query: Tensor, block: int) -> Iterator[slice]:
    """Heads to take together: as many as share the buffer, at least one."""
    n_heads, count, length, _ = query.shape
    together = max(1, BUFFER_BYTES // (count * block * length * query.element_size()))
    for first in range(0, n_heads, together):
        yield slice(first, min(first + together, n_heads))


def _fill_scores(
    scores: Tensor, query: Tensor, key: Tensor, distances: Distances, *, places: slice, reach: int
) -> None:
    """Write the sum of all three terms.

    Args:
        scores: (H, B, Q, L), of a block of queries.
        query: (H, B, Q, D).
        key: (H, B, L, D).
        distances: of these heads; their scale is that of all three terms.
        places: where the block's queries stand.
        reach: from this distance on, all read one row.
    """
    length = key.shape[2]
    near = slice(max(0, places.start - reach + 1), min(length, places.stop + reach - 1))
    _fill_near(scores[..., near], query, key, distances, places=places, near=near)
    if near.start > 0:
        _fill_far(scores[..., : near.start], query, key[:, :, : near.start], distances, before=True)
    if near.stop < length:
        _fill_far(scores[..., near.stop :], query, key[:, :, near.stop :], distances, before=False)
    add_pairwise_(scores.flatten(0, 1), query.flatten(0, 1), key.flatten(0, 1), distances.scale)


def _fill_near(
    scores: Tensor, query: Tensor, key: Tensor, distances: Distances, *, places: slice, near: slice
) -> None:
    """Write both position terms for the keys `near`, of which the scores hold one column each."""
    if distances.rising is None:
        scores.zero_()
    else:
        for tile in tiles(near, places, distances.far):
            table = distances.rising[:, tile.table]
            term = by_place(key[:, :, tile.rows], table, query.shape[2])
            scores[..., _shifted(tile.rows, near)] = term.transpose(-1, -2)
    if distances.falling is not None:
        for tile in tiles(places, near, distances.far):
            mine = _shifted(tile.rows, places)
            table = distances.falling[:, tile.table]
            scores[:, :, mine] += by_place(query[:, :, mine], table, scores.shape[-1])


def _fill_far(
    scores: Tensor, query: Tensor, key: Tensor, distances: Distances, *, before: bool
) -> None:
    """Write both position terms for keys of which all, before or after, read one row each."""
    first, last = 0, 2 * distances.far
    by_query, by_key = query.new_zeros(()), query.new_zeros(())
    if distances.falling is not None:
        by_query = query @ distances.falling[:, None, first if before else last, :, None]
    if distances.rising is not None:
        row = distances.rising[:, None, last if before else first, :, None]
        by_key = (key @ row).transpose(-1, -2)
    torch.add(by_query.expand_as(scores), by_key, out=scores)


def _block(scores: Tensor, blocked: Tensor) -> None:
    """No attention to keys that are blocked, (B, 1, n) of the last n."""
    scores[..., scores.shape[-1] - blocked.shape[-1] :].masked_fill_(blocked, float("-inf"))


def _shifted(places: slice, base: slice) -> slice:
    return slice(places.start - base.start, places.stop - base.start)


class _Scores(torch.autograd.Function):
    """Scores of whole sequences, (H, B, L, L), with the gradient of every factor.

    Blocked keys, the last ones of a row, get -inf; the softmax passes no gradient to them.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  (what a Function saves has to be its arguments)
        ctx: Any,
        query: Tensor,
        key: Tensor,
        falling: Tensor | None,
        rising: Tensor | None,
        scale: float,
        blocked: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(query, key, falling, rising)
        ctx.scale = scale
        length = query.shape[2]
        places, distances = slice(0, length), Distances(falling, rising, length - 1, scale)
        scores = query.new_empty(*query.shape[:-1], length)
        for group in _head_groups(query, length):
            mine = (scores[group], query[group], key[group], distances.of(group))
            _fill_scores(*mine, places=places, reach=length)
        if blocked is not None:
            _block(scores, blocked)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, falling, rising = ctx.saved_tensors
        above = gradients[0]
        below = [torch.empty_like(query), torch.empty_like(key)]
        tables = [None if table is None else torch.zeros_like(table) for table in (falling, rising)]
        for group in _head_groups(query, query.shape[2]):
            up, q, k = above[group], query[group], key[group]
            turned = up.transpose(-1, -2)
            for side, (mine, other, gradient) in enumerate(((q, k, up), (k, q, turned))):
                products = pairwise(gradient.flatten(0, 1), other.flatten(0, 1).transpose(-1, -2))
                torch.mul(products.view_as(mine), ctx.scale, out=below[side][group])
                table, by_table = (falling, rising)[side], tables[side]
                if table is not None and by_table is not None:
                    by_table[group] = _backward_by_place(
                        mine, table[group], gradient, below[side][group]
                    )
        return *below, *tables, None, None


def _backward_by_place(rows: Tensor, table: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """What `distances.by_place` of whole sequences passes on.

    Args:
        rows: (H, B, L, D).
        table: (H, W, D), of which 2 * L - 1 rows are read.
        above: (H, B, L, L), the gradient of the products by place of the rows.
        below: (H, B, L, D), to which the gradient of the rows is added.

    Returns:
        The gradient of the table.
    """
    by_table = torch.zeros_like(table)
    places = slice(0, rows.shape[2])
    for tile in tiles(places, places, places.stop - 1):
        spread = by_distance(above[:, :, tile.rows], tile.table.stop - tile.table.start)
        mine = rows[:, :, tile.rows].flatten(1, 2)
        found = pairwise(spread, table[:, tile.table].transpose(-1, -2))
        below[:, :, tile.rows] += found.view_as(below[:, :, tile.rows])
        by_table[:, tile.table] += pairwise(spread.transpose(-1, -2), mine.transpose(-1, -2))
    return by_table
