"""Pseudo-log-likelihoods: every piece of a text is hidden once, in a copy of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spacy_deberta.training.masking import Int64
from spacy_deberta.training.scoring.scorers import Copy, Float64, Scorer
from spacy_deberta.training.scoring.texts import ReadText

VARIANTS = ("pll", "pll_word_l2r")

_BLOCK_PIECES = 16_384  # of texts whose copies are held in memory at once

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class TextScores:
    """Log-probabilities of one text's pieces, in nats.

    Attributes:
        pieces: (N,) each piece from all others.
        word_l2r: (N,) each piece without the later pieces of its word.
    """

    pieces: Float64
    word_l2r: Float64

    @cached_property
    def totals(self) -> dict[str, float]:
        """Sum of each variant.

        The order of the pieces changes no bit of it: sentences of the same values are ties.
        """
        return {
            name: math.fsum(values.tolist())
            for name, values in zip(VARIANTS, (self.pieces, self.word_l2r), strict=True)
        }


def pseudo_log_likelihoods(
    texts: Sequence[ReadText], scorer: Scorer, progress: Progress | None = None
) -> list[TextScores]:
    """Scores of each text.

    Texts of the same pieces are computed once, so that they score the same to the last bit.

    Args:
        texts: in any order.
        scorer: what predicts.
        progress: is told the share that is done, from time to time.
    """
    unique = {text.key: text for text in texts}
    found: dict[tuple[bytes, bytes], TextScores] = {}
    # By cost: N pieces in N copies.
    cost = {key: (len(text.ids) + 1) ** 2 for key, text in unique.items()}
    done, total = 0, sum(cost.values())
    for block in _blocks(sorted(unique.values(), key=lambda text: len(text.ids))):
        found |= _score(block, scorer)
        done += sum(cost[text.key] for text in block)
        if progress is not None:
            progress(done / total)
    return [found[text.key] for text in texts]


def _blocks(texts: Sequence[ReadText]) -> list[list[ReadText]]:
    blocks: list[list[ReadText]] = []
    filled = _BLOCK_PIECES
    for text in texts:
        if filled >= _BLOCK_PIECES:
            blocks.append([])
            filled = 0
        blocks[-1].append(text)
        filled += len(text.ids)
    return blocks


def _score(texts: Sequence[ReadText], scorer: Scorer) -> dict[tuple[bytes, bytes], TextScores]:
    """One pass for both variants: they differ only where a word goes on behind the piece."""
    copies = [_copies(text) for text in texts]
    values = scorer.predict([copy for mine in copies for copy in mine]).log_probabilities
    ends = np.cumsum([len(mine) for mine in copies])
    found = {}
    for text, mine in zip(texts, np.split(values, ends[:-1]), strict=True):
        alone, further = np.split(mine, [len(text.ids)])
        together = alone.copy()
        together[_unfinished(_rests(text))] = further
        found[text.key] = TextScores(alone, together)
    return found


def _copies(text: ReadText) -> list[Copy]:
    """Each piece hidden alone; then those that their word goes on behind, hidden with the rest."""
    places, rests = np.arange(len(text.ids)), _rests(text)
    alone = [Copy(text.ids, places[i : i + 1], places[i : i + 1]) for i in places]
    unfinished = _unfinished(rests)
    return alone + [Copy(text.ids, places[i : rests[i]], places[i : i + 1]) for i in unfinished]


def _rests(text: ReadText) -> Int64:
    """(N,) place behind the last piece of each piece's word."""
    return np.searchsorted(text.words, text.words, side="right").astype(np.int64)


def _unfinished(rests: Int64) -> Int64:
    """Places of the pieces that are not the last of their word."""
    return np.flatnonzero(rests > np.arange(len(rests)) + 1)
