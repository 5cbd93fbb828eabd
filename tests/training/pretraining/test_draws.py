"""Random numbers computed from what they are for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.training.pretraining.draws import draw, epoch_key, sample_keys, shuffled

WRAP = 2**64


def split_mix(bits: int) -> int:
    """SplitMix64's scrambler in Python's own integers, as its authors print it."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % WRAP
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % WRAP
    return bits ^ (bits >> 31)


def keys_of(seed: int, epoch: int, samples: list[int]) -> np.ndarray:
    epoch_keys = np.full(len(samples), epoch_key(seed, epoch), dtype=np.uint64)
    return sample_keys(epoch_keys, np.asarray(samples))


@given(st.integers(-5, 2**70), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**5))
def test_numbers_are_those_of_the_written_arithmetic(
    seed: int, epoch: int, sample: int, place: int
) -> None:
    step = 0x9E3779B97F4A7C15
    key = split_mix((split_mix(seed % WRAP) + epoch) % WRAP)
    key = split_mix((key + sample * step) % WRAP)
    stream = 3 * 0xD1342543DE82EF95 % WRAP
    bits = split_mix((split_mix(key ^ stream) + place * step) % WRAP)
    found = draw(keys_of(seed, epoch, [sample]), 3, np.asarray([place]))
    assert found.tolist() == [(bits >> 11) / 2**53]


def test_numbers_are_uniform_and_independent_of_each_other() -> None:
    n = 200_000
    keys = np.repeat(keys_of(1, 2, list(range(n // 100))), 100)
    places = np.tile(np.arange(100), n // 100)
    first, second = draw(keys, 0, places), draw(keys, 1, places)
    other_epoch = draw(np.repeat(keys_of(1, 3, list(range(n // 100))), 100), 0, places)
    for numbers in (first, second, other_epoch):
        assert (numbers.min() >= 0, numbers.max() < 1) == (True, True)
        shares = np.bincount((numbers * 20).astype(int)) / n
        assert shares == pytest.approx(np.full(20, 0.05), abs=0.003)
    shifted = np.roll(first, 1)
    for other in (second, other_epoch, shifted):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.01


@given(st.integers(0, 200), st.integers(0, WRAP - 1))
def test_an_order_has_every_number_once(n: int, key: int) -> None:
    assert sorted(shuffled(key, n).tolist()) == list(range(n))


def test_orders_differ_by_seed_and_epoch() -> None:
    keys = [epoch_key(seed, epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(shuffled(key, 30).tolist()) for key in keys}) == 16
