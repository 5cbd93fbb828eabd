"""Signed distances between pieces, and the row of the relative table that each one reads.

Pure functions on numpy integers: the map is tiny, is built once per length, and float64 on the CPU
gives the same buckets everywhere (a float32 logarithm on another device may round an edge over).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


def log_bucket(distance: Int64, *, buckets: int, max_distance: int) -> Int64:
    """Bucket of each signed distance: exact up to buckets // 2, logarithmic beyond.

    Odd and monotone. Distances beyond `max_distance` - 1 take the bucket of that distance, the
    farthest one that training saw; `transformers` goes on to a table row that was never trained.

    Args:
        distance: any shape, query index minus key index.
        buckets: half the height of the table.
        max_distance: the distance at which the buckets end, max_relative_positions.

    Source: He et al. 2021 (arXiv:2006.03654); microsoft/DeBERTa, da_utils.py, has this clamp.
    """
    middle = buckets // 2
    near = np.clip(distance, -(max_distance - 1), max_distance - 1)
    size = np.maximum(np.abs(near), middle).astype(np.float64)
    log_size = np.log(size / middle) / np.log((max_distance - 1) / middle) * (middle - 1)
    far = np.sign(near) * (np.ceil(log_size) + middle).astype(np.int64)
    return np.where(np.abs(near) <= middle, near, far)


def table_index(distance: Int64, *, buckets: int | None, max_distance: int) -> Int64:
    """Row of the relative table for each signed distance.

    Args:
        distance: any shape, query index minus key index.
        buckets: half the height of the table with log buckets, None without.
        max_distance: max_relative_positions; without buckets half the height of the table.
    """
    half = buckets or max_distance
    bucket = distance
    if buckets is not None:
        bucket = log_bucket(distance, buckets=buckets, max_distance=max_distance)
    return np.clip(bucket + half, 0, 2 * half - 1)


def clipped_rows(*, buckets: int | None, max_distance: int) -> Int64:
    """Rows of every distance that has a row of its own, ascending from -max_distance.

    Returns:
        (2 * max_distance + 1,); all distances beyond either end read the row there.
    """
    return distance_rows(max_distance + 1, buckets=buckets, max_distance=max_distance)


def distance_rows(length: int, *, buckets: int | None, max_distance: int) -> Int64:
    """Rows for all distances of sequences up to `length`, ascending from -(length - 1).

    Returns:
        (2 * length - 1,), monotone, so the rows in use are one contiguous range.
    """
    distance = np.arange(-(length - 1), length, dtype=np.int64)
    return table_index(distance, buckets=buckets, max_distance=max_distance)
