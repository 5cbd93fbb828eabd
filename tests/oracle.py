"""Slow, independent forms of the maths, element by element; shares no code with the package.

Everything is written for one head of one sequence, from the paper's formulas and the released
models' index rule, so that a mistake in a helper of the package cannot hide in both.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def bucket(distance: int, *, buckets: int, max_distance: int) -> int:
    """Log bucket of one signed distance; distances past the farthest count as the farthest."""
    half = buckets // 2
    size = min(abs(distance), max_distance - 1)
    if size > half:
        share = math.log(size / half) / math.log((max_distance - 1) / half)
        size = half + math.ceil(share * (half - 1))
    return size if distance >= 0 else -size


def table_row(distance: int, *, buckets: int | None, max_distance: int) -> int:
    """Row of the relative table that the signed distance i - j reads."""
    if buckets is None:
        return min(max(distance + max_distance, 0), 2 * max_distance - 1)
    return bucket(distance, buckets=buckets, max_distance=max_distance) + buckets


def attend(
    qkv: tuple[Tensor, Tensor, Tensor],
    position_key: Tensor | None,
    position_query: Tensor | None,
    *,
    row_of: dict[int, int],
    scale: float,
) -> Tensor:
    """Context (L, D) of one head of one sequence without padding.

    Args:
        qkv: (L, D) each.
        position_key: (S, D) rows for content-to-position; None without.
        position_query: (S, D) rows for position-to-content; None without.
        row_of: table row of every signed distance i - j.
        scale: factor on the sum of the terms.
    """
    query, key, value = qkv
    contexts = []
    for i in range(len(query)):
        scores = []
        for j in range(len(key)):
            score = (query[i] * key[j]).sum()
            if position_key is not None:
                score = score + (query[i] * position_key[row_of[i - j]]).sum()
            if position_query is not None:
                score = score + (key[j] * position_query[row_of[i - j]]).sum()
            scores.append(score * scale)
        weights = torch.stack(scores).exp()
        weights = weights / weights.sum()
        contexts.append(sum(weights[j] * value[j] for j in range(len(key))))
    return torch.stack(contexts)  # type: ignore[arg-type]


def pool(rows: Tensor, tokens: Sequence[Sequence[int]], pooling: str) -> Tensor:
    """One row per token, from the rows of its pieces."""
    pooled = []
    for pieces in tokens:
        mine = [rows[piece] for piece in pieces]
        if not mine:
            pooled.append(torch.zeros_like(rows[0]))
        elif pooling == "first":
            pooled.append(mine[0])
        elif pooling == "last":
            pooled.append(mine[-1])
        elif pooling == "max":
            pooled.append(torch.stack(mine).amax(0))  # equal values share the gradient evenly
        else:
            total = sum(mine[1:], mine[0])
            pooled.append(total / len(mine) if pooling == "mean" else total)
    return torch.stack(pooled)
