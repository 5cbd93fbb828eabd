"""What a tokenized corpus was made of: kept beside it, compared before it is used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.tokenizers.packing import unpack

META_FILE = "corpus.json"
PIECES_FILE = "pieces.u16"
WIDE_PIECES_FILE = "pieces.u32"  # of vocabularies that 16 bits cannot number

_VERSION = 1


@dataclass(frozen=True)
class CorpusMeta:
    """What a corpus was made of.

    Attributes:
        tokenizer: checksum.
        texts: name, size in bytes and checksum of each text file.
        n_vocab: numbers that the tokenizer has.
        n_pieces: of the corpus.
        n_sentences: the same.
        pieces: checksum of the file of pieces.
        version: of this layout.
    """

    tokenizer: str
    texts: list[dict[str, str | int]]
    n_vocab: int = 0
    n_pieces: int = 0
    n_sentences: int = 0
    pieces: str = ""
    version: int = _VERSION

    @property
    def pieces_file(self) -> str:
        """Where the pieces are: 16 bits each, or 32."""
        return PIECES_FILE if self.n_vocab <= 1 + np.iinfo(np.uint16).max else WIDE_PIECES_FILE

    @property
    def dtype(self) -> type[np.uint16] | type[np.uint32]:
        """Of the pieces."""
        return np.uint16 if self.pieces_file == PIECES_FILE else np.uint32

    def same_origin(self, other: CorpusMeta) -> bool:
        """Whether both come from the same texts by the same tokenizer."""
        return (self.version, self.tokenizer, self.texts) == (
            other.version,
            other.tokenizer,
            other.texts,
        )


def describe_texts(files: Sequence[Path], tokenizer: Tokenizer) -> CorpusMeta:
    """What a corpus of these files would be made of; reads them once.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    if not files:
        raise DataError("no text files to tokenize; expected at least one.")
    texts: list[dict[str, str | int]] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                checksum = hashlib.file_digest(opened, "sha256").hexdigest()
                texts.append({"name": file.name, "bytes": opened.tell(), "sha256": checksum})
        except OSError as error:
            raise unreadable(file, str(error)) from error
    return CorpusMeta(tokenizer_checksum(tokenizer), texts, tokenizer.n_pieces)


def tokenizer_checksum(tokenizer: Tokenizer) -> str:
    """The same for tokenizers that do the same, wherever they were loaded from."""
    packed = unpack(tokenizer.to_bytes())
    digest = hashlib.sha256(json.dumps(asdict(packed) | {"files": []}, sort_keys=True).encode())
    for name, content in sorted(packed.files.items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def read_meta(folder: Path) -> CorpusMeta | None:
    """What a folder's corpus was made of; None in folders of before this was noted.

    Raises:
        DataError: the file is damaged or of another version.
    """
    path = folder / META_FILE
    if not path.exists():
        return None
    try:
        meta = CorpusMeta(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Tokenize the texts again.") from error
    if meta.version != _VERSION:
        raise DataError(
            f"{path}: version={meta.version!r}, expected {_VERSION}. Tokenize the texts again."
        )
    return meta


def unreadable(file: Path, reason: str) -> DataError:
    """The error for a text that cannot be read."""
    return DataError(f"{file}: is not a text file in UTF-8, plain or .xz ({reason}).")
