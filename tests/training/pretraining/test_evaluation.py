"""Tallies: they say what a count by hand says, and add up."""

import math

import pytest
import torch
from torch import nn

from spacy_deberta.training.pretraining.evaluation import MaskedTally, ReplacedTally, evaluating


def test_scores_of_masked_pieces_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    scores = MaskedTally.count(logits, torch.tensor([0, 1])).scores()
    nats = (math.log(2) + math.log(4)) / 2
    assert scores["mlm_accuracy"] == 0.5
    assert scores["mlm_nats"] == pytest.approx(nats)
    assert scores["mlm_perplexity"] == pytest.approx(math.sqrt(8))


def test_scores_of_replaced_pieces_by_hand() -> None:
    #                     found  missed  false alarm  right  right  not judged
    logits = torch.tensor([2.0, -1.0, 3.0, -2.0, -0.5, 9.0])
    labels = torch.tensor([1, 1, 0, 0, 0, -1])
    tally = ReplacedTally.count(logits, labels)
    assert (tally.n_pieces, tally.n_found, tally.n_missed, tally.n_false) == (5, 1, 1, 1)
    scores = tally.scores()
    assert scores["rtd_precision"] == scores["rtd_recall"] == scores["rtd_f1"] == 0.5
    assert scores["rtd_accuracy"] == pytest.approx(3 / 5)
    assert scores["rtd_replaced"] == pytest.approx(2 / 5)
    signs = [(2.0, 1), (-1.0, 1), (3.0, -1), (-2.0, -1), (-0.5, -1)]
    nats = sum(math.log1p(math.exp(-logit * sign)) for logit, sign in signs) / 5
    assert scores["rtd_nats"] == pytest.approx(nats)


def test_tallies_of_batches_add_up_to_that_of_all() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 7, generator=random)
    labels = torch.randint(7, (20,), generator=random)
    parts = [MaskedTally.count(logits[a:b], labels[a:b]) for a, b in ((0, 3), (3, 3), (3, 20))]
    whole = MaskedTally.count(logits, labels).scores()
    assert sum(parts, MaskedTally()).scores() == pytest.approx(whole)
    verdicts, replaced = logits[:, 0], labels % 3 - 1
    pair = [ReplacedTally.count(verdicts[a:b], replaced[a:b]) for a, b in ((0, 9), (9, 20))]
    whole = ReplacedTally.count(verdicts, replaced).scores()
    assert sum(pair, ReplacedTally()).scores() == pytest.approx(whole)


def test_nothing_to_count_gives_zeros() -> None:
    empty = torch.empty(0)
    assert set(MaskedTally.count(torch.empty(0, 5), empty.long()).scores().values()) == {0.0}
    assert set(ReplacedTally.count(empty, empty.long()).scores().values()) == {0.0}


def test_a_perplexity_beyond_all_numbers_is_a_large_number() -> None:
    scores = MaskedTally(n_pieces=1, nats=1e4).scores()
    assert math.isfinite(scores["mlm_perplexity"])


def test_a_loss_that_is_no_number_stays_so() -> None:
    scores = MaskedTally(n_pieces=1, nats=math.nan).scores()
    assert math.isnan(scores["mlm_nats"])
    assert math.isnan(scores["mlm_perplexity"])


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_gives_the_mode_back_also_after_an_error(training: bool) -> None:
    module = nn.Linear(2, 2).train(training)
    with evaluating(module):
        assert not module.training
        assert not torch.is_grad_enabled()
    assert module.training is training
    with pytest.raises(KeyError), evaluating(module):
        raise KeyError
    assert module.training is training
