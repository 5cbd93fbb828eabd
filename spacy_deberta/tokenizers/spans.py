"""Character spans of pieces: from SentencePiece's normalized text back to the caller's string.

SentencePiece segments a normalized text, in which "▁" stands for whitespace:

    caller      ﬁ n e     ½            "ﬁne ½"
    normalized  ▁ f i n e ▁ 1 / 2      offsets of each character's source: 0 0 0 1 2 3 4 4 4 | 5
    pieces      ▁fine     ▁1/2         (0, 3)  (4, 5)

A piece covers a run of normalized characters (its byte pieces: one UTF-8 byte each), so the runs
follow from the ids and a table over the vocabulary. Where normalization changes whitespace only, as
in most texts, mapping back is counting characters, for a whole batch at once (`regular_spans`);
elsewhere it is a lookup in the normalizer's own offsets (`irregular_spans`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPACE = "▁"
CONTINUATION_BYTES = range(0x80, 0xC0)  # UTF-8: these continue a character, all others begin one
LAST_WHITESPACE = 0x3000  # the ideographic space; a test looks behind it
IS_WHITESPACE = np.array([chr(code).isspace() for code in range(LAST_WHITESPACE + 2)])

Ints = npt.NDArray[np.int32]
First = npt.NDArray[np.int64]  # (B + 1,) number of each text's first piece, and that of all
Mask = npt.NDArray[np.bool_]
Spans = tuple[Ints, Ints]  # starts and ends, (N,) each


@dataclass(frozen=True, eq=False)
class PieceShapes:
    """What each piece of the vocabulary takes of a normalized text, in characters.

    Shapes: all (V,) int32. `advance` is the distance to the next piece's end: the piece's length,
    but 0 for a byte that continues a character and 0 for the unknown piece. `width` is the length
    of the piece itself (a continuing byte: 1, its whole character). `lead` and `trail` count the
    "▁" at its two ends.
    """

    advance: Ints
    width: Ints
    lead: Ints
    trail: Ints


def piece_shapes(pieces: Sequence[str], byte_pieces: Sequence[bool], unk_id: int) -> PieceShapes:
    """Measure a vocabulary given as strings; `byte_pieces` tells which are "<0xNN>"."""
    is_byte = np.array(byte_pieces, dtype=bool)
    width = np.array([len(piece) for piece in pieces], dtype=np.int32)
    lead = width - np.array([len(piece.lstrip(SPACE)) for piece in pieces], dtype=np.int32)
    trail = width - np.array([len(piece.rstrip(SPACE)) for piece in pieces], dtype=np.int32)
    trail[lead == width] = 0
    width[is_byte] = 1
    advance = width.copy()
    bytes_found = np.flatnonzero(is_byte)
    continues = [int(pieces[i][1:-1], 16) in CONTINUATION_BYTES for i in bytes_found.tolist()]
    advance[bytes_found[continues]] = 0
    advance[unk_id] = 0
    return PieceShapes(advance, width, lead, trail)


def is_regular(text: str, normalized: str) -> bool:
    """Tell whether normalization changed nothing but whitespace and the case of letters.

    Then the words are where they were, and "▁" is all there is to trim.
    """
    lowered = text.lower()  # never shorter: of the same length, it is so letter by letter
    return normalized == SPACE + SPACE.join(text.split()) or (
        len(lowered) == len(text) and normalized == SPACE + SPACE.join(lowered.split())
    )


def is_visible(text: str) -> Mask:
    """Tell for each character, (len(text),), whether Python does not call it whitespace."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    return ~IS_WHITESPACE[np.minimum(codes, LAST_WHITESPACE + 1)]


def regular_spans(starts: Ints, ends: Ints, texts: Sequence[str], counts: Ints) -> Spans:
    """Map normalized spans of regular texts back, all texts at once.

    Args:
        starts: (N,) in characters of the normalized texts, one after another.
        ends: (N,) the same; a span with start == end stays empty.
        texts: the caller's strings; one without visible characters has no normalized ones.
        counts: (B,) number of pieces of each text, sum N.

    Behind one newline each, the texts are one string in which every run of whitespace is one "▁",
    those between the texts too: they are the dummy prefixes.
    """
    visible = is_visible("\n" + "\n".join(texts))
    begins_run = ~visible
    begins_run[1:] &= visible[:-1]
    source = np.flatnonzero(visible | begins_run).astype(np.int32)
    lengths = np.array([len(text) + 1 for text in texts], dtype=np.int32)
    text_starts = np.repeat(np.cumsum(lengths, dtype=np.int32) - lengths + 1, counts)
    return (
        source.take(starts, mode="clip") - text_starts,
        source.take(ends - 1, mode="clip") + 1 - text_starts,
    )


def irregular_spans(starts: Ints, ends: Ints, text: str, offsets: Sequence[int]) -> Spans:
    """Map normalized spans of one text back through the normalizer's offsets.

    Args:
        starts: (N,) in normalized characters.
        ends: (N,) the same; a span with start == end stays empty.
        text: the caller's string.
        offsets: source position of each normalized character, and of the end.

    Characters with the same offset come from one unit of source characters, which ends at the next
    greater offset: a span that holds a part of the unit gets all of it.
    """
    source = np.array(offsets, dtype=np.int32)
    unit_ends = source[np.searchsorted(source, source[:-1], side="right").clip(max=len(source) - 1)]
    empty = starts >= ends
    starts, ends = source[starts], unit_ends[ends - 1]
    return trim_whitespace(starts, np.where(empty, starts, ends), text)


def trim_whitespace(starts: Ints, ends: Ints, text: str) -> Spans:
    """Shrink spans (N,) to begin and end at visible characters; what has none becomes empty."""
    next_visible, last_visible = visible_neighbors(text)
    starts = next_visible[starts]
    return starts, np.maximum(last_visible[ends], starts)


def visible_neighbors(text: str) -> tuple[Ints, Ints]:
    """For each place (len(text) + 1,), where the next visible character begins and the last ends.

    Where there is none: the end of the text, and its beginning.
    """
    visible = is_visible(text)
    here = np.arange(len(text) + 1, dtype=np.int32)
    following, last = here.copy(), here
    following[:-1][~visible] = len(text)
    following = np.minimum.accumulate(following[::-1])[::-1]
    last[1:][~visible] = 0
    return following, np.maximum.accumulate(last)


def attach_empty(starts: Ints, ends: Ints, first: First) -> None:
    """Give empty spans, in place, the span of the next piece of the same text that has one.

    Args:
        starts: (N,) spans of the pieces of several texts, one after another.
        ends: (N,).
        first: (B + 1,) number of each text's first piece, and N.

    Empty spans behind a text's last filled one stay empty.
    """
    is_empty = starts >= ends
    if not is_empty.any():
        return
    empty, filled = np.flatnonzero(is_empty), np.flatnonzero(~is_empty)
    following = np.append(filled, len(starts))[np.searchsorted(filled, empty)]
    text_end = first[np.searchsorted(first, empty, side="right")]
    inside = following < text_end
    starts[empty[inside]] = starts[following[inside]]
    ends[empty[inside]] = ends[following[inside]]
