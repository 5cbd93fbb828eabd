"""Microsoft's bpe_encoder.bin is read as plain data, and makes the pieces of the other layout."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import BytePairTokenizer, load_tokenizer
from spacy_deberta.tokenizers import byte_pair_files as module
from spacy_deberta.tokenizers.bpe import parse_merges


def encoder_content(tokenizer: BytePairTokenizer) -> dict[str, Any]:
    """The file of such a vocabulary: GPT-2's numbers are in another order than the model's."""
    files = tokenizer.vocabulary_files()
    pieces = [p for p in json.loads(files["vocab.json"]) if p not in tokenizer.added]
    encoder = {piece: number for number, piece in enumerate(reversed(pieces))}
    by_number = sorted(pieces, key=json.loads(files["vocab.json"]).__getitem__)
    order = [(str(encoder[piece]), 9) for piece in by_number]
    return {
        "dict_map": order,
        "vocab": [list(pair) for pair in parse_merges(files["merges.txt"], "merges.txt")],
        "encoder": encoder,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_pieces_are_those_of_the_other_layout(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path, zipped: bool
) -> None:
    content = encoder_content(tiny_v1_tokenizer)
    torch.save(content, tmp_path / "bpe_encoder.bin", _use_new_zipfile_serialization=zipped)
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, BytePairTokenizer)
    for number in range(tiny_v1_tokenizer.n_pieces):
        assert tokenizer.piece(number) == tiny_v1_tokenizer.piece(number)
    text = "the old [MASK] river ☃"
    for specials in (False, True):
        expected = tiny_v1_tokenizer.encode(text, specials=specials).ids.tolist()
        assert tokenizer.encode(text, specials=specials).ids.tolist() == expected


def test_names_that_are_no_numbers_keep_their_place(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path
) -> None:
    content = encoder_content(tiny_v1_tokenizer)
    content["dict_map"].append(("madeupword0000", 0))
    torch.save(content, tmp_path / "bpe_encoder.bin")
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.piece(511), tokenizer.mask_id) == ("madeupword0000", 512)


class _Marker:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def test_a_file_that_needs_more_than_data_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"encoder": _Marker(str(marker))}, tmp_path / "bpe_encoder.bin")
    with pytest.raises(TokenizerError, match=r"bpe_encoder.bin: cannot be read as plain data"):
        load_tokenizer(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"bpe_encoder.bin: malformed .* expected a dict of dict_map, vocab, encoder"),
        ({"encoder": {}}, r"bpe_encoder.bin: malformed \(KeyError\('dict_map'\)\)"),
        ({"encoder": {}, "dict_map": [("7", 1)], "vocab": []}, r"malformed \(KeyError\(7\)\)"),
        ({"encoder": {}, "dict_map": [], "vocab": []}, r"256 of the 256 bytes have no piece"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "bpe_encoder.bin")
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no such file", b"PK\x03\x04 cut", b"\x80\x02."])
def test_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bpe_encoder.bin").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"bpe_encoder.bin: "):
        load_tokenizer(tmp_path)


def test_file_above_its_cap_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 3)
    (tmp_path / "bpe_encoder.bin").write_bytes(b"abcd")
    with pytest.raises(TokenizerError, match=r"bpe_encoder.bin: 4 bytes, expected 3 at most"):
        load_tokenizer(tmp_path)
