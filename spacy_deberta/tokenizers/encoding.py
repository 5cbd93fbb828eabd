"""What every tokenizer does and returns, and how any Python string becomes encodable."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class SurrogateWarning(UserWarning):
    """Lone surrogates were replaced before tokenization; offsets are not affected."""


class TruncationWarning(UserWarning):
    """Texts were cut without having been asked for by name, or are longer than the model takes."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of one text, without special pieces.

    Shapes: ids, starts, ends: (N,) int32. Piece i is the vocabulary's row ids[i] and covers
    text[starts[i]:ends[i]] of the caller's string.
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def per_text(block: npt.NDArray[np.int32], first: npt.NDArray[np.int64]) -> list[Pieces]:
    """Pieces of each text from those of all; a kept result keeps no other text's arrays alive.

    Args:
        block: (3, N) ids, starts and ends.
        first: (B + 1,) number of each text's first piece, and N.
    """
    return [Pieces(*block[:, a:b].copy()) for a, b in pairwise(first.tolist())]


@dataclass(frozen=True)
class AddedPiece:
    """A piece that is found in the text as it is typed, before the model sees the rest.

    Attributes:
        id: its number.
        special: found only when asked for (`specials=True`); the others always are.
        lstrip: takes the whitespace before it.
        rstrip: takes the whitespace behind it.
        single_word: found only between spaces or the text's ends.
    """

    id: int
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class Tokenizer(Protocol):
    """Text to pieces and back; the vocabulary of one checkpoint. Immutable, threads may share it.

    Attributes:
        pad_id: number of [PAD], as the next four of theirs.
        n_pieces: one more than the greatest number; numbers without a piece read "[UNK]".
        space_marker: what a piece begins with where the text has a space.
        added: pieces that are looked for in texts, by their strings: the five special ones, and
            those that users added.
    """

    pad_id: int
    cls_id: int
    sep_id: int
    unk_id: int
    mask_id: int
    n_pieces: int
    space_marker: str
    added: Mapping[str, AddedPiece]

    def encode(self, text: str, *, specials: bool = False) -> Pieces:
        """Split one text into pieces; no special pieces are put around it.

        Args:
            text: any string.
            specials: special pieces typed in the text become their numbers; else they are text.
        """

    def encode_batch(self, texts: Sequence[str], *, specials: bool = False) -> list[Pieces]:
        """Split texts into pieces; each result depends on its own text only."""

    def piece(self, id: int) -> str:
        """The string of a piece; TokenizerError if there is no such piece."""

    def piece_id(self, piece: str) -> int | None:
        """The number of a piece; None if there is no such piece."""

    def decode(self, ids: Iterable[int]) -> str:
        """Join pieces to a text; special pieces stand in it by name."""

    def vocabulary_files(self) -> dict[str, bytes]:
        """Name and content of the files that hold the vocabulary."""

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` reads."""

    def to_bytes(self) -> bytes:
        """Serialize the tokenizer; `tokenizer_from_bytes` reads it."""


def replace_surrogates(texts: Sequence[str]) -> list[str]:
    """Replace every lone surrogate by U+FFFD, one for one, and warn with their number.

    A lone surrogate (half of a UTF-16 pair, often the trace of a wrong decoding) has no UTF-8 form,
    so no tokenizer can read it. Lengths, and so all offsets, stay as they are.
    """
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        replaced = [LONE_SURROGATE.subn(REPLACEMENT, text) for text in texts]
        n_found = sum(n for _, n in replaced)
        n_texts = sum(n > 0 for _, n in replaced)
        warnings.warn(
            f"{n_found} lone surrogate(s) in {n_texts} of {len(texts)} text(s) replaced by U+FFFD "
            "for tokenization; offsets are unchanged. Decode the source with its own encoding.",
            SurrogateWarning,
            stacklevel=3,
        )
        return [text for text, _ in replaced]
    return list(texts)
