"""The bytes of a SentencePiece model: looked over before SentencePiece reads them, and written.

The file is a protocol buffer, a sequence of (tag, content); we need four of its messages:

    ModelProto      1: pieces, one each   2: trainer   3: normalizer
    piece           1: string   2: score (float)   3: type
    trainer         3: model type   4: number of pieces   35: has byte pieces   40-43, 45-48: ids
                    and strings of unknown, begin, end and padding piece
    normalizer      1: name   2: rules, compiled

Source: sentencepiece_model.proto of SentencePiece.
"""

import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.special import CLS, MAX_PIECES, PAD, SEP, UNK

MAX_MODEL_BYTES = 64 * 2**20  # mDeBERTa's model, the largest released, has 4.3 MB
MAX_PIECE_BYTES = 4096  # of one piece with its score and type
FIXED_64, LENGTH, FIXED_32 = 1, 2, 5  # wire types; 0 is a number of variable length
FIXED_SIZES = {FIXED_64: 8, FIXED_32: 4}
MORE = 0x80  # set in all bytes of a number but the last
MAX_BITS = 64  # of a number
PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of the model
ORDINARY, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # types of pieces
UNIGRAM = 1  # type of models
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
RULES = "nmt_nfkc"  # SentencePiece's name for NFKC, spaces and control characters


@dataclass(frozen=True)
class Vocabulary:
    """What a unigram model knows.

    Attributes:
        pieces: strings, in the order of their numbers.
        scores: log probabilities, as many.
        rules: the compiled rules of normalization; None = NFKC.
    """

    pieces: Sequence[str]
    scores: Sequence[float]
    rules: bytes | None


def check_model(model: bytes, source: str) -> None:
    """Look over a model before the C++ reader does: sizes, and the frame of its messages.

    Raises:
        TokenizerError: too small or large, too many pieces, or no such file.
    """
    if not 0 < len(model) <= MAX_MODEL_BYTES:
        raise TokenizerError(
            f"{source}: {len(model)} bytes, expected a SentencePiece model of 1 to "
            f"{MAX_MODEL_BYTES} bytes. Download the file again (an empty or tiny one is often a "
            "pointer to large-file storage)."
        )
    n_pieces = 0
    try:
        for field, start, end in _fields(model):
            n_pieces += field == PIECES
            if n_pieces > MAX_PIECES or (field == PIECES and end - start > MAX_PIECE_BYTES):
                raise TokenizerError(
                    f"{source}: piece {n_pieces - 1} has {end - start} bytes; expected "
                    f"{MAX_PIECES} pieces at most, of {MAX_PIECE_BYTES} bytes at most. "
                    "Use the spm.model saved with the checkpoint."
                )
    except IndexError as error:
        raise TokenizerError(
            f"{source}: SentencePiece cannot read these {len(model)} bytes ({error}). Expected a "
            "model file such as DeBERTa-v3's spm.model; download it again."
        ) from error


def write_model(vocabulary: Vocabulary) -> bytes:
    """A SentencePiece model made of a vocabulary in DeBERTa's layout.

    The five special pieces are found by name, and the 256 byte pieces, if all are there.
    """
    known = set(vocabulary.pieces)
    has_bytes = known.issuperset(BYTE_PIECES)
    types = dict.fromkeys(BYTE_PIECES, BYTE) if has_bytes else {}
    types |= {PAD: CONTROL, CLS: CONTROL, SEP: CONTROL, "[MASK]": CONTROL, UNK: UNKNOWN}
    parts = [
        _message(
            PIECES,
            _message(1, piece.encode()) + b"\x15" + struct.pack("<f", score),
            _number(3, types.get(piece, ORDINARY)),
        )
        for piece, score in zip(vocabulary.pieces, vocabulary.scores, strict=True)
    ]
    trainer = [_number(3, UNIGRAM), _number(4, len(parts)), _number(35, int(has_bytes))]
    for place, piece in enumerate((UNK, CLS, SEP, PAD)):
        if piece in known:
            trainer.append(_number(40 + place, list(vocabulary.pieces).index(piece)))
            trainer.append(_message(45 + place, piece.encode()))
    rules = default_rules() if vocabulary.rules is None else vocabulary.rules
    normalizer = _message(1, RULES.encode()) + _message(2, rules)
    return b"".join([*parts, _message(TRAINER, *trainer), _message(NORMALIZER, normalizer)])


def default_rules() -> bytes:
    """SentencePiece's own compiled rules for NFKC."""
    return _rules_of(sentencepiece.SentencePieceNormalizer(rule_name=RULES))


def compiled_rules(table: str) -> bytes:
    """Rules of one's own, compiled: a line for each, source and target in hexadecimal code points.

    "41 TAB 61" writes an "a" for every "A"; characters without a rule stay.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.tsv"
        path.write_text(table, encoding="ascii")
        return _rules_of(sentencepiece.SentencePieceNormalizer(rule_tsv=str(path)))


def _rules_of(normalizer: sentencepiece.SentencePieceNormalizer) -> bytes:
    return _content(_content(normalizer.serialized_model_proto(), NORMALIZER), 2)


def _content(message: bytes, wanted: int) -> bytes:
    return next(message[start:end] for field, start, end in _fields(message) if field == wanted)


def _fields(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Number of each field, and where its content begins and ends; IndexError where it is none."""
    at, n_bytes = 0, len(message)
    while at < n_bytes:
        tag, at = _read_number(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == LENGTH:
            size, at = _read_number(message, at)
        elif wire in FIXED_SIZES:
            size = FIXED_SIZES[wire]
        elif wire == 0:
            size = _read_number(message, at)[1] - at
        else:
            raise IndexError(f"wire type {wire} at byte {at}")
        if at + size > n_bytes or field == 0:
            raise IndexError(f"field {field} of {size} bytes at byte {at}")
        yield field, at, at + size
        at += size


def _read_number(message: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, 7 bits a byte, and where the next field begins."""
    byte = message[at]
    if byte < MORE:
        return byte, at + 1
    number, shift = byte & ~MORE, 7
    while byte >= MORE:
        if shift >= MAX_BITS:
            raise IndexError(f"number of more than 64 bits at byte {at}")
        at += 1
        byte = message[at]
        number |= (byte & ~MORE) << shift
        shift += 7
    return number, at + 1


def _number(field: int, number: int) -> bytes:
    return _encode_number(field << 3) + _encode_number(number)


def _message(field: int, *content: bytes) -> bytes:
    joined = b"".join(content)
    return _encode_number(field << 3 | LENGTH) + _encode_number(len(joined)) + joined


def _encode_number(number: int) -> bytes:
    encoded: Iterable[int] = ()
    while number >= MORE:
        encoded = (*encoded, number & 0x7F | MORE)
        number >>= 7
    return bytes((*encoded, number))
