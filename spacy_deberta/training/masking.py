"""Choosing the pieces that a masked language model has to predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

KEPT_SHARE = 0.1  # of the targets stay as they are, so that the model cannot trust its input
RANDOM_SHARE = 0.1  # of the targets become a random piece


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """A packed batch with some pieces hidden.

    Attributes:
        pieces: (N,) ids to read.
        targets: (M,) places in `pieces` to predict.
        labels: (M,) the ids that stood there.
    """

    pieces: Int64
    targets: Int64
    labels: Int64


def mask_words(
    pieces: Int64,
    word_starts: Bool,
    maskable: Bool,
    *,
    mask_id: int,
    random_ids: tuple[int, int],
    share: float,
    rng: np.random.Generator,
) -> MaskedBatch:
    """Hide whole words: of the targets 80 % become [MASK], 10 % a random piece, 10 % stay.

    Args:
        pieces: (N,) ids.
        word_starts: (N,) true where a piece begins a word.
        maskable: (N,) false for special pieces.
        mask_id: the id of [MASK].
        random_ids: first id and last id + 1 to draw random pieces from.
        share: chance of every word to be chosen.
        rng: source of all draws.
    """
    word = np.cumsum(word_starts | ~maskable)
    chosen = rng.random(int(word[-1]) + 1) < share if len(word) else np.zeros(1, dtype=bool)
    targets = np.flatnonzero(chosen[word] & maskable)
    draw = rng.random(len(targets))
    hidden = pieces.copy()
    masked = draw >= KEPT_SHARE + RANDOM_SHARE
    hidden[targets[masked]] = mask_id
    replaced = (draw >= KEPT_SHARE) & ~masked
    hidden[targets[replaced]] = rng.integers(*random_ids, size=int(replaced.sum()))
    return MaskedBatch(pieces=hidden, targets=targets, labels=pieces[targets])
