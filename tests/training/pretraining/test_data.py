"""Steps of a run: every piece once an epoch, the same on any number of processes."""

import tracemalloc
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.errors import ConfigError, DataError
from spacy_deberta.tokenizers import BytePairTokenizer, UnigramTokenizer
from spacy_deberta.training.corpus import PieceCorpus, write_corpus
from spacy_deberta.training.pretraining.data import Batch, Position, Samples, Step
from spacy_deberta.training.pretraining.settings import DataSettings

Documents = list[list[int]]  # sizes of the sentences of each document
documents = st.lists(st.lists(st.integers(1, 25), min_size=1, max_size=8), min_size=1, max_size=8)
budgets = st.integers(8, 150)
windows = st.integers(4, 24)
few = settings(max_examples=25)


def corpus_of(sizes: Documents) -> PieceCorpus:
    """Ordinary pieces; the number of a piece says where it stands, in a small corpus."""
    sentences = np.cumsum([size for document in sizes for size in document])
    ends = np.cumsum([sum(document) for document in sizes])
    pieces = 10 + np.arange(ends[-1]) % 300
    return PieceCorpus(pieces.astype(np.uint16), ends, sentences)


def samples_of(
    corpus: PieceCorpus, tokenizer: UnigramTokenizer, seed: int = 0, **changes: Any
) -> Samples:
    chosen = {"text": ("text.txt",), "micro_pieces": 50, **changes}
    return Samples(corpus, tokenizer, DataSettings(**chosen), seed)


def sequences_of(batches: list[Batch]) -> list[tuple[list[int], list[int], list[int]]]:
    """What is read, where to predict and what, of each sequence."""
    found = []
    for batch in batches:
        assert sum(batch.lengths) == len(batch.pieces)
        end = 0
        for length in batch.lengths:
            start, end = end, end + length
            mine = (batch.targets >= start) & (batch.targets < end)
            targets = (batch.targets[mine] - start).tolist()
            found.append((batch.pieces[start:end].tolist(), targets, batch.labels[mine].tolist()))
    return found


def original(sequence: tuple[list[int], list[int], list[int]]) -> list[int]:
    """What was there before anything was hidden."""
    pieces, targets, labels = sequence
    restored = dict(enumerate(pieces)) | dict(zip(targets, labels, strict=True))
    return list(restored.values())


def epoch_of(samples: Samples, pieces: int, window: int) -> list[Step]:
    """The steps of the first epoch and, in the last, perhaps some of the next."""
    steps, at = [], Position()
    while at.epoch == 0:
        steps.append(samples.step(at, pieces=pieces, window=window, mask_share=0.3))
        at = steps[-1].after
    return steps


@few
@given(documents, budgets, windows)
def test_an_epoch_reads_every_piece_once(
    tiny_tokenizer: UnigramTokenizer, sizes: Documents, pieces: int, window: int
) -> None:
    corpus = corpus_of(sizes)
    samples = samples_of(corpus, tiny_tokenizer)
    steps = epoch_of(samples, pieces, window)
    numbers = list(chain.from_iterable(step.samples for step in steps))
    n_samples = samples.n_samples(window)
    assert sorted(numbers[:n_samples]) == list(range(n_samples))
    sequences = [sequence for step in steps for sequence in sequences_of(step.batches)]
    texts = dict(zip(numbers, map(original, sequences), strict=True))
    assert {(text[0], text[-1]) for text in texts.values()} == {
        (tiny_tokenizer.cls_id, tiny_tokenizer.sep_id)
    }
    read = list(chain.from_iterable(texts[number][1:-1] for number in range(n_samples)))
    assert read == corpus.pieces.tolist()
    assert max(map(len, texts.values())) <= window


@few
@given(documents, budgets, windows)
def test_a_step_is_as_large_as_whole_samples_make_it(
    tiny_tokenizer: UnigramTokenizer, sizes: Documents, pieces: int, window: int
) -> None:
    samples = samples_of(corpus_of(sizes), tiny_tokenizer)
    steps = epoch_of(samples, pieces, window)
    for step, following in pairwise(steps):
        lengths = [length for batch in step.batches for length in batch.lengths]
        assert sum(lengths) <= pieces or len(lengths) == 1
        assert sum(lengths) + following.batches[0].lengths[0] > pieces
    for step in steps:
        assert step.counts.sequences == len(step.samples)
        assert step.counts.pieces == sum(sum(b.lengths) - 2 * len(b.lengths) for b in step.batches)
        assert step.counts.targets == sum(len(batch.targets) for batch in step.batches)
        assert all(sum(batch.lengths) <= 50 for batch in step.batches)
        assert all(len(batch.targets) >= len(batch.lengths) for batch in step.batches)


