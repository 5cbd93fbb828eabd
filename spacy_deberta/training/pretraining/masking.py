"""Which words a sample hides, drawn from (seed, epoch, sample) alone.

A word is chosen alone, or as one of the 2 to `ngram` words of a span; shares are exact on average,
wherever a word stands in its sample. All samples of a step are drawn at once.

A word begins at a piece with the marker of a space, at a punctuation mark or symbol that is a piece
of its own (so in microsoft/DeBERTa too), and where a sentence or a sample begins.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from spacy_deberta.errors import ConfigError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.tokenizers.encoding import REPLACEMENT
from spacy_deberta.tokenizers.special import UNK
from spacy_deberta.training.masking import KEPT_SHARE, RANDOM_SHARE, Bool, Int64, MaskedBatch
from spacy_deberta.training.pretraining.draws import Float64, UInt64, draw

_SINGLES, _SPANS, _WHAT_TO_READ, _WHICH_PIECE = range(4)  # streams of draws
_BISECTIONS = 60  # halvings of [0, 1] until a float64 is exact


@dataclass(frozen=True, eq=False)
class SampleText:
    """The pieces of some samples, one after another, without [CLS] and [SEP].

    Attributes:
        pieces: (N,) ids.
        sizes: (S,) pieces of each sample, at least 1.
        sentence_starts: (N,) true where a sentence begins, which begins a word too.
        keys: (S,) `sample_keys`.
    """

    pieces: Int64
    sizes: Int64
    sentence_starts: Bool
    keys: UInt64


@dataclass(frozen=True, eq=False)
class _Words:
    """The words of some samples.

    Attributes:
        sample: (W,) number of each word's sample, ascending.
        firsts: (S,) number of each sample's first word.
        maskable: (W,) whether a word has a piece to predict.
    """

    sample: Int64
    firsts: Int64
    maskable: Bool

    def one_each(self, order: Float64, chosen: Bool) -> Bool:
        """The word that comes first in order, (W,), of each sample without a chosen one."""
        missing = ~np.logical_or.reduceat(chosen, self.firsts)
        lowest = np.where(missing, np.minimum.reduceat(order, self.firsts), np.nan)
        return (order == lowest[self.sample]) & self.maskable


class WordMasker:
    """Hides words in the pieces of one tokenizer.

    Special and unknown pieces are never predicted and never drawn; the rest of a word with an
    unknown piece is.

    Args:
        tokenizer: whose word-initial pieces begin with its marker of a space.
        ngram: most words of a span; 1 = no spans.
        ngram_share: share of the chosen words that spans choose.
    """

    def __init__(self, tokenizer: Tokenizer, ngram: int, ngram_share: float) -> None:
        names = [tokenizer.piece(number) for number in range(tokenizer.n_pieces)]
        special = {piece for piece, entry in tokenizer.added.items() if entry.special} | {UNK}
        ordinary = [name not in special for name in names]
        own = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
        for number in (*own, tokenizer.unk_id):
            ordinary[number] = False
        self._word_start = np.asarray(
            [
                name.startswith(tokenizer.space_marker) or _is_mark(tokenizer.decode([number]))
                for number, name in enumerate(names)
            ]
        )
        self._ordinary = np.asarray(ordinary)
        self._random_ids = np.flatnonzero(self._ordinary)
        self._mask_id = tokenizer.mask_id
        self._tails = span_tails(ngram)
        self._ngram_share = ngram_share if ngram > 1 else 0.0

    def mask(self, text: SampleText, share: float) -> MaskedBatch:
        """Choose whole words; of their pieces 80 % become [MASK], 10 % another, 10 % stay.

        A sample in which no word is chosen predicts one of its words nevertheless, so that no
        sample is read for nothing and no batch is without targets; only a `share` of 0, or a
        sample of unknown pieces alone, has none.

        Args:
            text: the samples.
            share: of the words to predict, on average.

        Raises:
            ConfigError: the share is none.
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"mask_share={share}: expected 0 to 1.")
        sample = np.repeat(np.arange(len(text.sizes)), text.sizes)
        first_pieces = np.cumsum(text.sizes) - text.sizes
        starts = self._word_start[text.pieces] | text.sentence_starts
        starts[first_pieces] = True
        word = np.cumsum(starts) - 1
        maskable = self._ordinary[text.pieces]
        words = _Words(
            sample=sample[starts],
            firsts=word[first_pieces],
            maskable=np.logical_or.reduceat(maskable, np.flatnonzero(starts)),
        )
        chosen = self._choose(words, text.keys, share)
        targets = np.flatnonzero(chosen[word] & maskable)
        owner = sample[targets]
        return self._hide(text.pieces, targets, text.keys[owner], targets - first_pieces[owner])

    def _choose(self, words: _Words, keys: UInt64, share: float) -> Bool:
        """Which words to predict, (W,); keys (S,) are the samples'."""
        word_keys = keys[words.sample]
        place = np.arange(len(words.sample)) - words.firsts[words.sample]
        spans = share * self._ngram_share
        single = draw(word_keys, _SINGLES, place)
        chosen = single < _remaining_share(share, spans)
        rate = span_rate(spans, self._tails)
        for back, tail in enumerate(self._tails):
            # The word so many places back begins a span that reaches here. Spans may begin before
            # the sample does, so that its first words are chosen as often as the others.
            chosen |= draw(word_keys, _SPANS, place - back + len(self._tails)) < rate * tail
        chosen &= words.maskable
        if share > 0:
            chosen |= words.one_each(np.where(words.maskable, single, np.inf), chosen)
        return chosen

    def _hide(self, pieces: Int64, targets: Int64, keys: UInt64, places: Int64) -> MaskedBatch:
        """Replace what is read at the targets; keys and places in the samples are theirs, (M,)."""
        what = draw(keys, _WHAT_TO_READ, places)
        hidden = pieces.copy()
        hidden[targets[what >= KEPT_SHARE + RANDOM_SHARE]] = self._mask_id
        other = (what >= KEPT_SHARE) & (what < KEPT_SHARE + RANDOM_SHARE)
        drawn = draw(keys[other], _WHICH_PIECE, places[other]) * len(self._random_ids)
        hidden[targets[other]] = self._random_ids[drawn.astype(np.int64)]
        return MaskedBatch(pieces=hidden, targets=targets, labels=pieces[targets])


