"""A question and a context to the encoder's input, in windows over a long context.

[CLS] question [SEP] context 0:6  [SEP]
[CLS] question [SEP] context 4:10 [SEP]        the last one ends at the context's end
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.answers import WindowLogits
from spacy_deberta.errors import AlignmentError

Ints = npt.NDArray[np.integer]

N_SPECIAL = 3  # [CLS] and two [SEP]


@dataclass(frozen=True)
class QuestionFrame:
    """How windows are laid.

    Attributes:
        cls_id: number of [CLS].
        sep_id: number of [SEP].
        window: most pieces of a window, question and special pieces included.
        overlap: pieces of the context that neighbouring windows share, at least.
        full_windows: the last window is moved to the left until it is full.
    """

    cls_id: int
    sep_id: int
    window: int
    overlap: int
    full_windows: bool = True

    def room(self, n_question: int) -> int:
        """Pieces of the context that fit beside a question of so many pieces.

        Raises:
            AlignmentError: the next window would not move on.
        """
        room = self.window - N_SPECIAL - n_question
        if room <= self.overlap or room < 1 or self.overlap < 0:
            raise AlignmentError(
                f"window={self.window} leaves room for {max(room, 0)} pieces of the context beside "
                f"{n_question} of the question and {N_SPECIAL} special ones; expected more than "
                f"the overlap of {self.overlap}. Use a longer window, a shorter question or less "
                "overlap."
            )
        return room


@dataclass(frozen=True, eq=False)
class QuestionWindow:
    """One input of the encoder.

    Attributes:
        ids: pieces, special ones included.
        types: 0 for the question, 1 for the context, with the special pieces around each.
        first: number of the first piece of the context.
        last: one behind the number of the last.
        offset: place of the first piece of the context in `ids`.
    """

    ids: list[int]
    types: list[int]
    first: int
    last: int
    offset: int

    def place(self, piece: int) -> int | None:
        """Place of a piece of the context in `ids`; None if it is in another window."""
        return piece - self.first + self.offset if self.first <= piece < self.last else None

    def read(
        self, logits: npt.NDArray[np.floating], starts: Ints, ends: Ints, context: int = 0
    ) -> WindowLogits:
        """What the model says about this window.

        Args:
            logits: (n, 2) start and end logits of `ids`.
            starts: (n_pieces,) first character of each piece of the whole context.
            ends: (n_pieces,) one behind the last.
            context: its number.
        """
        rows = logits[self.offset : self.offset + self.last - self.first]
        chars = slice(self.first, self.last)
        null = float(logits[0, 0]) + float(logits[0, 1])
        return WindowLogits(rows[:, 0], rows[:, 1], null, starts[chars], ends[chars], context)


def lay_question(question: Ints, context: Ints, frame: QuestionFrame) -> list[QuestionWindow]:
    """Lay a question and its context into windows; a context without pieces has none.

    Args:
        question: (m,) pieces.
        context: (n,) pieces.
        frame: how.

    Raises:
        AlignmentError: no room for the context.
    """
    room, n = frame.room(len(question)), len(context)
    if not n:
        return []
    asked, read = question.tolist(), context.tolist()
    begin = [frame.cls_id, *asked, frame.sep_id]
    starts = list(range(0, max(n - frame.overlap, 1), room - frame.overlap))
    if frame.full_windows:
        starts[-1] = max(0, min(starts[-1], n - room))
    windows = []
    for first in starts:
        shown = read[first : first + room]
        ids = [*begin, *shown, frame.sep_id]
        types = [0] * len(begin) + [1] * (len(shown) + 1)
        windows.append(QuestionWindow(ids, types, first, first + len(shown), len(begin)))
    return windows


def cut_question(question: Ints, limit: int, keep: str = "head") -> Ints:
    """At most `limit` pieces of a question: its "head" or its "tail"."""
    if len(question) <= limit:
        return question
    return question[:limit] if keep == "head" else question[len(question) - limit :]
