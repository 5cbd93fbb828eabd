"""The same texts in the pieces of two tokenizers, aligned by words.

A word is a run of characters between spaces: what any two tokenizers of running text agree on.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from spacy_deberta.errors import DataError, TokenizerError
from spacy_deberta.tokenizers import Tokenizer as PieceTokenizer
from spacy_deberta.training.masking import Int64

_WORD = re.compile(r"\S+")
PIECES_PER_CHARACTER = 0.25  # of English, about; only the size of a batch depends on it


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

    def __init__(self, teacher: Tokenizer, student: PieceTokenizer, longest: int) -> None:
        self._teacher = teacher
        self._student = student
        self._longest = longest
        self._teacher_ends = (_special(teacher, "[CLS]"), _special(teacher, "[SEP]"))

    def read(self, texts: Sequence[str]) -> tuple[WordBatch, WordBatch] | None:
        """Batches of the teacher and of the student, word by word the same.

        Returns:
            None if the first word of every text is too long. Other texts with such a word are left
            out, and the words behind those that fit, too.
        """
        theirs, ours = [], []
        old_texts = self._teacher.encode_batch(list(texts), add_special_tokens=False)
        for text, old, new in zip(texts, old_texts, self._student.encode_batch(texts), strict=True):
            words = np.asarray([match.start() for match in _WORD.finditer(text)], dtype=np.int64)
            old_starts = np.asarray([start for start, _ in old.offsets], dtype=np.int64)
            old_sizes = _pieces_per_word(words, old_starts)
            new_sizes = _pieces_per_word(words, new.starts.astype(np.int64))
            kept = min(self._n_fitting(old_sizes), self._n_fitting(new_sizes))
            if kept:
                theirs.append((np.asarray(old.ids, dtype=np.int64), old_sizes[:kept]))
                ours.append((new.ids.astype(np.int64), new_sizes[:kept]))
        if not ours:
            return None
        student_ends = (self._student.cls_id, self._student.sep_id)
        return _word_batch(theirs, self._teacher_ends), _word_batch(ours, student_ends)

    def batches(
        self, texts: Sequence[str], batch_pieces: int, seed: int
    ) -> Iterator[tuple[WordBatch, WordBatch]]:
        """Endless batches of about so many of the student's pieces, reshuffled every epoch.

        Raises:
            DataError: no text has a word in it, or none whose first word fits.
        """
        rng = np.random.default_rng(seed)
        texts = [text for text in texts if _WORD.search(text)]
        if not texts:
            raise DataError("no text to read: expected at least one with a word in it.")
        longest = int(self._longest / PIECES_PER_CHARACTER)
        chosen: list[str] = []
        size, n_read, n_left_out, is_told = 0.0, 0, 0, False
        while True:
            for number in rng.permutation(len(texts)).tolist():
                chosen.append(texts[number])
                size += min(len(texts[number]), longest) * PIECES_PER_CHARACTER
                if size >= batch_pieces:
                    found = self.read(chosen)
                    n_read += len(chosen)
                    n_left_out += len(chosen) - (len(found[1].lengths) if found else 0)
                    if found:
                        yield found
                    chosen, size = [], 0.0
            if n_left_out and n_left_out == n_read:
                raise DataError(
                    f"found {n_read} texts whose first word alone has more than {self._longest} "
                    "pieces, expected words between spaces: words are what both models share."
                )
            if n_left_out and not is_told:
                is_told = True
                warnings.warn(
                    f"{n_left_out} of {n_read} texts are left out: their first word alone has more "
                    f"than {self._longest} pieces.",
                    stacklevel=2,
                )

    def _n_fitting(self, sizes: Int64) -> int:
        """How many whole words fit."""
        return int((np.cumsum(sizes) <= self._longest).sum())


def _special(tokenizer: Tokenizer, piece: str) -> int:
    number = tokenizer.token_to_id(piece)
    if number is None:
        raise TokenizerError(f"the old vocabulary has no '{piece}'; expected BERT's.")
    return int(number)


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
