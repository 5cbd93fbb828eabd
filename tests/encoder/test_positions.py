"""Buckets and rows of the relative table, against recorded values of both public codes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spacy_deberta.encoder.positions import clipped_rows, distance_rows, log_bucket, table_index
from tests import oracle


def buckets_of(distances: list[int], *, buckets: int, max_distance: int) -> list[int]:
    array = np.asarray(distances, dtype=np.int64)
    return log_bucket(array, buckets=buckets, max_distance=max_distance).tolist()


# Recorded from the public implementations, which agree below the largest distance.
RECORDED = [
    (8, 16, list(range(16)), [0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7]),
    (32, 64, [*range(16, 25), 63], [16, 17, 18, 18, 19, 19, 20, 20, 21, 31]),
    (256, 512, [128, 129, 131, 132, 133, 140, 160], [128, 129, 131, 131, 132, 137, 149]),
    (256, 512, [200, 256, 300, 384, 448, 500], [169, 192, 207, 229, 243, 254]),
    (256, 512, [508, 509, 510, 511], [255, 255, 255, 255]),
]


@pytest.mark.parametrize(("buckets", "max_distance", "distances", "expected"), RECORDED)
def test_buckets_equal_the_recorded_ones(
    buckets: int, max_distance: int, distances: list[int], expected: list[int]
) -> None:
    assert buckets_of(distances, buckets=buckets, max_distance=max_distance) == expected


def test_all_buckets_of_v3_have_the_recorded_sum() -> None:
    assert sum(buckets_of(list(range(1, 512)), buckets=256, max_distance=512)) == 87_297


def test_distances_past_the_farthest_take_its_bucket() -> None:
    """Row 0 of the table was never trained; Microsoft's code never reads it, and we follow."""
    far = [512, 600, 1023, 10**6]
    assert buckets_of(far, buckets=256, max_distance=512) == [255] * 4
    rows = distance_rows(2000, buckets=256, max_distance=512)
    assert (rows.min(), rows.max()) == (1, 511)


def test_plain_clipping_ends_at_the_table() -> None:
    distances = np.asarray([-99, -5, -4, 0, 3, 4, 99])
    rows = table_index(distances, buckets=None, max_distance=4)
    assert rows.tolist() == [0, 0, 0, 4, 7, 7, 7]


@pytest.mark.parametrize(
    ("length", "distinct", "low", "high"),
    [(16, 31, 241, 271), (129, 257, 128, 384), (256, 385, 64, 448), (512, 511, 1, 511)],
)
def test_rows_in_reach_of_a_length(length: int, distinct: int, low: int, high: int) -> None:
    rows = distance_rows(length, buckets=256, max_distance=512)
    assert len(rows) == 2 * length - 1
    assert len(set(rows.tolist())) == distinct
    assert (rows[0], rows[-1]) == (low, high)


SHAPES = st.tuples(st.integers(2, 300), st.integers(3, 2000))


@given(SHAPES, st.lists(st.integers(-3000, 3000), min_size=1, max_size=30))
def test_buckets_are_odd_monotone_and_the_identity_up_to_half(
    shape: tuple[int, int], distances: list[int]
) -> None:
    buckets, max_distance = shape
    assume(max_distance - 1 > buckets // 2)
    ordered = sorted(distances)
    found = buckets_of(ordered, buckets=buckets, max_distance=max_distance)
    negated = [-distance for distance in ordered]
    assert buckets_of(negated, buckets=buckets, max_distance=max_distance) == [-b for b in found]
    assert found == sorted(found)
    near = [(d, b) for d, b in zip(ordered, found, strict=True) if abs(d) <= buckets // 2]
    assert all(distance == bucket for distance, bucket in near)
    assert max(map(abs, found)) < buckets


@given(SHAPES, st.integers(-3000, 3000), st.booleans())
def test_rows_equal_the_oracle(shape: tuple[int, int], distance: int, logarithmic: bool) -> None:
    buckets, max_distance = shape
    assume(max_distance - 1 > buckets // 2)
    half = buckets if logarithmic else None
    found = table_index(np.asarray([distance]), buckets=half, max_distance=max_distance)
    assert found[0] == oracle.table_row(distance, buckets=half, max_distance=max_distance)


@given(SHAPES, st.integers(-3000, 3000), st.booleans())
def test_distances_beyond_the_clipped_rows_read_the_rows_at_their_ends(
    shape: tuple[int, int], distance: int, logarithmic: bool
) -> None:
    buckets, max_distance = shape
    assume(max_distance - 1 > buckets // 2)
    half = buckets if logarithmic else None
    rows = clipped_rows(buckets=half, max_distance=max_distance)
    assert len(rows) == 2 * max_distance + 1
    found = rows[min(max(distance, -max_distance), max_distance) + max_distance]
    assert found == oracle.table_row(distance, buckets=half, max_distance=max_distance)
