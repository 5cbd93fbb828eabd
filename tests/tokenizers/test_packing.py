"""Bytes that are no tokenizer's are refused by what is wrong with them."""

import pytest

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import (
    AddedPiece,
    BytePairTokenizer,
    UnigramTokenizer,
    tokenizer_from_bytes,
)
from spacy_deberta.tokenizers.packing import Packed, pack, unpack


def test_what_is_packed_is_unpacked() -> None:
    packed = Packed(
        "kind", {"switch": True}, {"é\n": AddedPiece(7, lstrip=True)}, {"a": b"\n{}", "b": b""}
    )
    assert unpack(pack(packed)) == packed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"the tokenizer's bytes: 0 of them do not begin with what a tokenizer's do"),
        (b"\x00" * 100, r"100 of them do not begin"),
        (b"[]\n", r"3 of them do not begin"),
        (b'{"kind": "unigram", "settings": {}, "added": {"x": {}}, "files": {}}\n', r"AddedPiece"),
        (pack(Packed("new", {}, {}, {})), r"hold a 'new' tokenizer, expected 'unigram' or 'byte-"),
        (pack(Packed("unigram", {}, {}, {"a": b"abc"}))[:-1], r"2 behind .*, expected 3. They are"),
        (pack(Packed("unigram", {}, {}, {})), r"the tokenizer's bytes: 0 bytes, expected a Sent"),
        (pack(Packed("byte-pair", {}, {}, {})), r"the tokenizer's bytes: not valid JSON"),
    ],
)
def test_other_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        tokenizer_from_bytes(data)


def test_a_class_reads_its_own_bytes_only(tiny_tokenizer: UnigramTokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"hold a 'unigram' tokenizer, expected 'byte-pair'"):
        BytePairTokenizer.from_bytes(tiny_tokenizer.to_bytes())
