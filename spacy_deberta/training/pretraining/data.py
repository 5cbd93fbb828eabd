"""Samples of a corpus, and the steps made of them: what each process reads, and when.

    corpus ── windows.py ──> samples ── shuffled per epoch ──> global batch ── masking.py
                                                                    │
            rank 0: micro-batch, micro-batch, ...   <── cut ────────┤
            rank 1: micro-batch, ...                <───────────────┘

Everything follows from (corpus, settings, seed, position): no state, so a run goes on wherever it
was stopped, on any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from spacy_deberta.errors import ConfigError, DataError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.corpus import Int64, PieceCorpus
from spacy_deberta.training.masking import Bool, MaskedBatch
from spacy_deberta.training.pretraining.draws import UInt64, epoch_key, sample_keys, shuffled
from spacy_deberta.training.pretraining.masking import SampleText, WordMasker
from spacy_deberta.training.pretraining.windows import window_edges

if TYPE_CHECKING:
    from spacy_deberta.training.pretraining.settings import DataSettings

_AROUND: Final = 2  # [CLS] and [SEP]
_EVALUATION_SEED: Final = 0x0E7A1  # evaluations of all runs see the same masks
_EVALUATION_WINDOW: Final = 128  # pieces


@dataclass(frozen=True)
class Position:
    """Where the next sample comes from.

    Counted in samples of the window in use; one behind the last sample is the next epoch's first.
    """

    epoch: int = 0
    sample: int = 0


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch.

    Attributes:
        pieces: (N,) ids to read: [CLS] text [SEP] per sequence, concatenated, some hidden.
        lengths: pieces of each sequence.
        targets: (M,) places in `pieces` to predict.
        labels: (M,) what stood there.
    """

    pieces: Int64
    lengths: list[int]
    targets: Int64
    labels: Int64


@dataclass(frozen=True)
class Counts:
    """Of the global batch, all processes together.

    Attributes:
        pieces: without special ones.
        targets: pieces to predict.
        sequences: samples.
    """

    pieces: int
    targets: int
    sequences: int


