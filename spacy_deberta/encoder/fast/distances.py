"""Products with the table by distance, read off through skewed views, a tile at a time.

A tile is some rows of one side of the attention (keys for position-to-content, queries for
content-to-position) against n neighbouring places of the other. Each row needs n distances, the
next one the same shifted by one: b rows need n + b - 1 (drawn in `skew`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spacy_deberta.encoder.linear import pairwise
from spacy_deberta.encoder.scores import Relative
from spacy_deberta.encoder.table import SHORT

WHOLE = SHORT  # up to this length one tile is everything: smaller ones cost more than they save
TILE = 128  # rows of a tile beyond that
STEP = 32  # numbers; products as wide as a multiple of it start every row on a cache line


@dataclass(frozen=True, eq=False)
class Distances:
    """The projected table by distance, scaled.

    Attributes:
        falling: (H, W, D) key side, distances from `far` down to -`far`, and STEP - 1 rows that
            nobody reads; None without c2p.
        rising: (H, W, D) query side, distances from -`far` up, likewise; None without p2c.
        far: the largest distance.
        scale: the factor in both sides.
    """

    falling: Tensor | None
    rising: Tensor | None
    far: int
    scale: float

    def of(self, heads: slice) -> Distances:
        """The same of some heads."""
        sides = (self.falling, self.rising)
        falling, rising = (None if rows is None else rows[heads] for rows in sides)
        return Distances(falling, rising, self.far, self.scale)


@dataclass(frozen=True)
class Tile:
    """Some rows of one side against places of the other.

    Attributes:
        rows: their places.
        table: the rows of the table by distance that they need, rounded up to STEP.
    """

    rows: slice
    table: slice


def expand(relative: Relative | None, far: int, scale: float) -> Distances:
    """The table by distance, up to `far`."""
    if relative is None:
        return Distances(None, None, far, scale)
    longest = (relative.rows.shape[0] + 1) // 2
    rows = relative.rows[longest - 1 - far : longest + far]
    spare = rows[:1].expand(STEP - 1)
    falling = rising = None
    if relative.keys is not None:
        falling = relative.keys.index_select(1, torch.cat((rows.flip(0), spare))) * scale
    if relative.queries is not None:
        rising = relative.queries.index_select(1, torch.cat((rows, spare))) * scale
    return Distances(falling, rising, far, scale)


def expand_once(relative: Relative | None, far: int, scale: float) -> Distances:
    """The table by distance, up to `far` or farther; the one of all short sequences is kept."""
    n_known = 0 if relative is None else relative.rows.shape[0]
    if relative is None or relative.kept is None or far >= WHOLE or n_known < 2 * WHOLE - 1:
        return expand(relative, far, scale)
    if scale not in relative.kept:
        with torch.inference_mode(False), torch.no_grad():
            relative.kept[scale] = expand(relative, WHOLE - 1, scale)
    kept: Distances = relative.kept[scale]
    return kept


def tiles(rows: slice, others: slice, far: int) -> Iterator[Tile]:
    """Cut `rows` into tiles against all of `others`.

    Both sides count distances so that the first row and the last other place are farthest apart in
    one direction: queries from the key, falling; keys from the query, rising.
    """
    width = others.stop - others.start
    step = TILE if width > WHOLE else rows.stop - rows.start
    for first in range(rows.start, rows.stop, step):
        stop = min(first + step, rows.stop)
        start = others.start - (stop - 1) + far
        needed = width + stop - first - 1
        yield Tile(slice(first, stop), slice(start, start + needed + -needed % STEP))


def by_place(rows: Tensor, table: Tensor, n_places: int) -> Tensor:
    """Products of each row with the table rows of its distances to n places.

    Args:
        rows: (H, B, b, D).
        table: (H, W, D), of which n + b - 1 are read.
        n_places: n.

    Returns:
        (H, B, b, n), a view: [.., r, p] is the product with table row p - r + b - 1.
    """
    return skewed(pairwise(rows.flatten(1, 2), table), rows.shape[1:3], n_places)


def by_distance(by_place: Tensor, n_distances: int) -> Tensor:
    """(H, B, b, n) back to (H, B * b, W), zeros at distances that a row does not meet."""
    n_heads, count, rows, n_places = by_place.shape
    spread = by_place.new_zeros(n_heads, count * rows, n_distances)
    skewed(spread, (count, rows), n_places).copy_(by_place)
    return spread


def skewed(by_distance: Tensor, shape: Sequence[int], n_places: int) -> Tensor:
    """(H, B * b, W) contiguous to a view (H, B, b, n) that meets no element twice.

    Args:
        by_distance: products by distance, at least n + b - 1 wide.
        shape: B and b.
        n_places: n.
    """
    count, rows = shape
    n_heads, n_rows, width = by_distance.shape
    strides = (n_rows * width, rows * width, max(width - 1, 1), 1)
    return by_distance.as_strided(
        (n_heads, count, rows, n_places), strides, by_distance.storage_offset() + rows - 1
    )