@few
@given(documents, budgets, windows, st.integers(1, 4))
def test_processes_together_read_what_one_would(
    tiny_tokenizer: UnigramTokenizer, sizes: Documents, pieces: int, window: int, world: int
) -> None:
    samples = samples_of(corpus_of(sizes), tiny_tokenizer)
    start = Position(1, 1)
    chosen = {"pieces": pieces, "window": window, "mask_share": 0.3}
    whole = samples.step(start, **chosen)
    parts = [samples.step(start, rank=rank, world=world, **chosen) for rank in range(world)]
    assert {part.counts for part in parts} == {whole.counts}
    assert {part.after for part in parts} == {whole.after}
    assert list(chain.from_iterable(part.samples for part in parts)) == whole.samples
    together = [sequence for part in parts for sequence in sequences_of(part.batches)]
    assert together == sequences_of(whole.batches)
    read = [sum(len(batch.pieces) for batch in part.batches) for part in parts]
    assert all(abs(n - sum(read) / world) <= window for n in read)


@few
@given(documents, budgets, windows)
def test_going_on_anywhere_is_running_through(
    tiny_tokenizer: UnigramTokenizer, sizes: Documents, pieces: int, window: int
) -> None:
    corpus = corpus_of(sizes)
    steps = epoch_of(samples_of(corpus, tiny_tokenizer, seed=3), pieces, window)
    starts = [Position(), *(step.after for step in steps[:-1])]
    fresh = samples_of(corpus, tiny_tokenizer, seed=3)
    for start, step in reversed(list(zip(starts, steps, strict=True))):
        again = fresh.step(start, pieces=pieces, window=window, mask_share=0.3)
        assert (again.samples, again.after, again.counts) == (step.samples, step.after, step.counts)
        assert sequences_of(again.batches) == sequences_of(step.batches)


@few
@given(documents, st.lists(budgets, min_size=1, max_size=20), windows)
def test_another_layout_of_batches_changes_no_sample(
    tiny_tokenizer: UnigramTokenizer, sizes: Documents, changing: list[int], window: int
) -> None:
    corpus = corpus_of(sizes)
    steps = epoch_of(samples_of(corpus, tiny_tokenizer), 40, window)
    one_way = [sequence for step in steps for sequence in sequences_of(step.batches)]
    other, at, another_way = samples_of(corpus, tiny_tokenizer, micro_pieces=24), Position(), []
    for number in range(10_000):
        if at.epoch or len(another_way) >= len(one_way):
            break
        pieces = changing[number % len(changing)]
        step = other.step(at, pieces=pieces, window=window, mask_share=0.3)
        another_way += sequences_of(step.batches)
        at = step.after
    n_both = min(len(one_way), len(another_way))
    assert n_both >= other.n_samples(window)
    assert one_way[:n_both] == another_way[:n_both]


