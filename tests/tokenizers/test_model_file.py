# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""A SentencePiece model is looked over before the C++ reader sees it, and can be written."""

import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.tokenizers import model_file as module
from spacy_deberta.tokenizers.model_file import Vocabulary, check_model, write_model

TEXTS = ["the old river ☃ ½", "ﬁne Ａ１\u3000x\u200by", "日本語", "[MASK] <0x41>", "  two  "]


def vocabulary_of(tokenizer: UnigramTokenizer) -> Vocabulary:
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=tokenizer.vocabulary_files()["spm.model"]
    )
    numbers = list(range(processor.get_piece_size()))
    return Vocabulary(processor.id_to_piece(numbers), processor.get_score(numbers), rules=None)


def test_written_model_is_the_model_it_was_made_from(tiny_tokenizer: UnigramTokenizer) -> None:
    written = UnigramTokenizer(write_model(vocabulary_of(tiny_tokenizer)))
    assert written.n_pieces == tiny_tokenizer.n_pieces
    for text in TEXTS:
        expected, found = tiny_tokenizer.encode(text), written.encode(text)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.starts.tolist() == expected.starts.tolist()


def test_model_without_all_bytes_has_unknown_pieces(tiny_tokenizer: UnigramTokenizer) -> None:
    vocabulary = vocabulary_of(tiny_tokenizer)
    kept = [row for row in zip(vocabulary.pieces, vocabulary.scores, strict=True)
            if row[0] != "<0x00>"]  # fmt: skip
    pieces, scores = zip(*kept, strict=True)
    written = UnigramTokenizer(write_model(Vocabulary(pieces, scores, rules=None)))
    assert written.unk_id in written.encode("☃").ids


def long_number(size: int) -> bytes:
    return b"\x80" * size + b"\x01"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", r"spm: 0 bytes, expected a SentencePiece model of 1 to \d+ bytes"),
        (b"\x0a", r"spm: SentencePiece cannot read these 1 bytes"),
        (b"\x0a\x05abc", r"cannot read these 5 bytes \(field 1 of 5 bytes at byte 2\)"),
        (b"\x0b\x00", r"cannot read these 2 bytes \(wire type 3 at byte 1\)"),
        (b"\x0a" + long_number(10), r"number of more than 64 bits"),
        (b"\x0a" + long_number(8), r"field 1 of \d+ bytes"),
        (b"\x02\x00", r"field 0 of 0 bytes"),
    ],
)
def test_damaged_frame_is_refused(model: bytes, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        check_model(model, "spm")


def test_sizes_and_counts_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokenizerError, match=r"piece 1 has 4097 bytes; expected .* 4096 bytes"):
        check_model(b"\x0a\x00\x0a\x81\x20" + bytes(4097), "spm")
    monkeypatch.setattr(module, "MAX_PIECES", 3)
    with pytest.raises(TokenizerError, match=r"piece 3 has 0 bytes; expected 3 pieces at most"):
        check_model(b"\x0a\x00" * 4, "spm")
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 3)
    with pytest.raises(TokenizerError, match=r"spm: 4 bytes, expected .* of 1 to 3 bytes"):
        check_model(b"\x0a\x00" * 2, "spm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"[CLS]": "<s>"}, r"no piece '\[CLS\]'"),
        ({"the": "old"}, r"SentencePiece cannot read .* is already defined"),
        ({"the": ""}, r"SentencePiece cannot read .* must not be empty"),
        ({"[UNK]": "<unk>"}, r"SentencePiece cannot read .*unk"),
    ],
)
def test_wrong_pieces_are_refused(change: dict[str, str], message: str) -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "old"]
    changed = [change.get(piece, piece) for piece in pieces]
    with pytest.raises(TokenizerError, match=message):
        UnigramTokenizer(write_model(Vocabulary(changed, [0.0] * 6, rules=None)))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the"]
    model = write_model(Vocabulary(pieces, [0.0, 0.0, 0.0, 0.0, score], rules=None))
    with pytest.raises(TokenizerError, match=r"spm: SentencePiece cannot read .*NaN or Inf"):
        UnigramTokenizer(model, source="spm")


@pytest.mark.slow
def test_process_survives_damaged_models(tiny_spm_folder: Path) -> None:
    """Cut anywhere, or with any byte changed: a tokenizer that splits, or an error."""
    finished = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tiny_spm_folder / "spm.model")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    n_refused, n_read = map(int, finished.stdout.split())
    assert n_refused > 100
    assert n_refused + n_read == 600


FUZZ = """
import random, sys
from pathlib import Path
from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer

model = Path(sys.argv[1]).read_bytes()
rng, refused, read = random.Random(0), 0, 0
for turn in range(600):
    damaged = bytearray(model)
    if turn % 3 == 0:
        del damaged[rng.randrange(len(model)):]
    for _ in range(rng.randint(1, 8) if turn % 3 else 0):
        damaged[rng.randrange(8000 if turn % 3 == 1 else len(damaged))] = rng.randrange(256)
    try:
        UnigramTokenizer(bytes(damaged)).encode("the old river ☃ ½")
        read += 1
    except TokenizerError:
        refused += 1
print(refused, read)
"""