def span_tails(ngram: int) -> list[float]:
    """How likely a span has more than 0, 1, ... words: 2 to `ngram`, n as likely as 1 / n.

    Source: the lengths of microsoft/DeBERTa's n-gram masking, where words alone are spans of 1;
    here these have a share of their own.
    """
    weights = {size: 1 / size for size in range(2, ngram + 1)}
    total = sum(weights.values())
    return [
        sum(weight for size, weight in weights.items() if size > words) / total
        for words in range(ngram if ngram > 1 else 0)
    ]


def span_rate(share: float, tails: list[float]) -> float:
    """How often a word must begin a span so that this share of the words is in at least one.

    A word is in none if none of the `len(tails)` words up to it begins one that reaches it.
    """
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        rate = (low + high) / 2
        missed = np.prod([1 - rate * tail for tail in tails])
        low, high = (rate, high) if 1 - missed < share else (low, rate)
    return high if share > 0 else 0.0


def _remaining_share(share: float, spans: float) -> float:
    """How likely a word must be chosen alone if spans choose `spans` and both choose `share`."""
    return 1 - (1 - share) / (1 - spans) if spans < 1 else 0.0


def _is_mark(text: str) -> bool:
    """Whether this is one punctuation mark or symbol; bytes that are no character are U+FFFD."""
    return len(text) == 1 and text != REPLACEMENT and unicodedata.category(text)[0] in "PS"
