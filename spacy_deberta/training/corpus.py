"""Running text as one array of pieces on disk, with the ends of its documents and sentences.

A folder holds pieces.u16 (or .u32), sentences.i64, corpus.json, which says what they were made of,
and, written last, documents.npy. Folders of before there were sentences can be read too.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.tokenizers.encoding import Pieces
from spacy_deberta.training.corpus_meta import (
    META_FILE,
    PIECES_FILE,
    WIDE_PIECES_FILE,
    CorpusMeta,
    describe_texts,
    read_meta,
    tokenizer_checksum,
    unreadable,
)

SENTENCES_FILE = "sentences.i64"
DOCUMENTS_FILE = "documents.npy"

_CHUNK = 4096  # lines tokenized in one call
_LONGEST_LINE = 16 * 2**20  # bytes; a line is held in memory, with its pieces
_SENTENCE_END = re.compile(r"(?<=[.!?]) +")

Int64 = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class PieceCorpus:
    """Tokenized documents.

    Attributes:
        pieces: (N,) uint16 or uint32 ids of all documents, memory-mapped.
        ends: (D,) end of each document in `pieces`.
        sentences: (S,) end of each sentence in `pieces`, memory-mapped; None in old folders.
        meta: what it was made of; None in old folders.
        source: what messages call it, its folder.
    """

    pieces: Ids
    ends: Int64
    sentences: Int64 | None = None
    meta: CorpusMeta | None = None
    source: str = "the corpus"

    @classmethod
    def open(cls, folder: Path) -> PieceCorpus:
        """The corpus that `write_corpus` left in a folder; reads nothing but the documents' ends.

        Raises:
            DataError: a file is missing or damaged, or they do not fit together.
        """
        meta = read_meta(folder)
        name = meta.pieces_file if meta else PIECES_FILE
        try:
            pieces = np.memmap(folder / name, dtype=meta.dtype if meta else np.uint16, mode="r")
            ends = np.load(folder / DOCUMENTS_FILE, allow_pickle=False)
            sentences = (
                np.memmap(folder / SENTENCES_FILE, dtype=np.int64, mode="r") if meta else None
            )
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{folder}: holds no tokenized corpus ({error}). Tokenize the texts again."
            ) from error
        if ends.ndim != 1 or not len(ends) or ends[-1] != len(pieces) or (np.diff(ends) < 1).any():
            raise DataError(
                f"{folder}: {DOCUMENTS_FILE} does not end at the {len(pieces)} pieces of "
                f"{name}; tokenize the texts again."
            )
        corpus = cls(pieces, ends, sentences, meta, str(folder))
        corpus._check_counts()
        return corpus

    def verify(self) -> None:
        """Read the pieces once and compare them with the checksum of when they were written.

        Raises:
            DataError: they have changed.
        """
        if self.meta and _checksum(memoryview(self.pieces)) != self.meta.pieces:
            raise DataError(
                f"{self.source}/{self.meta.pieces_file}: its checksum is not the one in "
                f"{META_FILE}; the file is damaged. Tokenize the texts again."
            )

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """See that pieces mean the same to a tokenizer; old folders cannot tell.

        Raises:
            DataError: the corpus was made with another one.
        """
        if self.meta and self.meta.tokenizer != tokenizer_checksum(tokenizer):
            raise DataError(
                f"{self.source}: was tokenized with another tokenizer ({META_FILE}: checksum "
                f"{self.meta.tokenizer[:12]}, {self.meta.n_vocab} pieces; found "
                f"{tokenizer_checksum(tokenizer)[:12]}, {tokenizer.n_pieces} pieces). Tokenize "
                "the texts again, or use the tokenizer that the corpus was made with."
            )

    def _check_counts(self) -> None:
        if self.meta is None or self.sentences is None:
            return
        found = (len(self.pieces), len(self.sentences), int(self.sentences[-1]))
        expected = (self.meta.n_pieces, self.meta.n_sentences, self.meta.n_pieces)
        if found != expected:
            raise DataError(
                f"{self.source}: {found[0]} pieces and {found[1]} sentences that end at "
                f"{found[2]}, expected {expected[0]}, {expected[1]} and {expected[2]} from "
                f"{META_FILE}; tokenize the texts again."
            )


def write_corpus(files: Sequence[Path], tokenizer: Tokenizer, folder: Path) -> PieceCorpus:
    """Tokenize text files (documents separated by blank lines, .xz or plain) into a folder.

    Each line is tokenized as a whole; its sentences are found afterwards.

    Raises:
        DataError: a file that cannot be read, or without a document.
    """
    meta = describe_texts(files, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (META_FILE, DOCUMENTS_FILE, SENTENCES_FILE, PIECES_FILE, WIDE_PIECES_FILE):
        (folder / name).unlink(missing_ok=True)  # a writer that is killed leaves no whole corpus
    written = (folder / meta.pieces_file, folder / SENTENCES_FILE)
    try:
        with written[0].open("wb") as pieces, written[1].open("wb") as sentences:
            writer = _Writer(pieces, sentences, meta.dtype)
            for file in files:
                writer.add(file, tokenizer)
    except (DataError, OSError) as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder}: cannot be written ({error}).") from error
    counts = {"n_pieces": writer.n_pieces, "n_sentences": writer.n_sentences}
    content = {**asdict(meta), **counts, "pieces": writer.checksum.hexdigest()}
    (folder / META_FILE).write_text(json.dumps(content, indent=2), encoding="utf-8")
    np.save(folder / DOCUMENTS_FILE, np.asarray(writer.ends, dtype=np.int64))
    return PieceCorpus.open(folder)


@dataclass
class _Writer:
    """Appends documents to the open files of a corpus."""

    pieces: IO[bytes]
    sentences: IO[bytes]
    dtype: type[np.uint16] | type[np.uint32]
    ends: array[int] = field(default_factory=lambda: array("q"))
    n_pieces: int = 0
    n_sentences: int = 0
    checksum: Any = field(default_factory=hashlib.sha256)

    def add(self, file: Path, tokenizer: Tokenizer) -> None:
        """Append the documents of a file; DataError if it has none."""
        before = len(self.ends)
        for lines in _chunks(read_lines([file])):
            for line, pieces in zip(lines, tokenizer.encode_batch(lines), strict=True):
                if line:
                    self._add_line(line, pieces)
                elif self.n_pieces > (self.ends[-1] if self.ends else 0):
                    self.ends.append(self.n_pieces)
        if len(self.ends) == before:
            raise DataError(f"{file}: no document found, expected text.")

    def _add_line(self, line: str, pieces: Pieces) -> None:
        data = pieces.ids.astype(self.dtype).tobytes()
        self.pieces.write(data)
        self.checksum.update(data)
        starts = [match.end() for match in _SENTENCE_END.finditer(line)]
        cuts = np.searchsorted(pieces.starts, starts).astype(np.int64)
        ends = np.unique(np.append(cuts, len(pieces)))
        ends = ends[ends > 0] + self.n_pieces
        self.sentences.write(ends.tobytes())
        self.n_sentences += len(ends)
        self.n_pieces += len(pieces)


def read_lines(files: Sequence[Path]) -> Iterator[str]:
    """Lines of all files, stripped; an empty line after every document.

    Raises:
        DataError: a file is missing, cut off, not UTF-8, has a NUL byte or a line of over 16 MiB.
    """
    for file in files:
        opened = cast(Callable[..., IO[bytes]], lzma.open if file.suffix == ".xz" else open)
        try:
            with opened(file, "rb") as stream:
                for number, line in enumerate(_byte_lines(stream), start=1):
                    yield _decode(number, line).strip()
        except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
            raise unreadable(file, str(error)) from error
        yield ""


def _byte_lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE + 1):
        yield line


def _decode(number: int, line: bytes) -> str:
    """The text of a line; ValueError with its number if it is none."""
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"line {number}: over {_LONGEST_LINE} bytes, expected a paragraph a line")
    if (place := line.find(b"\0")) >= 0:
        raise ValueError(f"line {number}: NUL at byte {place}, expected text")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number}: {error}") from error


def _checksum(data: memoryview) -> str:
    return hashlib.sha256(data.cast("B")).hexdigest()


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(lines)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk


def read_sentences(files: Sequence[Path]) -> Iterator[str]:
    """Sentences of text files, cut roughly behind ".", "!" and "?"; empty lines are left out."""
    for line in read_lines(files):
        yield from (sentence for sentence in _SENTENCE_END.split(line) if sentence)
