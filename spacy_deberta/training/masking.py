"""Choosing the pieces that a masked language model has to predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.tokenizers import Tokenizer

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


@dataclass(frozen=True)
class Masking:
    """What hides a piece, and how often.

    Attributes:
        share: chance of every word to be chosen.
        mask_id: the id of [MASK].
        random_ids: first id and last id + 1 to draw random pieces from.
    """

    share: float
    mask_id: int
    random_ids: tuple[int, int]


def mask_words(
    pieces: Int64, word_starts: Bool, maskable: Bool, masking: Masking, rng: np.random.Generator
) -> MaskedBatch:
    """Hide whole words: of the targets 80 % become [MASK], 10 % a random piece, 10 % stay.

    Args:
        pieces: (N,) ids.
        word_starts: (N,) true where a piece begins a word.
        maskable: (N,) false for special pieces.
        masking: what to put in their place, and how often.
        rng: source of all draws.
    """
    word = np.cumsum(word_starts | ~maskable)
    chosen = rng.random(int(word[-1]) + 1) < masking.share if len(word) else np.zeros(1, dtype=bool)
    targets = np.flatnonzero(chosen[word] & maskable)
    draw = rng.random(len(targets))
    hidden = pieces.copy()
    masked = draw >= KEPT_SHARE + RANDOM_SHARE
    hidden[targets[masked]] = masking.mask_id
    replaced = (draw >= KEPT_SHARE) & ~masked
    hidden[targets[replaced]] = rng.integers(*masking.random_ids, size=int(replaced.sum()))
    return MaskedBatch(pieces=hidden, targets=targets, labels=pieces[targets])


class WordHider:
    """`mask_words` for the pieces of one tokenizer.

    Args:
        tokenizer: whose word-initial pieces begin with its marker of a space.
        share: chance of every word to be chosen.
    """

    def __init__(self, tokenizer: Tokenizer, share: float) -> None:
        pieces = [tokenizer.piece(number) for number in range(tokenizer.n_pieces)]
        marker = tokenizer.space_marker
        self._word_start = np.asarray([piece.startswith(marker) for piece in pieces])
        self._special = np.zeros(tokenizer.n_pieces, dtype=bool)
        self._special[[tokenizer.cls_id, tokenizer.sep_id]] = True
        first = 1 + max(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id)
        self._masking = Masking(share, tokenizer.mask_id, (first, tokenizer.mask_id))

    def hide(self, pieces: Int64, rng: np.random.Generator) -> MaskedBatch:
        """Hide words of packed pieces (N,)."""
        return mask_words(
            pieces, self._word_start[pieces], ~self._special[pieces], self._masking, rng
        )
