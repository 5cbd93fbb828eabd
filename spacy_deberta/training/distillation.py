"""Word-aligned distillation: an encoder with a new vocabulary learns what its old self computes.

Teacher and student read the same text in pieces of their own. Words, the runs of characters between
spaces, are what they have in common: the rows of a word's pieces are averaged, layer by layer, and
the student's averages are drawn to the teacher's. Some words are hidden from the student, which has
to predict their pieces as a masked language model, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from spacy_deberta.encoder import DebertaEncoder, pool_rows
from spacy_deberta.heads import MaskedLMHead
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.masking import Int64, WordHider
from spacy_deberta.training.mlm import masked_lm_loss

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """How to distil.

    Attributes:
        layers: whose outputs to compare; 0 = the embeddings.
        batch_pieces: student's pieces per step.
        longest: most pieces of one text, for teacher and student; longer ones are cut at a word.
        mask_share: share of words hidden from the student.
        lm_weight: weight of the masked-LM loss beside the distillation loss.
        bf16: run the models under bfloat16 autocast.
        seed: of the hidden words.
    """

    layers: tuple[int, ...] = (2, 4, 6)
    batch_pieces: int = 4096
    longest: int = 126
    mask_share: float = 0.12
    lm_weight: float = 0.3
    bf16: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class WordBatch:
    """Texts as one model reads them.

    Attributes:
        pieces: (N,) ids, with [CLS] and [SEP] around each text.
        lengths: pieces of each text.
        rows: (M,) places in `pieces`, word after word.
        rows_per_word: (W,) pieces of each word, of all texts in order.
    """

    pieces: Int64
    lengths: list[int]
    rows: Int64
    rows_per_word: Int64


class WordReader:
    """Texts to batches of the same words, for teacher and student.

    Args:
        teacher: the old tokenizer.
        student: the new one.
        longest: most pieces of a text, special ones apart.
    """

    def __init__(self, teacher: Tokenizer, student: UnigramTokenizer, longest: int) -> None:
        self._teacher = teacher
        self._student = student
        self._longest = longest
        self._teacher_ends = (teacher.token_to_id("[CLS]"), teacher.token_to_id("[SEP]"))

    def read(self, texts: Sequence[str]) -> tuple[WordBatch, WordBatch]:
        """Batches of the teacher and of the student, word by word the same."""
        theirs, ours = [], []
        old_texts = self._teacher.encode_batch(list(texts), add_special_tokens=False)
        for text, old, new in zip(
            texts, old_texts, self._student.encode_batch(texts), strict=True
        ):
            words = np.asarray([match.start() for match in _WORD.finditer(text)], dtype=np.int64)
            old_starts = np.asarray([start for start, _ in old.offsets], dtype=np.int64)
            old_sizes = _pieces_per_word(words, old_starts)
            new_sizes = _pieces_per_word(words, new.starts.astype(np.int64))
            kept = min(self._n_fitting(old_sizes), self._n_fitting(new_sizes))
            if kept:
                theirs.append((np.asarray(old.ids, dtype=np.int64), old_sizes[:kept]))
                ours.append((new.ids.astype(np.int64), new_sizes[:kept]))
        student_ends = (self._student.cls_id, self._student.sep_id)
        return _word_batch(theirs, self._teacher_ends), _word_batch(ours, student_ends)

    def batches(
        self, texts: Sequence[str], batch_pieces: int, seed: int
    ) -> Iterator[tuple[WordBatch, WordBatch]]:
        """Endless batches of about so many of the student's pieces, reshuffled every epoch."""
        rng = np.random.default_rng(seed)
        pieces_per_character = 0.25  # of English; only the size of a batch depends on it
        while True:
            chosen: list[str] = []
            for number in rng.permutation(len(texts)).tolist():
                chosen.append(texts[number])
                longest = self._longest / pieces_per_character
                size = sum(min(len(text), longest) for text in chosen) * pieces_per_character
                if size >= batch_pieces:
                    yield self.read(chosen)
                    chosen = []

    def _n_fitting(self, sizes: Int64) -> int:
        """How many whole words fit."""
        return int((np.cumsum(sizes) <= self._longest).sum())


