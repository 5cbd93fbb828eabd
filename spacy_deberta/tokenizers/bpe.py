"""Byte-level BPE with DeBERTa's special pieces (v1: GPT-2's merges, RoBERTa's numbers)."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer as BackEnd
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.byte_level import BYTE_OF, byte_level_spans, piece_bytes
from spacy_deberta.tokenizers.encoding import AddedPiece, Pieces, per_text, replace_surrogates
from spacy_deberta.tokenizers.files import parse_object, write_folder
from spacy_deberta.tokenizers.packing import WHAT, Packed, pack, unpack_as
from spacy_deberta.tokenizers.spans import First, Ints, attach_empty
from spacy_deberta.tokenizers.special import MASK, MAX_PIECES, SPECIAL, UNK, AddedPieces

VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"
MERGES_HEADER = "#version: 0.2\n"
KIND = "byte-pair"


class BytePairTokenizer:
    """Text to pieces with character offsets; immutable, safe to share between threads.

    Args:
        vocab: piece (bytes as GPT-2's printable characters, "Ġ" for a space) to number, the
            special pieces included.
        merges: pairs of pieces, the first merged first.
        added: pieces that are looked for in texts, beside or in place of the five special ones.
        add_prefix_space: read a text that does not begin with whitespace as if a space did.
        source: what error messages call the vocabulary, usually its path.

    Raises:
        TokenizerError: a special piece or a byte is missing, or numbers and merges do not fit.
    """

    space_marker = "Ġ"

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        added: Mapping[str, AddedPiece] | None = None,
        add_prefix_space: bool = False,
        source: str = VOCAB_FILE,
    ) -> None:
        self.add_prefix_space = add_prefix_space
        _check_vocab(vocab, source)
        self._vocab = dict(sorted(vocab.items(), key=lambda item: item[1]))
        self._merges = list(merges)
        own = _special_ids(vocab, added or {}, source)
        self.pad_id, self.cls_id, self.sep_id, self.unk_id, self.mask_id = own.values()
        given = {MASK: AddedPiece(self.mask_id, lstrip=True), **(added or {})}
        self._added = AddedPieces(given, own, source)
        self.added: Mapping[str, AddedPiece] = self._added.pieces
        self._by_id = _pieces_by_id(vocab, self._added.by_id, source)
        self.n_pieces = 1 + max(self._by_id)
        self._back_end = _back_end(self._vocab, self._merges, source)
        self._n_bytes = np.zeros(self.n_pieces, dtype=np.int32)
        for id, piece in self._by_id.items():
            self._n_bytes[id] = len(piece_bytes(piece))

    def encode(self, text: str, *, specials: bool = False) -> Pieces:
        """Split one text into pieces; only "" has none.

        Args:
            text: any string.
            specials: special pieces typed in the text become their numbers; else they are text.
        """
        return self.encode_batch([text], specials=specials)[0]

    def encode_batch(self, texts: Sequence[str], *, specials: bool = False) -> list[Pieces]:
        """Split texts into pieces; each result depends on its own text only.

        Lone surrogates count as U+FFFD, with a SurrogateWarning.
        """
        texts = replace_surrogates(texts)
        if not self.add_prefix_space:
            return per_text(*self._added.encode(texts, self._encode_parts, specials=specials))
        spaced = [f" {text}" if text and not text[0].isspace() else text for text in texts]
        block, first = self._added.encode(spaced, self._encode_parts, specials=specials)
        shift = np.array([len(s) - len(t) for s, t in zip(spaced, texts, strict=True)], np.int32)
        block[1:] = np.maximum(block[1:] - np.repeat(shift, np.diff(first)), 0)
        return per_text(block, first)

    def _encode_parts(self, texts: Sequence[str]) -> tuple[Ints, First]:
        """Ids, starts and ends of all pieces, (3, N); number of each text's first piece, and N."""
        # One by one: no threads, which a process that forks later would have to do without.
        encode = self._back_end.encode
        id_lists: list[list[int]] = [encode(text).ids if text else [] for text in texts]
        first = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in id_lists], out=first[1:])
        block = np.empty((3, first[-1]), dtype=np.int32)
        block[0] = np.fromiter(chain.from_iterable(id_lists), dtype=np.int32, count=first[-1])
        block[1:] = byte_level_spans(self._n_bytes[block[0]], first, texts)
        attach_empty(block[1], block[2], first)
        return block, first

    def piece(self, id: int) -> str:
        """The string of a piece, "Ġ" for a space; TokenizerError if there is no such piece."""
        if not 0 <= id < self.n_pieces:
            raise TokenizerError(
                f"piece number {id} is not in the vocabulary; numbers run from 0 to "
                f"{self.n_pieces - 1}"
            )
        return self._by_id.get(id, UNK)

    def piece_id(self, piece: str) -> int | None:
        """The number of a piece; None if there is no such piece."""
        return self.added[piece].id if piece in self.added else self._vocab.get(piece)

    def decode(self, ids: Iterable[int]) -> str:
        """Join pieces to a text, to the byte; special pieces stand in it by name.

        Bytes that are no UTF-8 read U+FFFD. Pieces that users added are words of their own.
        Numbers that only pad the model's table read "[UNK]".
        """
        return self._added.join(ids, self._decode)

    def _decode(self, ids: Sequence[int]) -> str:
        joined = b"".join(piece_bytes(self._by_id.get(id, UNK)) for id in ids)
        return joined.decode("utf-8", errors="replace")

    def vocabulary_files(self) -> dict[str, bytes]:
        """vocab.json and merges.txt."""
        merges = "".join(f"{first} {second}\n" for first, second in self._merges)
        return {
            VOCAB_FILE: json.dumps(self._vocab, ensure_ascii=False).encode(),
            MERGES_FILE: (MERGES_HEADER + merges).encode(),
        }

    def save(self, folder: Path) -> None:
        """Write the files that `load_tokenizer` reads."""
        settings = {
            "tokenizer_class": "DebertaTokenizer",
            "vocab_type": "gpt2",
            "do_lower_case": False,
            "add_prefix_space": self.add_prefix_space,
        }
        write_folder(folder, self.vocabulary_files(), settings, self.added)

    def to_bytes(self) -> bytes:
        """Serialize the tokenizer: settings, added pieces, vocab.json and merges.txt."""
        settings = {"add_prefix_space": self.add_prefix_space}
        return pack(Packed(KIND, settings, self.added, self.vocabulary_files()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Rebuild a tokenizer from `to_bytes`; TokenizerError if they are of another."""
        packed = unpack_as(KIND, data)
        return cls(
            parse_object(packed.files.get(VOCAB_FILE, b""), WHAT),
            parse_merges(packed.files.get(MERGES_FILE, b""), WHAT),
            added=packed.added,
            add_prefix_space=packed.settings.get("add_prefix_space") is True,
            source=WHAT,
        )

    def __reduce__(self) -> tuple[Callable[[bytes], Self], tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)


def parse_merges(content: bytes, source: str) -> list[tuple[str, str]]:
    """The pairs of merges.txt, one a line, the header left out.

    Raises:
        TokenizerError: a line is no pair; says which.
    """
    try:
        lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{source}: is not UTF-8 ({error}). Download it again.") from error
    is_headed = lines[0].startswith("#version")
    pairs = []
    for number, line in enumerate(lines, start=1):
        if (number == 1 and is_headed) or not line:
            continue
        first, _, second = line.partition(" ")
        if not first or not second or " " in second:
            raise TokenizerError(
                f"{source}: line {number} is {line[:40]!r}, expected two pieces with a space "
                "between them. Download it again."
            )
        pairs.append((first, second))
    return pairs


def _special_ids(
    vocab: Mapping[str, int], added: Mapping[str, AddedPiece], source: str
) -> dict[str, int]:
    """Numbers of the five special pieces, of which the vocabulary need not hold all."""
    ids = {piece: added[piece].id for piece in SPECIAL if piece in added}
    ids |= {piece: vocab[piece] for piece in SPECIAL if piece in vocab}
    missing = [piece for piece in SPECIAL if piece not in ids]
    if missing:
        found = ", ".join(islice(vocab, 4))
        raise TokenizerError(
            f"{source}: no piece {missing[0]!r}; DeBERTa's vocabulary begins with "
            f"{', '.join(SPECIAL[:4])} and ends with {MASK}, this one begins with {found}. Use the "
            "files saved with the checkpoint."
        )
    return {piece: ids[piece] for piece in SPECIAL}


def _check_vocab(vocab: Mapping[str, int], source: str) -> None:
    """Refuse what is no number, and a vocabulary that lacks a byte."""
    for piece, id in vocab.items():
        if type(id) is not int or not 0 <= id < MAX_PIECES:
            raise TokenizerError(
                f"{source}: piece {piece!r} has number {id!r}, expected one from 0 to "
                f"{MAX_PIECES - 1}. Use the checkpoint's own file."
            )
    absent = [char for char in BYTE_OF if char not in vocab]
    if absent:
        raise TokenizerError(
            f"{source}: {len(absent)} of the 256 bytes have no piece, the first is {absent[0]!r}. "
            "Expected a byte-level vocabulary such as GPT-2's; use the checkpoint's own file."
        )


def _pieces_by_id(
    vocab: Mapping[str, int], added: Mapping[int, str], source: str
) -> dict[int, str]:
    """Number to piece, each number once."""
    by_id: dict[int, str] = {}
    for piece, id in [*vocab.items(), *((piece, id) for id, piece in added.items())]:
        if by_id.setdefault(id, piece) != piece:
            raise TokenizerError(
                f"{source}: {by_id[id]!r} and {piece!r} both have number {id}. Use the "
                "checkpoint's own files together."
            )
    return by_id


def _back_end(vocab: dict[str, int], merges: list[tuple[str, str]], source: str) -> BackEnd:
    """The model of the `tokenizers` library, behind GPT-2's way to split texts into words."""
    try:
        model = BPE(vocab, merges)
    except Exception as error:  # the library raises nothing more specific
        raise TokenizerError(
            f"{source}: its merges do not fit its pieces ({error}). Use {VOCAB_FILE} and "
            f"{MERGES_FILE} of one checkpoint."
        ) from error
    back_end = BackEnd(model)
    back_end.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return back_end
