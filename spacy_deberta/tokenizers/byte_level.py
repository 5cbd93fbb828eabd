"""Pieces made of bytes: GPT-2's printable form, and character spans from the bytes they cover.

Nothing is normalized, so the bytes of a text's pieces, one after another, are the text in UTF-8:

    text     "a é"    a   " "  é
    bytes             61  20   C3 A9
    pieces            a   Ġ Ã  ©         spans (0, 1)  (2, 3)  (2, 3)
"""

from collections.abc import Sequence

import numpy as np

from spacy_deberta.tokenizers.spans import First, Ints, Spans, visible_neighbors

PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(0xAE, 0x100)]
FIRST_STAND_IN = 0x100  # characters from here on stand for the bytes that are not printable
LAST_OF_WIDTH = (0x7F, 0x7FF, 0xFFFF)  # greatest code points of one, two and three bytes


def _byte_characters() -> dict[str, int]:
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    stand_ins = {chr(FIRST_STAND_IN + place): byte for place, byte in enumerate(others)}
    return {chr(byte): byte for byte in PRINTABLE} | stand_ins


BYTE_OF = _byte_characters()  # character of a piece to the byte that it stands for


def piece_bytes(piece: str) -> bytes:
    """The bytes of a piece; one that is no byte-level piece, such as "[CLS]", in UTF-8."""
    try:
        return bytes([BYTE_OF[char] for char in piece])
    except KeyError:
        return piece.encode("utf-8", errors="replace")


def byte_level_spans(n_bytes: Ints, first: First, texts: Sequence[str]) -> Spans:
    """Character spans of pieces, without the whitespace at their ends.

    Args:
        n_bytes: (N,) number of bytes of each piece.
        first: (B + 1,) number of each text's first piece, and N.
        texts: (B) the pieces of each are all of its bytes.

    Returns:
        Starts and ends, (N,) each. A character that has bytes in the piece is in its span, all of
        it; a piece of whitespace alone has an empty span.
    """
    whole = "".join(texts)
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    text_ends = np.cumsum(lengths, dtype=np.int32)
    counts = np.diff(first)
    begins, ends_of = np.repeat(text_ends - lengths, counts), np.repeat(text_ends, counts)
    byte_ends = np.cumsum(n_bytes, dtype=np.int32)
    starts, ends = _characters(byte_ends - n_bytes, byte_ends, whole)
    next_visible, last_visible = visible_neighbors(whole)
    starts = np.minimum(next_visible[starts], ends_of)
    ends = np.maximum(last_visible[ends], starts)
    return starts - begins, ends - begins


def _characters(starts: Ints, ends: Ints, text: str) -> Spans:
    """Spans of bytes as spans of the characters that have bytes in them."""
    if text.isascii():
        return starts, ends
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    widths = 1 + sum((codes > last).astype(np.int32) for last in LAST_OF_WIDTH)
    source = np.append(np.repeat(np.arange(len(text), dtype=np.int32), widths), len(text))
    return source[starts], source[ends - 1] + 1
