"""Running text as one array of pieces on disk, cut into windows that never cross a document."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer

PIECES_FILE = "pieces.u16"
DOCUMENTS_FILE = "documents.npy"

_CHUNK = 4096  # lines tokenized in one call
_SENTENCE_END = re.compile(r"(?<=[.!?]) +")

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PieceCorpus:
    """Tokenized documents.

    Attributes:
        pieces: (N,) uint16 ids of all documents, memory-mapped.
        ends: (D,) end of each document in `pieces`.
    """

    pieces: npt.NDArray[np.uint16]
    ends: Int64

    @classmethod
    def open(cls, folder: Path) -> PieceCorpus:
        """The corpus that `write_corpus` left in a folder.

        Raises:
            DataError: a file is missing or damaged, or the two do not fit together.
        """
        try:
            pieces = np.memmap(folder / PIECES_FILE, dtype=np.uint16, mode="r")
            ends = np.load(folder / DOCUMENTS_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{folder}: holds no tokenized corpus ({error}).") from error
        if ends.ndim != 1 or not len(ends) or ends[-1] != len(pieces) or (np.diff(ends) < 1).any():
            raise DataError(
                f"{folder}: {DOCUMENTS_FILE} does not end at the {len(pieces)} pieces of "
                f"{PIECES_FILE}; tokenize the texts again."
            )
        return cls(pieces, ends)

    def windows(self, room: int) -> npt.NDArray[np.int64]:
        """Cut every document into even windows of at most `room` pieces.

        Returns:
            (W, 2) start and end in `pieces`.
        """
        cuts = []
        start = 0
        for end in self.ends.tolist():
            n_windows = -(-(end - start) // room)
            edges = np.linspace(start, end, n_windows + 1).astype(np.int64)
            cuts.append(np.stack([edges[:-1], edges[1:]], axis=1))
            start = end
        return np.concatenate(cuts)


def write_corpus(files: Sequence[Path], tokenizer: Tokenizer, folder: Path) -> PieceCorpus:
    """Tokenize text files (documents separated by blank lines, .xz or plain) into a folder.

    Raises:
        DataError: a file that cannot be read, no document in the files, or a vocabulary that 16
            bits cannot number.
    """
    if tokenizer.n_pieces > np.iinfo(np.uint16).max:
        raise DataError(f"the tokenizer has {tokenizer.n_pieces} pieces, expected at most 65535.")
    folder.mkdir(parents=True, exist_ok=True)
    ends: list[int] = []
    total = 0
    with (folder / PIECES_FILE).open("wb") as out:
        for lines in _chunks(read_lines(files)):
            for line, pieces in zip(lines, tokenizer.encode_batch(lines), strict=True):
                if line:
                    total += len(pieces.ids)
                    out.write(pieces.ids.astype(np.uint16).tobytes())
                elif total > (ends[-1] if ends else 0):
                    ends.append(total)
    if not ends:
        (folder / PIECES_FILE).unlink()
        raise DataError(f"{', '.join(map(str, files))}: no document found, expected text.")
    np.save(folder / DOCUMENTS_FILE, np.asarray(ends, dtype=np.int64))
    return PieceCorpus.open(folder)


def read_lines(files: Sequence[Path]) -> Iterator[str]:
    """Lines of all files, stripped; an empty line after every document."""
    for file in files:
        opened = lzma.open if file.suffix == ".xz" else open
        try:
            with opened(file, "rt", encoding="utf-8") as lines:
                yield from (line.strip() for line in lines)
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise DataError(
                f"{file}: is not a text file in UTF-8, plain or .xz ({error})."
            ) from error
        yield ""


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(lines)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk


def read_sentences(files: Sequence[Path]) -> Iterator[str]:
    """Sentences of text files, cut roughly behind ".", "!" and "?"; empty lines are left out."""
    for line in read_lines(files):
        yield from (sentence for sentence in _SENTENCE_END.split(line) if sentence)
