"""Texts and pairs to the rows of pieces that a sequence head judges.

    short        [CLS] a b c [SEP]            pair        [CLS] a b [SEP] x y [SEP]
    long         [CLS] a b c [SEP]            long pair   [CLS] a b [SEP] x y [SEP]
                 [CLS] c d e [SEP]                        [CLS] b c [SEP] x y [SEP]

Of a long pair the longer text is cut into windows, and the other one stands whole in each of them;
only what it has beyond half the room is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.alignment.windows import split_windows
from spacy_deberta.errors import AlignmentError

Ints = npt.NDArray[np.integer]

N_SINGLE, N_PAIR = 2, 3  # special pieces of a row
_MIN_ROOM = 2  # pieces: one for each text of a pair


@dataclass(frozen=True)
class Frame:
    """How rows are laid.

    Attributes:
        cls_id: number of [CLS].
        sep_id: number of [SEP].
        window: most pieces of a row, special ones included; None = any number.
        stride: pieces from one window's start to the next; at most all that a window has room for.
        cut: keep the first window only.
        only_first: of a pair, cut the first text, never the second.
    """

    cls_id: int
    sep_id: int
    window: int | None = None
    stride: int | None = None
    cut: bool = False
    only_first: bool = False


@dataclass(frozen=True, eq=False)
class LaidRow:
    """One input of the encoder.

    Attributes:
        ids: pieces, special ones included.
        types: 0 for the first text, 1 for the second, with the special piece behind each.
        weight: pieces of the text that no earlier row shows; 1 in a text of one row.
    """

    ids: list[int]
    types: list[int]
    weight: int


@dataclass(frozen=True, eq=False)
class LaidText:
    """All rows of a text or pair; `truncated`: some of its pieces are in none of them."""

    rows: list[LaidRow]
    truncated: bool


def lay_text(first: Ints, second: Ints | None, frame: Frame) -> LaidText:
    """Lay a text or a pair into rows that fit.

    Args:
        first: (n,) pieces of the text.
        second: (m,) pieces of the second text of a pair; None = there is none.
        frame: how.

    Raises:
        AlignmentError: a window without room for a piece of each text.
    """
    texts = [first.tolist()] + ([] if second is None else [second.tolist()])
    n_special = N_SINGLE if second is None else N_PAIR
    if frame.window is None or sum(map(len, texts)) + n_special <= frame.window:
        return LaidText([_row(texts, frame, 1)], truncated=False)
    room = frame.window - n_special
    if room < (_MIN_ROOM if second is not None else 1):
        raise AlignmentError(
            f"window={frame.window} leaves no room for pieces beside {n_special} special ones; "
            f"use {n_special + _MIN_ROOM} or more."
        )
    kept, place = _cut_other(texts, room, frame)
    others = sum(map(len, kept)) - len(kept[place])
    ranges = _ranges(len(kept[place]), room - others, frame)
    rows, seen = [], 0
    for start, end in ranges[:1] if frame.cut else ranges:
        shown = [text[start:end] if n == place else text for n, text in enumerate(kept)]
        rows.append(_row(shown, frame, end - seen))
        seen = end
    n_shown = seen + others
    return LaidText(rows, truncated=n_shown < sum(map(len, texts)))


def _cut_other(texts: list[list[int]], room: int, frame: Frame) -> tuple[list[list[int]], int]:
    """What stays of each text, and which one is cut into windows."""
    if len(texts) == 1:
        return texts, 0
    place = 0 if frame.only_first or len(texts[0]) >= len(texts[1]) else 1
    other = 1 - place
    limit = room - 1 if frame.only_first else room // 2
    kept = list(texts)
    kept[other] = texts[other][:limit]
    return kept, place


def _ranges(n_pieces: int, room: int, frame: Frame) -> list[tuple[int, int]]:
    stride = room if frame.stride is None else max(1, min(frame.stride, room))
    windows = split_windows(n_pieces, window=room + N_SINGLE, stride=stride)
    return list(zip(windows.starts.tolist(), windows.ends.tolist(), strict=True)) or [(0, 0)]


def _row(texts: Sequence[list[int]], frame: Frame, weight: int) -> LaidRow:
    ids, types = [frame.cls_id], [0]
    for number, text in enumerate(texts):
        ids += [*text, frame.sep_id]
        types += [number] * (len(text) + 1)
    return LaidRow(ids, types, weight)
