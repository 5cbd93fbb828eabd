"""Candidates of masks, words of several pieces, and several masks together."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.decoding.masks import (
    Candidate,
    ChainStep,
    Filling,
    MaskScores,
    allowed_pieces,
    best_pieces,
    chain_steps,
    chain_words,
    entropy,
    fill_jointly,
    log_probabilities,
    relative_shares,
)
from spacy_deberta.errors import ConfigError

N_PIECES = 4


def test_rows_beyond_the_tokenizer_and_special_pieces_are_no_text() -> None:
    allowed = allowed_pieces(6, ["[CLS]", "a", "[MASK]", "b"], {"[CLS]", "[MASK]"})
    assert allowed.tolist() == [False, True, False, True, False, False]
    assert allowed_pieces(2, ["a", "b", "c"], ()).tolist() == [True, True]


def test_probabilities_are_shared_by_allowed_pieces_only() -> None:
    logits = np.array([[1.0, 2.0, 50.0, 3.0]])
    allowed = np.array([True, True, False, True])
    found = np.exp(log_probabilities(logits, allowed))[0]
    total = math.exp(1) + math.exp(2) + math.exp(3)
    expected = [math.exp(1) / total, math.exp(2) / total, 0.0, math.exp(3) / total]
    assert found == pytest.approx(expected, rel=1e-6)
    assert logits[0, 2] == 50.0


def test_huge_logits_stay_finite() -> None:
    found = log_probabilities(np.array([[3e4, 3e4 - 1.0, -3e4]], dtype=np.float32))
    assert found[0, :2] == pytest.approx([-0.313262, -1.313262], abs=1e-5)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 14))
def test_the_best_pieces_are_those_of_a_full_sort(values: list[int], n: int) -> None:
    log_probs = np.array(values, dtype=np.float32)
    log_probs[log_probs == -3] = -np.inf
    possible = [i for i in range(len(values)) if log_probs[i] > -np.inf]
    expected = sorted(possible, key=lambda i: (-log_probs[i], i))[:n]
    assert [candidate.pieces for candidate in best_pieces(log_probs, n)] == [(i,) for i in expected]


def test_entropy_is_in_nats() -> None:
    assert entropy(np.log([0.5, 0.5])) == pytest.approx(math.log(2))
    assert entropy(np.array([0.0, -np.inf])) == 0.0


def test_words_share_the_rows_of_their_common_beginning() -> None:
    steps = chain_steps([(7,), (1, 2, 3), (1, 2, 4), (1, 5), (8,)])
    assert steps == {
        ChainStep(1, ()): (7, 8),
        ChainStep(3, ()): (1,),
        ChainStep(3, (1,)): (2,),
        ChainStep(3, (1, 2)): (3, 4),
        ChainStep(2, ()): (1,),
        ChainStep(2, (1,)): (5,),
    }


def test_the_score_of_a_word_is_that_of_its_chain() -> None:
    scores = {ChainStep(1): {7: -3.0}, ChainStep(2): {1: -1.5}, ChainStep(2, (1,)): {5: -2.5}}
    found = chain_words([(1, 5), (7,)], scores)
    assert found.candidates == (Candidate((7,), -3.0), Candidate((1, 5), -4.0))
    share = 1 / (1 + math.exp(-1))
    assert found.entropy == pytest.approx(
        -share * math.log(share) - (1 - share) * math.log(1 - share)
    )
    by_mean = chain_words([(1, 5), (7,)], scores, mean=True)
    assert by_mean.candidates == (Candidate((1, 5), -2.0), Candidate((7,), -3.0))


def test_equal_words_keep_the_given_order() -> None:
    scores = {ChainStep(1): {3: -1.0, 2: -1.0}}
    assert [word.pieces for word in chain_words([(3,), (2,)], scores).candidates] == [(3,), (2,)]


def test_relative_shares_add_up_to_one() -> None:
    assert relative_shares([math.log(0.1), math.log(0.3)]) == pytest.approx([0.25, 0.75])
    assert relative_shares([]) == []


# --- several masks -------------------------------------------------------------------------------


class Conditionals:
    """A model of three masks: any table of conditionals, as random as they come."""

    def __init__(self, n_masks: int, seed: int = 0) -> None:
        self.n_masks, self.seed, self.n_calls = n_masks, seed, 0

    def log_probs(self, filling: Filling, mask: int) -> np.ndarray:
        key = [0 if word is None else word[0] + 1 for word in filling]
        rng = np.random.default_rng([self.seed, mask, *key])
        return log_probabilities(rng.normal(size=(1, N_PIECES)) * 2)[0]

    def scores(self, filling: Filling) -> dict[int, MaskScores]:
        found = {}
        for mask in range(self.n_masks):
            if filling[mask] is None:
                row = self.log_probs(filling, mask)
                found[mask] = MaskScores(best_pieces(row, N_PIECES), entropy(row))
        return found

    def __call__(self, fillings: Sequence[Filling]) -> list[Mapping[int, MaskScores]]:
        self.n_calls += 1
        return [self.scores(filling) for filling in fillings]

    def first(self) -> list[MaskScores]:
        return list(self.scores((None,) * self.n_masks).values())

    def chain(self, pieces: Sequence[int]) -> float:
        """By hand: from left to right."""
        total = 0.0
        for mask, piece in enumerate(pieces):
            filling = (*((p,) for p in pieces[:mask]), *(None,) * (self.n_masks - mask))
            total += float(self.log_probs(filling, mask)[piece])
        return total


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_from_left_to_right_finds_the_best_chains(seed: int) -> None:
    model = Conditionals(3, seed)
    every = itertools.product(range(N_PIECES), repeat=3)
    expected = sorted(((model.chain(pieces), pieces) for pieces in every), reverse=True)[:5]
    found = fill_jointly(model.first(), model, width=64, order="left_to_right")[:5]
    assert [tuple(word[0] for word in one.pieces) for one in found] == [p for _, p in expected]
    assert [one.log_prob for one in found] == pytest.approx([score for score, _ in expected])
    assert model.n_calls == 2


def test_the_surest_mask_is_filled_first() -> None:
    sure = MaskScores((Candidate((1,), -0.1), Candidate((2,), -3.0)), 0.3)
    unsure = MaskScores((Candidate((3,), -1.0), Candidate((4,), -1.1)), 1.4)
    asked: list[Filling] = []

    def score(fillings: Sequence[Filling]) -> list[Mapping[int, MaskScores]]:
        asked.extend(fillings)
        return [{0: MaskScores((Candidate((9,), -0.5),), 0.0)} for _ in fillings]

    found = fill_jointly([unsure, sure], score, width=2)
    assert asked == [(None, (1,)), (None, (2,))]
    assert [one.pieces for one in found] == [((9,), (1,)), ((9,), (2,))]
    assert found[0].log_prob == pytest.approx(-0.6)


def test_a_filling_reached_in_two_orders_is_one() -> None:
    model = Conditionals(2, seed=3)
    found = fill_jointly(model.first(), model, width=16)
    assert len({one.pieces for one in found}) == len(found)
    assert all(a.log_prob >= b.log_prob for a, b in itertools.pairwise(found))


def test_one_mask_needs_no_further_call() -> None:
    model = Conditionals(1)
    found = fill_jointly(model.first(), model, width=2)
    assert [(one.pieces[0], one.log_prob) for one in found] == [
        (candidate.pieces, candidate.log_prob) for candidate in model.first()[0].candidates[:2]
    ]
    assert model.n_calls == 0


def test_a_beam_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="beam=0 keeps no filling"):
        fill_jointly([], Conditionals(0), width=0)
    with pytest.raises(ConfigError, match="order='random' is unknown; supported: 'confidence'"):
        fill_jointly([], Conditionals(0), order="random")  # type: ignore[arg-type]
