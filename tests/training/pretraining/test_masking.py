"""Which words a sample hides."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.errors import ConfigError
from spacy_deberta.tokenizers import BytePairTokenizer, Tokenizer, UnigramTokenizer
from spacy_deberta.training.masking import MaskedBatch
from spacy_deberta.training.pretraining.draws import epoch_key, sample_keys
from spacy_deberta.training.pretraining.masking import (
    SampleText,
    WordMasker,
    span_rate,
    span_tails,
)


def text_of(samples: list[list[int]], *, epoch: int = 0, first: int = 0) -> SampleText:
    sizes = np.asarray([len(sample) for sample in samples])
    numbers = np.arange(first, first + len(samples))
    keys = sample_keys(np.full(len(samples), epoch_key(7, epoch), dtype=np.uint64), numbers)
    pieces = np.concatenate([np.asarray(sample, dtype=np.int64) for sample in samples])
    return SampleText(pieces, sizes, np.zeros(len(pieces), dtype=bool), keys)


def word_of(tokenizer: Tokenizer, pieces: np.ndarray) -> np.ndarray:
    starts = [tokenizer.piece(int(p)).startswith(tokenizer.space_marker) for p in pieces]
    starts[0] = True
    return np.cumsum(starts)


def split(text: SampleText, masked: MaskedBatch) -> list[tuple[list[int], list[int]]]:
    """What is read and what is predicted of each sample."""
    ends = np.cumsum(text.sizes)
    found = []
    for start, end in zip(ends - text.sizes, ends, strict=True):
        mine = masked.targets[(masked.targets >= start) & (masked.targets < end)]
        found.append((masked.pieces[start:end].tolist(), (mine - start).tolist()))
    return found


@pytest.fixture(scope="module")
def word_pieces(tiny_tokenizer: UnigramTokenizer) -> list[int]:
    """Pieces that are words of their own."""
    ids = [tiny_tokenizer.piece_id(f"▁{word}") for word in ("the", "a", "river", "letter", "old")]
    assert None not in ids
    return [number for number in ids if number is not None]


few = settings(max_examples=40)
samples = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=20), min_size=1, max_size=6)


@few
@given(samples, st.floats(0, 1), st.integers(1, 4), st.floats(0, 1))
def test_labels_are_what_stood_there_and_nothing_else_changes(
    tiny_tokenizer: UnigramTokenizer,
    samples: list[list[int]],
    share: float,
    ngram: int,
    ngram_share: float,
) -> None:
    text = text_of(samples)
    before = text.pieces.copy()
    masked = WordMasker(tiny_tokenizer, ngram, ngram_share).mask(text, share)
    assert np.array_equal(text.pieces, before)
    assert np.array_equal(masked.labels, before[masked.targets])
    assert (np.diff(masked.targets) > 0).all()
    assert set(np.flatnonzero(masked.pieces != before)) <= set(masked.targets)
    special = {0, 1, 2, 3, tiny_tokenizer.mask_id}
    assert not special & set(masked.labels.tolist())
    new = masked.pieces[masked.pieces != before]
    assert not (special - {tiny_tokenizer.mask_id}) & set(new.tolist())


@few
@given(samples, st.integers(0, 5), st.permutations(range(6)))
def test_a_sample_is_masked_the_same_in_any_company(
    tiny_tokenizer: UnigramTokenizer, samples: list[list[int]], epoch: int, order: list[int]
) -> None:
    masker = WordMasker(tiny_tokenizer, 3, 1 / 3)
    text = text_of(samples, epoch=epoch)
    together = split(text, masker.mask(text, 0.3))
    for number in (number for number in order if number < len(samples)):
        alone = text_of([samples[number]], epoch=epoch, first=number)
        assert split(alone, masker.mask(alone, 0.3)) == [together[number]]


def test_epochs_and_samples_are_masked_differently(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int]
) -> None:
    masker = WordMasker(tiny_tokenizer, 3, 1 / 3)
    text = [word_pieces * 6] * 5
    found = set()
    for epoch in range(5):
        for _, targets in split(
            text_of(text, epoch=epoch), masker.mask(text_of(text, epoch=epoch), 0.3)
        ):
            found.add(tuple(targets))
    assert len(found) == 25


def test_words_are_hidden_whole(tiny_tokenizer: UnigramTokenizer) -> None:
    line = tiny_tokenizer.encode("harbours gardens remembering Warsaw cafés mountainous").ids
    words = word_of(tiny_tokenizer, line)
    assert words[-1] < len(line)
    text = text_of([line.tolist()] * 200)
    for _, targets in split(text, WordMasker(tiny_tokenizer, 2, 0.5).mask(text, 0.3)):
        hidden = np.isin(np.arange(len(line)), targets)
        for word in range(1, words[-1] + 1):
            assert len(set(hidden[words == word])) == 1


@pytest.mark.parametrize("share", [0.15, 0.3, 0.8])
@pytest.mark.parametrize(("ngram", "ngram_share"), [(1, 1 / 3), (3, 1 / 3), (3, 1.0), (5, 0.5)])
def test_every_place_has_the_share_of_masks(
    tiny_tokenizer: UnigramTokenizer,
    word_pieces: list[int],
    share: float,
    ngram: int,
    ngram_share: float,
) -> None:
    n, width = 8000, 30
    text = text_of([word_pieces * 6] * n)
    masked = WordMasker(tiny_tokenizer, ngram, ngram_share).mask(text, share)
    per_place = np.bincount(masked.targets % width, minlength=width) / n
    assert len(masked.targets) / (n * width) == pytest.approx(share, abs=0.006)
    assert per_place == pytest.approx(np.full(width, share), abs=0.025)


def test_a_third_of_the_masks_are_spans_of_two_or_three_words(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int]
) -> None:
    """With few masks no two touch: runs are what was drawn."""
    text = text_of([word_pieces * 40] * 6000)
    targets = WordMasker(tiny_tokenizer, 3, 1 / 3).mask(text, 0.01).targets
    runs = [len(list(run)) for _, run in groupby(enumerate(targets), lambda p: p[1] - p[0])]
    sizes = np.bincount(runs, minlength=5)
    assert (sizes[2] * 2 + sizes[3] * 3) / len(targets) == pytest.approx(1 / 3, abs=0.03)
    assert sizes[2] / sizes[3] == pytest.approx(3 / 2, rel=0.15)
    assert sizes[4:].sum() < 0.03 * len(runs)


def test_of_the_targets_8_in_10_are_hidden_and_1_replaced(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int]
) -> None:
    text = text_of([word_pieces * 20] * 1000)
    masked = WordMasker(tiny_tokenizer, 3, 1 / 3).mask(text, 0.3)
    seen = masked.pieces[masked.targets]
    kept, hidden = seen == masked.labels, seen == tiny_tokenizer.mask_id
    assert hidden.mean() == pytest.approx(0.8, abs=0.01)
    assert kept.mean() == pytest.approx(0.1, abs=0.01)
    others = set(seen[~kept & ~hidden].tolist())
    assert len(others) > 300  # of 350 pieces, all but the special ones
    for number in others:
        assert tiny_tokenizer.piece(number) not in tiny_tokenizer.added


def test_no_sample_is_read_for_nothing(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int]
) -> None:
    masker = WordMasker(tiny_tokenizer, 3, 1 / 3)
    text = text_of([word_pieces[:3]] * 2000)
    counts = [len(targets) for _, targets in split(text, masker.mask(text, 0.01))]
    assert min(counts) == 1
    unknown = text_of([[tiny_tokenizer.unk_id, word_pieces[0]]] * 200)
    assert masker.mask(unknown, 0.01).targets.tolist() == list(range(1, 400, 2))
    assert np.mean(counts) < 1.05
    chosen = masker.mask(text, 0.01).targets % 3
    assert np.bincount(chosen) / 2000 == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_a_share_of_none_takes_none_and_of_all_takes_all(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int]
) -> None:
    text = text_of([word_pieces, word_pieces[:2]])
    for ngram_share in (0.0, 1 / 3, 1.0):
        masker = WordMasker(tiny_tokenizer, 3, ngram_share)
        assert len(masker.mask(text, 0.0).targets) == 0
        assert masker.mask(text, 1.0).targets.tolist() == list(range(7))


def test_unknown_pieces_are_no_targets_but_the_rest_of_their_word_is(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    word = tiny_tokenizer.encode("gardens").ids.tolist()
    unknown = tiny_tokenizer.unk_id
    masker = WordMasker(tiny_tokenizer, 3, 1 / 3)
    text = text_of([[*word, unknown, word[-1]], [unknown, unknown], [tiny_tokenizer.mask_id]])
    n = len(word)
    assert masker.mask(text, 0.5).targets.tolist() == [*range(n), n + 1]


def test_marks_are_words_of_their_own(tiny_tokenizer: UnigramTokenizer) -> None:
    line = tiny_tokenizer.encode("it's a river.").ids.tolist()
    names = [tiny_tokenizer.piece(number) for number in line]
    assert names[-1] == "."
    text = text_of([line] * 300)
    found = split(text, WordMasker(tiny_tokenizer, 1, 0.0).mask(text, 0.3))
    last = len(line) - 1
    assert any(last in targets and last - 1 not in targets for _, targets in found)
    assert any(last not in targets and last - 1 in targets for _, targets in found)


def test_words_of_byte_pieces_begin_at_spaces_and_sentences(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    """Bytes of one character, such as the two of "é", are no marks."""
    line = tiny_v1_tokenizer.encode("harbours éé").ids.tolist()
    second = next(i for i, n in enumerate(line) if tiny_v1_tokenizer.piece(n).startswith("Ġ"))
    assert 1 < second < len(line) - 1
    masker = WordMasker(tiny_v1_tokenizer, 1, 0.0)
    text = text_of([line] * 100)
    found = {tuple(targets) for _, targets in split(text, masker.mask(text, 0.5))}
    assert found == {tuple(range(second)), tuple(range(second, len(line))), tuple(range(len(line)))}
    text.sentence_starts[1 :: len(line)] = True
    found = {tuple(targets) for _, targets in split(text, masker.mask(text, 0.5))}
    assert (0,) in found
    assert tuple(range(1, second)) in found


@given(st.integers(2, 8), st.floats(0, 1))
def test_spans_begin_as_often_as_their_share_needs(ngram: int, share: float) -> None:
    tails = span_tails(ngram)
    assert tails[0] == tails[1] == pytest.approx(1)
    assert tails == sorted(tails, reverse=True)
    rate = span_rate(share, tails)
    assert 0 <= rate <= 1
    assert 1 - np.prod([1 - rate * tail for tail in tails]) == pytest.approx(share, abs=1e-9)


def test_without_spans_all_words_are_chosen_alone() -> None:
    assert span_tails(1) == []
    assert span_rate(0.0, []) == 0.0


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_that_are_none_are_refused(
    tiny_tokenizer: UnigramTokenizer, word_pieces: list[int], share: float
) -> None:
    with pytest.raises(ConfigError, match=rf"^mask_share={share}: expected 0 to 1"):
        WordMasker(tiny_tokenizer, 3, 1 / 3).mask(text_of([word_pieces]), share)
