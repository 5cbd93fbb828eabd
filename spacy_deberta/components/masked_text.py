"""Texts to sequences with masks: words hidden for training, or the masks that stand in a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.mask_windows import MASK, center_window, group_masks, split_at_masks
from spacy_deberta.decoding.masks import Bool, allowed_pieces
from spacy_deberta.thinc_layers.mask_filler import MaskedSequence
from spacy_deberta.thinc_layers.sequences import PieceSequence
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.pretraining.draws import epoch_key, sample_keys
from spacy_deberta.training.pretraining.masking import SampleText, WordMasker

Int64 = npt.NDArray[np.int64]

FRAME = 2  # [CLS] and [SEP]


@dataclass(frozen=True, eq=False)
class HiddenWords:
    """Texts with words hidden.

    Attributes:
        sequences: those with something to predict.
        labels: (M,) the pieces that stood in their places, sequence after sequence.
    """

    sequences: list[MaskedSequence]
    labels: Int64


class MaskReader:
    """Makes sequences with the pieces of one tokenizer.

    Args:
        tokenizer: of the encoder.
        window: pieces of a sequence, special ones included.
    """

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        self.tokenizer = tokenizer
        self._room = window - FRAME
        self._masker = WordMasker(tokenizer, 1, 0.0)
        self._allowed: Bool | None = None

    def hide(
        self, texts: Sequence[str], share: float, *, seed: int, step: int, keep_none: bool = False
    ) -> HiddenWords:
        """Hide whole words, drawn from seed, step and the number of the window alone.

        Args:
            texts: cut into windows that do not overlap.
            share: of the words to hide.
            seed: of all draws.
            step: of the training.
            keep_none: put a mask in all places; otherwise 80 % are masks, 10 % other pieces and
                10 % stay, as in pre-training.
        """
        parts = [part for text in texts for part in self._windows(text)]
        if not parts:
            return HiddenWords([], np.zeros(0, dtype=np.int64))
        sizes = np.array([len(part) for part in parts], dtype=np.int64)
        epochs = np.full(len(parts), epoch_key(seed, step), dtype=np.uint64)
        pieces = np.concatenate(parts)
        keys = sample_keys(epochs, np.arange(len(parts)))
        batch = self._masker.mask(
            SampleText(pieces, sizes, np.zeros(len(pieces), dtype=bool), keys), share
        )
        if keep_none:
            batch.pieces[batch.targets] = self.tokenizer.mask_id
        ends = np.cumsum(sizes)
        targets = np.split(batch.targets, np.searchsorted(batch.targets, ends[:-1]))
        sequences = [
            self._frame(batch.pieces[end - size : end], places - (end - size))
            for size, end, places in zip(sizes, ends, targets, strict=True)
            if len(places)
        ]
        return HiddenWords(sequences, batch.labels)

    def masks(self, text: str) -> list[MaskedSequence]:
        """The windows around the masks that stand in a text; its masks in order."""
        if MASK not in text:
            return []
        found = split_at_masks(
            text,
            lambda part: self.tokenizer.encode(part).ids,
            self.tokenizer.mask_id,
            takes_space=self.tokenizer.added[MASK].lstrip,
        )
        n_pieces, places = len(found.ids), np.array(found.places)
        sequences = []
        for group in group_masks(found.places, n_pieces, self._room):
            own = places[list(group)]
            first, last = center_window(own[0], own[-1], n_pieces, self._room)
            sequences.append(self._frame(found.ids[first:last], own - first))
        return sequences

    def allowed_pieces(self, n_rows: int) -> Bool:
        """The rows (n_rows,) of the output layer that are text."""
        if self._allowed is None or len(self._allowed) != n_rows:
            core = self.tokenizer
            names = [core.piece(number) for number in range(core.n_pieces)]
            special = {name for name, added in core.added.items() if added.special}
            self._allowed = allowed_pieces(n_rows, names, special)
        return self._allowed

    def _windows(self, text: str) -> Iterator[Int64]:
        ids = self.tokenizer.encode(text).ids.astype(np.int64)
        for start in range(0, len(ids), self._room):
            yield ids[start : start + self._room]

    def _frame(self, ids: Int64, places: Int64) -> MaskedSequence:
        around = [self.tokenizer.cls_id], [self.tokenizer.sep_id]
        return MaskedSequence(
            PieceSequence(np.concatenate([around[0], ids, around[1]])), places + 1
        )
