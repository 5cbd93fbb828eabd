"""Texts with masks as pieces, and the windows in which long ones are read around their masks.

Masks that are near to each other share a window:

    pieces   a b [M] c d e f g h i j k l m n o p q [M] r s        room for 7
    windows  a b [M] c d e f                    n o p q [M] r s
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MASK = "[MASK]"


@dataclass(frozen=True, eq=False)
class MaskedPieces:
    """The pieces of a text with masks.

    Attributes:
        ids: (N,) without special pieces around them.
        places: numbers of the pieces that are masks.
        spans: first character of each mask, and one behind its last.
    """

    ids: npt.NDArray[np.int64]
    places: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def split_at_masks(
    text: str,
    encode: Callable[[str], npt.NDArray[np.integer]],
    mask_id: int,
    *,
    takes_space: bool = False,
) -> MaskedPieces:
    """A text in pieces, every "[MASK]" in it the mask; whatever else is typed is text.

    Args:
        text: any.
        encode: a text to the ids of its pieces; special pieces are text to it.
        mask_id: number of the mask.
        takes_space: the mask takes the whitespace before it, as in v1.
    """
    parts: list[npt.NDArray[np.integer]] = []
    places, spans, start, n_pieces = [], [], 0, 0
    for match in re.finditer(re.escape(MASK), text):
        before = text[start : match.start()]
        parts += [encode(before.rstrip() if takes_space else before), np.array([mask_id])]
        n_pieces += len(parts[-2]) + 1
        places.append(n_pieces - 1)
        spans.append(match.span())
        start = match.end()
    parts.append(encode(text[start:]))
    return MaskedPieces(np.concatenate(parts).astype(np.int64), tuple(places), tuple(spans))


def group_masks(places: Sequence[int], n_pieces: int, room: int) -> Iterator[tuple[int, ...]]:
    """Numbers of the masks that are read in one window.

    Args:
        places: of the masks, ascending.
        n_pieces: of the text.
        room: pieces that fit into a window; a text that fits has one group, otherwise masks less
            than half a window from the first of a group are in it.
    """
    reach = max(1, room // 2) if n_pieces > room else n_pieces
    group: list[int] = []
    for mask, place in enumerate(places):
        if group and place - places[group[0]] >= reach:
            yield tuple(group)
            group = []
        group.append(mask)
    if group:
        yield tuple(group)


def center_window(left: int, right: int, n_pieces: int, room: int) -> tuple[int, int]:
    """The window around the pieces from `left` to `right`: its first piece, and the next to it.

    It is full unless the text is shorter.
    """
    first = max(0, min((left + right) // 2 - room // 2, n_pieces - room))
    return first, min(first + room, n_pieces)
