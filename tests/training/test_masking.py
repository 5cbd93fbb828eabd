"""Which pieces a masked language model has to predict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.tokenizers import BytePairTokenizer
from spacy_deberta.training.masking import MaskedBatch, Masking, WordHider, mask_words

MASK, FIRST, LAST = 99, 10, 90


def mask(
    pieces: np.ndarray, starts: np.ndarray, maskable: np.ndarray, share: float, seed: int = 0
) -> MaskedBatch:
    masking = Masking(share=share, mask_id=MASK, random_ids=(FIRST, LAST + 1))
    return mask_words(pieces, starts, maskable, masking, np.random.default_rng(seed))


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, word starts and what is maskable, of packed sequences with special pieces."""
    size = draw(st.integers(0, 60))
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    ids = st.lists(st.integers(FIRST, LAST), min_size=size, max_size=size)
    return np.asarray(draw(ids), int), np.asarray(draw(flags), bool), np.asarray(draw(flags), bool)


@given(batches(), st.floats(0, 1), st.integers(0, 1000))
def test_labels_are_what_stood_there_and_nothing_else_changes(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray], share: float, seed: int
) -> None:
    pieces, starts, maskable = batch
    before = pieces.copy()
    masked = mask(pieces, starts, maskable, share, seed)
    assert np.array_equal(pieces, before)
    assert np.array_equal(masked.labels, pieces[masked.targets])
    assert maskable[masked.targets].all()
    changed = np.flatnonzero(masked.pieces != pieces)
    assert set(changed) <= set(masked.targets)
    new = masked.pieces[changed]
    assert ((new == MASK) | ((new >= FIRST) & (new <= LAST))).all()


@given(batches(), st.integers(0, 1000))
def test_words_are_targets_as_a_whole_or_not_at_all(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    pieces, starts, maskable = batch
    targets = set(mask(pieces, starts, maskable, 0.5, seed).targets.tolist())
    for place in range(1, len(pieces)):
        if maskable[place] and maskable[place - 1] and not starts[place]:
            assert (place in targets) == (place - 1 in targets)


@given(batches())
def test_a_share_of_all_takes_all_and_of_none_takes_none(
    batch: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    pieces, starts, maskable = batch
    assert np.array_equal(mask(pieces, starts, maskable, 1.0).targets, np.flatnonzero(maskable))
    assert len(mask(pieces, starts, maskable, 0.0).targets) == 0


def test_shares_are_those_of_the_paper() -> None:
    """18 % of the words; of these 80 % hidden, 10 % another piece, 10 % as they were."""
    size = 100_000
    pieces = np.full(size, 5)  # outside the range of random pieces
    starts = np.random.default_rng(1).random(size) < 0.6
    masked = mask(pieces, starts, np.ones(size, bool), 0.18)
    assert len(masked.targets) / size == pytest.approx(0.18, abs=0.01)
    seen = masked.pieces[masked.targets]
    assert (seen == MASK).mean() == pytest.approx(0.8, abs=0.015)
    assert (seen == 5).mean() == pytest.approx(0.1, abs=0.01)
    others = seen[(seen != MASK) & (seen != 5)]
    assert (others.min(), others.max()) == (FIRST, LAST)


def test_the_same_seed_masks_the_same() -> None:
    pieces, all_true = np.arange(10, 60), np.ones(50, bool)
    first, again, other = (mask(pieces, all_true, all_true, 0.5, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.pieces, again.pieces)
    assert not np.array_equal(first.pieces, other.pieces)


def test_a_special_piece_ends_a_word() -> None:
    """A window may begin in the middle of a word: it is no part of the window before."""
    pieces, starts = np.asarray([20, 2, 30]), np.asarray([True, False, False])
    maskable = np.asarray([True, False, True])
    found = {
        tuple(mask(pieces, starts, maskable, 0.5, seed).targets.tolist()) for seed in range(40)
    }
    assert found == {(), (0,), (2,), (0, 2)}


def test_words_of_byte_pieces_begin_at_their_spaces(tiny_v1_tokenizer: BytePairTokenizer) -> None:
    pieces = tiny_v1_tokenizer.encode(" harbours mountains").ids.astype(np.int64)
    names = [tiny_v1_tokenizer.piece(number) for number in pieces]
    second = max(place for place, name in enumerate(names) if name.startswith("Ġ"))
    assert 1 < second < len(pieces) - 1
    hider = WordHider(tiny_v1_tokenizer, 0.5)
    found = {
        tuple(hider.hide(pieces, np.random.default_rng(seed)).targets.tolist())
        for seed in range(40)
    }
    first, last = tuple(range(second)), tuple(range(second, len(pieces)))
    assert found == {(), first, last, first + last}
