"""Products with the table by distance, read off through skewed views, a tile at a time.

A tile is some rows of one side of the attention (keys for position-to-content, queries for
content-to-position) against n neighbouring places of the other. Each row needs n distances, the
next one the same shifted by one: b rows need n + b - 1 (drawn in `skew`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from spacy_deberta.encoder.linear import pairwise
from spacy_deberta.encoder.scores import Relative

WHOLE = 256  # up to this length one tile is everything: smaller ones cost more calls than they save
TILE = 128  # rows of a tile beyond that


@dataclass(frozen=True, eq=False)
class Distances:
    """The projected table by distance.

    Attributes:
        falling: (H, 2 * far + 1, D) key side, distances from `far` down; None without c2p.
        rising: (H, 2 * far + 1, D) query side, distances from -`far` up; None without p2c.
        far: the largest distance.
    """

    falling: Tensor | None
    rising: Tensor | None
    far: int

    def of(self, heads: slice) -> Distances:
        """The same of some heads."""
        sides = (self.falling, self.rising)
        falling, rising = (None if rows is None else rows[heads] for rows in sides)
        return Distances(falling, rising, self.far)


@dataclass(frozen=True)
class Tile:
    """Some rows of one side against places of the other.

    Attributes:
        rows: their places.
        table: the rows of the table by distance that they need.
    """

    rows: slice
    table: slice


def expand(relative: Relative | None, far: int, scale: float) -> Distances:
    """The table by distance, its query side scaled as the queries are."""
    if relative is None:
        return Distances(None, None, far)
    longest = (relative.rows.shape[0] + 1) // 2
    rows = relative.rows[longest - 1 - far : longest + far]
    falling = rising = None
    if relative.keys is not None:
        falling = relative.keys.index_select(1, rows.flip(0))
    if relative.queries is not None:
        rising = relative.queries.index_select(1, rows) * scale
    return Distances(falling, rising, far)


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
        table = slice(start, start + width + stop - first - 1)
        yield Tile(slice(first, stop), table)


def by_place(rows: Tensor, table: Tensor) -> Tensor:
    """Products of each row with the table rows of its distances to n places.

    Args:
        rows: (H, B, b, D).
        table: (H, n + b - 1, D).

    Returns:
        (H, B, b, n), a view: [.., r, p] is the product with table row p - r + b - 1.
    """
    product = pairwise(rows.flatten(1, 2), table)
    return skewed(product, rows.shape[1])


def by_distance(by_place: Tensor) -> Tensor:
    """(H, B, b, n) back to (H, B * b, n + b - 1), zeros at distances that a row does not meet."""
    n_heads, count, rows, n_places = by_place.shape
    spread = by_place.new_zeros(n_heads, count * rows, n_places + rows - 1)
    skewed(spread, count).copy_(by_place)
    return spread


def skewed(by_distance: Tensor, count: int) -> Tensor:
    """(H, B * b, n + b - 1) contiguous to a view (H, B, b, n) that meets no element twice."""
    n_heads, n_rows, width = by_distance.shape
    rows = n_rows // count
    strides = (n_rows * width, rows * width, max(width - 1, 1), 1)
    shape = (n_heads, count, rows, width - rows + 1)
    return by_distance.as_strided(shape, strides, by_distance.storage_offset() + rows - 1)