def test_epochs_and_seeds_have_orders_and_masks_of_their_own(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    corpus = corpus_of([[7, 9, 8]] * 60)
    seen = {}
    for seed in (0, 1):
        samples = samples_of(corpus, tiny_tokenizer, seed=seed)
        for epoch in (0, 1):
            step = samples.step(Position(epoch), pieces=10_000, window=12, mask_share=0.3)
            n_samples = samples.n_samples(12)
            by_sample = dict(zip(step.samples, sequences_of(step.batches), strict=False))
            assert step.samples[:n_samples] != sorted(step.samples[:n_samples])
            seen[seed, epoch] = (tuple(step.samples), str(sorted(by_sample.items())))
    assert len({order for order, _ in seen.values()}) == 4
    assert len({masks for _, masks in seen.values()}) == 4


def test_a_step_larger_than_the_corpus_reads_it_again(tiny_tokenizer: UnigramTokenizer) -> None:
    samples = samples_of(corpus_of([[10], [10]]), tiny_tokenizer)
    step = samples.step(Position(), pieces=12 * 5, window=12, mask_share=0.3)
    assert [sorted(step.samples[:2]), sorted(step.samples[2:4])] == [[0, 1], [0, 1]]
    assert step.counts.sequences == 5
    assert step.after == Position(2, 1)
    one_by_one = []
    for epoch in range(3):
        alone = samples.step(Position(epoch), pieces=24, window=12, mask_share=0.3)
        assert alone.after == Position(epoch + 1, 0)
        one_by_one += sequences_of(alone.batches)
    assert sequences_of(step.batches) == one_by_one[:5]


def test_a_place_behind_the_last_sample_is_the_next_epoch(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    """So is one of shorter windows, of which there were more."""
    samples = samples_of(corpus_of([[10]] * 6), tiny_tokenizer)
    chosen = {"pieces": 24, "window": 12, "mask_share": 0.3}
    first = samples.step(Position(1, 0), **chosen)
    for place in (6, 40):
        again = samples.step(Position(0, place), **chosen)
        assert (again.samples, again.after) == (first.samples, Position(1, 2))


def test_processes_without_samples_know_the_counts(tiny_tokenizer: UnigramTokenizer) -> None:
    samples = samples_of(corpus_of([[10]]), tiny_tokenizer)
    chosen = {"pieces": 12, "window": 12, "mask_share": 0.3}
    steps = [samples.step(Position(), rank=rank, world=3, **chosen) for rank in range(3)]
    assert sorted(len(step.batches) for step in steps) == [0, 0, 1]
    assert {step.counts.sequences for step in steps} == {1}


def test_evaluation_is_the_same_every_time(tiny_tokenizer: UnigramTokenizer) -> None:
    """For every seed, and from all over the corpus."""
    corpus = corpus_of([[40]] * 30)
    first, again, other = (
        sequences_of(samples_of(corpus, tiny_tokenizer, seed=seed).fixed(10, 0.15, 128))
        for seed in (0, 0, 1)
    )
    assert first == again == other
    assert len(first) == 10
    starts = [original(sequence)[1] for sequence in first]
    assert starts == corpus.pieces[: 30 * 40 : 120].tolist()
    assert len(samples_of(corpus, tiny_tokenizer).fixed(1000, 0.15, 128)) == 30


def test_a_sentence_begins_a_word_of_byte_pieces(
    tmp_path: Path, tiny_v1_tokenizer: BytePairTokenizer
) -> None:
    """The first word of a line has no space before it."""
    (tmp_path / "text.txt").write_text("the old river\nwinter evening" * 30, encoding="utf-8")
    corpus = write_corpus([tmp_path / "text.txt"], tiny_v1_tokenizer, tmp_path)
    chosen = DataSettings(text=("text.txt",), ngram=1)
    samples = Samples(corpus, tiny_v1_tokenizer, chosen, 0)
    assert corpus.sentences is not None
    starts = corpus.sentences.tolist()
    found = set()
    for epoch in range(40):
        step = samples.step(Position(epoch), pieces=500, window=500, mask_share=0.3)
        targets = set((step.batches[0].targets - 1).tolist())
        found |= {(place - 1 in targets, place in targets) for place in starts[:-1]}
    assert found == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("window", [2, 51])
def test_windows_that_cannot_be_read_are_refused(
    tiny_tokenizer: UnigramTokenizer, window: int
) -> None:
    samples = samples_of(corpus_of([[10]]), tiny_tokenizer)
    message = rf"^window={window}: expected 3 to data\.micro_pieces=50 pieces; set data\.micro"
    with pytest.raises(ConfigError, match=message):
        samples.step(Position(), pieces=100, window=window, mask_share=0.3)


def test_pieces_that_the_tokenizer_does_not_have_are_named(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    corpus = corpus_of([[10]])
    corpus.pieces[7] = 60_000
    samples = samples_of(replace(corpus, source="folder"), tiny_tokenizer)
    message = r"^folder: piece 7 has number 60000, expected numbers below 3\d\d, the tokenizer's"
    with pytest.raises(DataError, match=message):
        samples.step(Position(), pieces=100, window=20, mask_share=0.3)


def test_a_corpus_of_another_tokenizer_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, tiny_v1_tokenizer: BytePairTokenizer
) -> None:
    (tmp_path / "text.txt").write_text("the old river", encoding="utf-8")
    corpus = write_corpus([tmp_path / "text.txt"], tiny_tokenizer, tmp_path)
    message = (
        rf"^{tmp_path}: was tokenized with another tokenizer \(corpus\.json: checksum \w{{12}}, "
        r"\d+ pieces; found \w{12}, 512 pieces\)\. Tokenize the texts again"
    )
    with pytest.raises(DataError, match=message):
        Samples(corpus, tiny_v1_tokenizer, DataSettings(text=("text.txt",)), 0)


def test_a_corpus_stays_on_disk(tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> None:
    """Eight million pieces of two bytes: opening takes the documents' ends, a run the windows'."""
    n_pieces, sentence, document = 8_000_000, 25, 1000
    (tmp_path / "text.txt").write_text("the old river", encoding="utf-8")
    meta = write_corpus([tmp_path / "text.txt"], tiny_tokenizer, tmp_path).meta
    assert meta is not None
    np.full(n_pieces, 20, dtype=np.uint16).tofile(tmp_path / "pieces.u16")
    np.arange(sentence, n_pieces + 1, sentence).tofile(tmp_path / "sentences.i64")
    np.save(tmp_path / "documents.npy", np.arange(document, n_pieces + 1, document))
    old = (tmp_path / "corpus.json").read_text()
    new = old.replace(f'"n_pieces": {meta.n_pieces}', f'"n_pieces": {n_pieces}')
    new = new.replace('"n_sentences": 1', f'"n_sentences": {n_pieces // sentence}')
    (tmp_path / "corpus.json").write_text(new)

    tracemalloc.start()
    corpus = PieceCorpus.open(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 500_000
    samples = samples_of(corpus, tiny_tokenizer, micro_pieces=128)
    n_samples = samples.n_samples(128)
    tracemalloc.reset_peak()
    for epoch in range(3):
        samples.step(Position(epoch, 5), pieces=2000, window=128, mask_share=0.3)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20 * n_samples + 300_000
    assert peak < 60 * n_samples + 1_000_000 < 2 * n_pieces
