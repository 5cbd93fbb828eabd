"""Words of texts; masked accuracy, pseudo-perplexity and bits per character."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import BytePairTokenizer, Tokenizer, UnigramTokenizer
from spacy_deberta.training.scoring import (
    Copy,
    MaskedScorer,
    Predictions,
    read_passages,
    read_texts,
    score_running_text,
)
from spacy_deberta.training.scoring.running_text import cut_passages, hide_words
from tests.tiny import TEXTS
from tests.training.test_scoring import make_model


class FixedScorer:
    """Finds every piece equally probable."""

    def __init__(self, nats: float, longest: int | None = None) -> None:
        self.nats, self.longest = nats, longest
        self.seen: list[Copy] = []

    def predict(self, copies: Sequence[Copy]) -> Predictions:
        self.seen += copies
        n_targets = sum(len(copy.targets) for copy in copies)
        return Predictions(np.full(n_targets, -self.nats), np.zeros(n_targets, dtype=bool))


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "n_words"),
    [
        ("the old river", 3),
        ("London can't.", 3),
        ("can\u2019t", 1),
        ("'quoted'", 3),
        ("well-known, 1903!", 6),
        ("  two  \n spaces ", 2),
        ("कि है", 2),
        ("a $5", 3),
        ("", 0),
    ],
)
def test_words_are_runs_of_letters_and_single_symbols(
    text: str, n_words: int, tiny_tokenizer: UnigramTokenizer
) -> None:
    (found,) = read_texts([text], tiny_tokenizer)
    assert found.n_words == n_words
    assert set(found.words.tolist()) <= set(range(n_words))


@pytest.mark.parametrize("kind", ["tiny_tokenizer", "tiny_v1_tokenizer"])
def test_pieces_belong_to_the_word_that_they_stand_in(
    kind: str, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    words = ["Marie", "Curie", "can't", "reopen", "Straße", ",", "London", "."]
    text = "Marie Curie can't reopen Straße, London."
    (found,) = read_texts([text], tokenizer)
    assert found.n_words == len(words)
    for number, word in enumerate(words):
        joined = tokenizer.decode(found.ids[found.words == number].tolist())
        assert joined.strip() == word


# --- running text --------------------------------------------------------------------------------


def test_a_coin_flip_costs_one_bit_a_piece(tiny_tokenizer: UnigramTokenizer) -> None:
    report = score_running_text(TEXTS, FixedScorer(math.log(2)), tiny_tokenizer)
    n_pieces = sum(len(tiny_tokenizer.encode(text)) for text in TEXTS)
    n_characters = sum(map(len, TEXTS))
    assert (report.n_passages, report.n_pieces) == (len(TEXTS), n_pieces)
    assert report.n_characters == n_characters
    for name in ("pll", "pll_word_l2r"):
        assert report.bits_per_character[name] == pytest.approx(n_pieces / n_characters)
        assert report.pseudo_perplexity[name] == pytest.approx(2)
    assert report.masked_nats == pytest.approx(math.log(2))
    assert report.masked_accuracy == 0.0
    assert report.n_unknown == 0


def test_a_model_reads_the_fixed_mask(tiny_tokenizer: UnigramTokenizer) -> None:
    model = make_model()
    report = score_running_text(TEXTS, MaskedScorer(model, tiny_tokenizer), tiny_tokenizer)
    nats = []
    for copy in hide_words(read_texts(TEXTS, tiny_tokenizer), None):
        ids = copy.ids.copy()
        ids[copy.hidden] = tiny_tokenizer.mask_id
        sequence = torch.tensor([[tiny_tokenizer.cls_id, *ids, tiny_tokenizer.sep_id]])
        with torch.no_grad():
            logits = model(sequence).logits[0, 1:-1].double().log_softmax(-1)
        nats += [-logits[place, copy.ids[place]].item() for place in copy.targets]
    assert report.n_masked == len(nats) > 0
    assert report.masked_nats == pytest.approx(sum(nats) / len(nats), abs=1e-5)


def test_every_vocabulary_has_the_same_words_hidden(
    tiny_tokenizer: UnigramTokenizer, tiny_v1_tokenizer: BytePairTokenizer
) -> None:
    lines = [" ".join(TEXTS[:2] * 4)] * 40
    hidden = []
    for tokenizer in (tiny_tokenizer, tiny_v1_tokenizer):
        texts = read_texts(lines, tokenizer)
        copies = hide_words(texts, None)
        assert all(np.array_equal(copy.hidden, copy.targets) for copy in copies)
        # Texts without a hidden word have no copy; in this many words each has one.
        pairs = zip(texts, copies, strict=True)
        hidden.append([sorted(set(text.words[copy.hidden].tolist())) for text, copy in pairs])
    assert hidden[0] == hidden[1]
    share = sum(map(len, hidden[0])) / sum(text.n_words for text in texts)
    assert 0.12 < share < 0.18
    assert len({tuple(words) for words in hidden[0]}) > 30  # other words in each
    assert hide_words(texts[:5], None)[4].hidden.tolist() == copies[4].hidden.tolist()


def test_texts_longer_than_the_model_reads_are_cut(tiny_tokenizer: UnigramTokenizer) -> None:
    scorer = FixedScorer(1.0, longest=10)
    report = score_running_text(TEXTS, scorer, tiny_tokenizer)
    assert 5 <= max(len(copy.ids) for copy in scorer.seen) <= 10
    assert report.pseudo_perplexity["pll"] == pytest.approx(math.e)
    real = MaskedScorer(make_model(max_position_embeddings=12), tiny_tokenizer)
    assert real.longest == 10
    assert score_running_text(TEXTS, real, tiny_tokenizer).n_pieces == report.n_pieces


def test_passages_are_whole_sentences_where_they_fit() -> None:
    assert cut_passages("One two. Three! Four?", 16) == ["One two. Three!", "Four?"]
    assert cut_passages("a bb ccc dddd. E.", 8) == ["a bb ccc", "dddd. E."]
    assert cut_passages("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert cut_passages("U.S. law is  law.", 100) == ["U.S. law is  law."]


def test_only_the_first_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("One. Two.\n\nThree.\n \nFour.\n", encoding="utf-8")
    assert read_passages(file, 2) == ["One. Two.", "Three."]
    assert read_passages(file) == ["One. Two.", "Three.", "Four."]
    file.write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"text\.txt: holds no text to score"):
        read_passages(file)
