"""A tokenizer as bytes: one line of JSON that says what follows, then the vocabulary's files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece

WHAT = "the tokenizer's bytes"
MAX_HEADER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Packed:
    """What a tokenizer is made of.

    Attributes:
        kind: which class it is.
        settings: arguments of that class, but for the next two.
        added: pieces that are looked for in texts.
        files: name to content.
    """

    kind: str
    settings: Mapping[str, Any]
    added: Mapping[str, AddedPiece]
    files: Mapping[str, bytes]


def pack(packed: Packed) -> bytes:
    """Serialize."""
    header = {
        "kind": packed.kind,
        "settings": dict(packed.settings),
        "added": {piece: asdict(entry) for piece, entry in packed.added.items()},
        "files": {name: len(content) for name, content in packed.files.items()},
    }
    return json.dumps(header).encode("ascii") + b"\n" + b"".join(packed.files.values())


def unpack(data: bytes) -> Packed:
    """Read what `pack` has written.

    Raises:
        TokenizerError: the bytes are something else, or cut off.
    """
    line = data[: data.find(b"\n", 0, MAX_HEADER_BYTES) + 1]
    try:
        header = json.loads(line)
        added = {piece: AddedPiece(**entry) for piece, entry in header["added"].items()}
        sizes = {str(name): int(size) for name, size in header["files"].items()}
        kind, settings = str(header["kind"]), dict(header["settings"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise TokenizerError(
            f"{WHAT}: {len(data)} of them do not begin with what a tokenizer's do ({error!r}). "
            "Save the pipeline or the tokenizer again."
        ) from error
    return Packed(kind, settings, added, _split(data[len(line) :], sizes))


def unpack_as(kind: str, data: bytes) -> Packed:
    """Read what `pack` has written of a tokenizer of this kind; TokenizerError for another."""
    packed = unpack(data)
    if packed.kind != kind:
        raise TokenizerError(
            f"{WHAT}: hold a {packed.kind!r} tokenizer, expected {kind!r}. Read them with "
            "spacy_deberta.tokenizers.tokenizer_from_bytes."
        )
    return packed


def _split(content: bytes, sizes: Mapping[str, int]) -> dict[str, bytes]:
    if min(sizes.values(), default=0) < 0 or sum(sizes.values()) != len(content):
        raise TokenizerError(
            f"{WHAT}: {len(content)} behind their header, expected {sum(sizes.values())}. They "
            "are cut off; save the pipeline or the tokenizer again."
        )
    files, at = {}, 0
    for name, size in sizes.items():
        files[name] = content[at : at + size]
        at += size
    return files