@dataclass(frozen=True, eq=False)
class Step:
    """What one process reads in one step.

    Attributes:
        batches: its micro-batches; none where there are fewer samples than processes.
        counts: of the global batch.
        samples: numbers of its samples, for the log when a step goes wrong.
        after: where the next step begins.
    """

    batches: list[Batch]
    counts: Counts
    samples: list[int]
    after: Position


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Samples of a global batch: (S,) numbers and keys of their draws."""

    samples: Int64
    keys: UInt64
    after: Position


class Samples:
    """A corpus cut into windows, in an order of its own every epoch.

    Holds no more than the windows' edges and their order; the pieces stay on disk.

    Args:
        corpus: what to read.
        tokenizer: that the corpus was made with.
        settings: micro-batches and masks.
        seed: of order and masks.

    Raises:
        DataError: the corpus was made with another tokenizer.
    """

    def __init__(
        self, corpus: PieceCorpus, tokenizer: Tokenizer, settings: DataSettings, seed: int
    ) -> None:
        corpus.check_tokenizer(tokenizer)
        self._corpus = corpus
        self._pieces = np.asarray(corpus.pieces)  # still on disk, without memmap's slow slices
        self._n_vocab = tokenizer.n_pieces
        self._ends = (tokenizer.cls_id, tokenizer.sep_id)
        self._micro_pieces = settings.micro_pieces
        self._masker = WordMasker(tokenizer, settings.ngram, settings.ngram_share)
        self._seed = seed
        self._edges: dict[int, Int64] = {}
        self._order: tuple[tuple[int, int], Int64] = ((-1, -1), np.zeros(0, dtype=np.int64))

    def n_samples(self, window: int) -> int:
        """Samples of an epoch."""
        return len(self._edges_of(window)) - 1

    def step(
        self,
        start: Position,
        *,
        pieces: int,
        window: int,
        mask_share: float,
        rank: int = 0,
        world: int = 1,
    ) -> Step:
        """The next step: as many samples as fit, cut among processes by their pieces.

        Args:
            start: where the step before ended.
            pieces: most pieces of the global batch, [CLS] and [SEP] included; one sample at least.
            window: most pieces of a sample, the same. Another window is another set of samples.
            mask_share: share of words to predict.
            rank: number of this process.
            world: number of processes.

        Raises:
            ConfigError: a window that no text fits into, or that no micro-batch has room for.
            DataError: the corpus has pieces that the tokenizer does not have.
        """
        chosen = self._choose(start, pieces, window)
        text = self._read(chosen, window)
        masked = self._masker.mask(text, mask_share)
        counts = Counts(len(text.pieces), len(masked.targets), len(text.sizes))
        mine = _share_of(text.sizes + _AROUND, rank, world)
        batches = self._micro_batches(text.sizes, masked, mine)
        samples = chosen.samples[mine.start : mine.stop].tolist()
        return Step(batches, counts, samples, chosen.after)

    def fixed(self, n_sequences: int, mask_share: float, longest: int) -> list[Batch]:
        """Batches for evaluations: the same every time and for every seed.

        Args:
            n_sequences: samples, evenly from all over the corpus; all if it has fewer.
            mask_share: share of words to predict.
            longest: pieces of a sample, at most.
        """
        window = min(_EVALUATION_WINDOW, self._micro_pieces, longest)
        n_samples = self.n_samples(window)
        samples = np.arange(min(n_sequences, n_samples)) * n_samples // min(n_sequences, n_samples)
        epoch_keys = np.full(len(samples), epoch_key(_EVALUATION_SEED, 0), dtype=np.uint64)
        chosen = _Chosen(samples, sample_keys(epoch_keys, samples), Position())
        text = self._read(chosen, window)
        masked = self._masker.mask(text, mask_share)
        return self._micro_batches(text.sizes, masked, range(len(samples)))

    def _choose(self, start: Position, pieces: int, window: int) -> _Chosen:
        """The samples from a position on, over the ends of epochs if need be."""
        edges = self._edges_of(window)
        n_samples = len(edges) - 1
        epoch, sample, room = start.epoch, start.sample, pieces
        samples: list[Int64] = []
        keys: list[UInt64] = []
        while True:
            if sample >= n_samples:
                epoch, sample = epoch + 1, 0
            # No sample has fewer than three pieces, so that more than these cannot fit.
            part = self._order_of(epoch, window)[sample : sample + 1 + room // (1 + _AROUND)]
            filled = np.cumsum(edges[part + 1] - edges[part] + _AROUND)
            fitting = int(np.searchsorted(filled, room, side="right"))
            if not samples:
                fitting = max(1, fitting)
            if not fitting:
                break
            samples.append(part[:fitting])
            epoch_keys = np.full(fitting, epoch_key(self._seed, epoch), dtype=np.uint64)
            keys.append(sample_keys(epoch_keys, samples[-1]))
            room -= int(filled[fitting - 1])
            sample += fitting
            if sample < n_samples:
                break
        return _Chosen(np.concatenate(samples), np.concatenate(keys), Position(epoch, sample))

    def _read(self, chosen: _Chosen, window: int) -> SampleText:
        """The pieces of samples, from disk."""
        edges = self._edges_of(window)
        begins = edges[chosen.samples]
        sizes = edges[chosen.samples + 1] - begins
        places = _ranges(begins, sizes)
        pieces = self._pieces[places].astype(np.int64)
        if pieces.max() >= self._n_vocab:
            wrong = int(np.argmax(pieces >= self._n_vocab))
            raise DataError(
                f"{self._corpus.source}: piece {places[wrong]} has number {pieces[wrong]}, "
                f"expected numbers below {self._n_vocab}, the tokenizer's. The file is damaged or "
                "of another tokenizer; tokenize the texts again."
            )
        return SampleText(pieces, sizes, self._sentence_starts(begins, sizes), chosen.keys)

    def _sentence_starts(self, begins: Int64, sizes: Int64) -> Bool:
        """(N,) true where a sentence begins inside a sample."""
        starts = np.zeros(int(sizes.sum()), dtype=bool)
        if self._corpus.sentences is not None:
            sentences = np.asarray(self._corpus.sentences)
            first = np.searchsorted(sentences, begins, side="right")
            counts = np.searchsorted(sentences, begins + sizes) - first
            shift = np.cumsum(sizes) - sizes - begins
            starts[sentences[_ranges(first, counts)] + np.repeat(shift, counts)] = True
        return starts

    def _micro_batches(self, sizes: Int64, masked: MaskedBatch, mine: range) -> list[Batch]:
        """Some samples in batches of as many as fit."""
        lengths = (sizes + _AROUND)[mine.start : mine.stop]
        ends = np.cumsum(lengths)
        batches = []
        first = 0
        while first < len(lengths):
            done = ends[first] - lengths[first]
            last = int(np.searchsorted(ends, done + self._micro_pieces, side="right"))
            batches.append(self._batch(sizes, masked, range(mine.start + first, mine.start + last)))
            first = last
        return batches

    def _batch(self, sizes: Int64, masked: MaskedBatch, part: range) -> Batch:
        """The samples of a range, with [CLS] and [SEP] around each."""
        begin, end = int(sizes[: part.start].sum()), int(sizes[: part.stop].sum())
        lengths = sizes[part.start : part.stop] + _AROUND
        ends = np.cumsum(lengths)
        places = _ranges(ends - lengths + 1, lengths - _AROUND)
        pieces = np.empty(ends[-1], dtype=np.int64)
        pieces[ends - lengths], pieces[ends - 1] = self._ends
        pieces[places] = masked.pieces[begin:end]
        chosen = slice(*np.searchsorted(masked.targets, [begin, end]))
        targets = places[masked.targets[chosen] - begin]
        return Batch(pieces, lengths.tolist(), targets, masked.labels[chosen])

    def _edges_of(self, window: int) -> Int64:
        if not _AROUND < window <= self._micro_pieces:
            raise ConfigError(
                f"window={window}: expected {_AROUND + 1} to data.micro_pieces="
                f"{self._micro_pieces} pieces; set data.micro_pieces higher."
            )
        if window not in self._edges:
            self._edges[window] = window_edges(self._corpus, window - _AROUND)
        return self._edges[window]

    def _order_of(self, epoch: int, window: int) -> Int64:
        if self._order[0] != (epoch, window):
            key = epoch_key(self._seed, epoch)
            self._order = ((epoch, window), shuffled(key, self.n_samples(window)))
        return self._order[1]


def _share_of(lengths: Int64, rank: int, world: int) -> range:
    """Which samples are a process's: those whose middle lies in its part of all pieces."""
    middles = np.cumsum(lengths) * 2 - lengths
    cuts = np.asarray([rank, rank + 1]) * (2 * int(lengths.sum())) // world
    first, last = np.searchsorted(middles, cuts).tolist()
    return range(first, last)


def _ranges(starts: Int64, sizes: Int64) -> Int64:
    """The numbers of all ranges, one after another, (sum of sizes,)."""
    ends = np.cumsum(sizes)
    return np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
