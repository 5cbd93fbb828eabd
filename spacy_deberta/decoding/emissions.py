"""Logits of pieces to log-probabilities of words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import OptionError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

AGGREGATIONS = ("first", "average", "logmean", "max")


def log_softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Log-probabilities over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def aggregate_words(emissions: Floats, pieces: Ints, lengths: Ints, how: str) -> Floats:
    """Log-probabilities of words from those of their pieces.

    Args:
        emissions: (N, K) log-probabilities of pieces.
        pieces: (M,) numbers of the pieces of each word, word after word.
        lengths: (W,) how many each has, 1 or more, adding up to M.
        how: "first" piece; "average" of the probabilities; "logmean", the average of the
            log-probabilities, normalized; "max", the piece with the most certain tag.

    Returns:
        (W, K).

    Raises:
        OptionError: no such way.
    """
    if how not in AGGREGATIONS:
        raise OptionError(f"aggregation={how!r}: expected one of {', '.join(AGGREGATIONS)}.")
    if not len(lengths):
        return np.zeros((0, emissions.shape[1]))
    firsts = np.cumsum(lengths) - lengths
    if how == "first":
        return emissions[pieces[firsts]]
    rows = emissions[pieces]
    counts = lengths[:, None]
    if how == "average":
        means = np.add.reduceat(np.exp(rows), firsts, axis=0) / counts
        return np.log(np.maximum(means, np.finfo(np.float64).tiny))
    if how == "logmean":
        return log_softmax(np.add.reduceat(rows, firsts, axis=0) / counts)
    best = rows.max(axis=1)
    is_best = best == np.repeat(np.maximum.reduceat(best, firsts), lengths)
    places = np.where(is_best, np.arange(len(rows)), len(rows))
    return rows[np.minimum.reduceat(places, firsts)]