class Distillation:
    """The loss of one step, for `loop.train`.

    Args:
        teacher: stays as it is.
        student: over the new vocabulary, of the same width and depth.
        head: the student's masked-LM head.
        tokenizer: the student's.
        settings: what to compare.
    """

    def __init__(
        self,
        teacher: DebertaEncoder,
        student: DebertaEncoder,
        head: MaskedLMHead,
        tokenizer: UnigramTokenizer,
        settings: DistillationSettings,
    ) -> None:
        self._teacher = teacher.eval()
        self._student = student
        self._head = head
        self._hider = WordHider(tokenizer, settings.mask_share)
        self._settings = settings
        self._rng = np.random.default_rng(settings.seed)

    def loss(self, old: WordBatch, new: WordBatch) -> Tensor:
        """Distance of the words' rows over the layers, plus the masked-LM loss."""
        hidden = self._hider.hide(new.pieces, self._rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.bf16):
            with torch.no_grad():
                targets = self._states(self._teacher, old.pieces, old)
            states = self._states(self._student, hidden.pieces, new)
            rows = states[-1].index_select(0, torch.from_numpy(hidden.targets))
            logits = self._head(rows, self._student.embeddings.pieces.weight)
        distances = [
            word_distance(states[layer], new, targets[layer], old)
            for layer in self._settings.layers
        ]
        distance = torch.stack(distances).mean()
        return distance + self._settings.lm_weight * masked_lm_loss(logits, hidden)

    def _states(
        self, encoder: DebertaEncoder, pieces: Int64, batch: WordBatch
    ) -> tuple[Tensor, ...]:
        output = encoder(torch.from_numpy(pieces), batch.lengths, hidden_states=True)
        assert output.hidden_states is not None
        states: tuple[Tensor, ...] = output.hidden_states
        return states


def word_distance(ours: Tensor, new: WordBatch, theirs: Tensor, old: WordBatch) -> Tensor:
    """Squared distance of the words' mean rows, over the variance of the teacher's; a scalar.

    Args:
        ours: (N, width) rows of the student's pieces.
        new: the student's batch.
        theirs: (O, width) rows of the teacher's pieces.
        old: the teacher's batch.
    """
    wanted = _word_rows(theirs.float(), old)
    shared = torch.from_numpy((new.rows_per_word > 0) & (old.rows_per_word > 0))
    difference = (_word_rows(ours.float(), new) - wanted)[shared]
    return difference.pow(2).mean() / wanted[shared].var()


def _word_rows(rows: Tensor, batch: WordBatch) -> Tensor:
    sizes = torch.from_numpy(batch.rows_per_word)
    return pool_rows(rows, torch.from_numpy(batch.rows), sizes, "mean")


def _pieces_per_word(word_starts: Int64, piece_starts: Int64) -> Int64:
    """How many pieces begin in each word; both in ascending order."""
    word = np.searchsorted(word_starts, piece_starts, side="right") - 1
    return np.bincount(np.maximum(word, 0), minlength=len(word_starts)).astype(np.int64)


def _word_batch(texts: Sequence[tuple[Int64, Int64]], ends: tuple[int, int]) -> WordBatch:
    """From the pieces of each text and the sizes of its words, which may leave pieces behind."""
    sequences, rows, start = [], [], 0
    for pieces, sizes in texts:
        n_pieces = int(sizes.sum())
        sequences.append(np.concatenate([[ends[0]], pieces[:n_pieces], [ends[1]]]))
        rows.append(np.arange(start + 1, start + 1 + n_pieces))
        start += n_pieces + 2
    return WordBatch(
        pieces=np.concatenate(sequences),
        lengths=[len(sequence) for sequence in sequences],
        rows=np.concatenate(rows),
        rows_per_word=np.concatenate([sizes for _, sizes in texts]),
    )
