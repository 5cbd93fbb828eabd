"""Text files to one array of pieces, and windows over it."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.corpus import PieceCorpus, read_sentences, write_corpus

DOCUMENTS = (
    ("the old river", "a quiet village again"),
    ("Marie Curie carried a letter",),
    ("one station", "two gardens", "every winter evening"),
)


def expected_ids(tokenizer: UnigramTokenizer) -> list[list[int]]:
    return [
        [number for line in document for number in tokenizer.encode(line).ids.tolist()]
        for document in DOCUMENTS
    ]


def documents_of(corpus: PieceCorpus) -> list[list[int]]:
    starts = [0, *corpus.ends[:-1].tolist()]
    return [corpus.pieces[a:b].tolist() for a, b in zip(starts, corpus.ends, strict=True)]


def test_plain_and_xz_files_become_one_corpus(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """A file's end ends its last document, with or without an empty line."""
    texts = ["\n".join(document) for document in DOCUMENTS]
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.xz"
    plain.write_text(f"\n\n{texts[0]}\n\n\n  {texts[1]}  ", encoding="utf-8")
    packed.write_bytes(lzma.compress(f"{texts[2]}\n\n".encode()))
    corpus = write_corpus([plain, packed], tiny_tokenizer, tmp_path / "corpus")
    assert documents_of(corpus) == expected_ids(tiny_tokenizer)
    again = PieceCorpus.open(tmp_path / "corpus")
    assert documents_of(again) == expected_ids(tiny_tokenizer)
    assert again.pieces.dtype == np.uint16


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 130))
def test_windows_cover_every_piece_once_and_never_cross_a_document(
    sizes: list[int], room: int
) -> None:
    ends = np.cumsum(sizes)
    windows = PieceCorpus(np.zeros(ends[-1], dtype=np.uint16), ends).windows(room)
    assert windows[0, 0] == 0
    assert np.array_equal(windows[1:, 0], windows[:-1, 1])
    assert set(ends) <= set(windows[:, 1])
    widths = windows[:, 1] - windows[:, 0]
    assert widths.min() >= 1
    assert widths.max() <= room
    n_expected = sum(-(-size // room) for size in sizes)
    assert len(windows) == n_expected


@given(st.integers(1, 2000), st.integers(1, 130))
def test_windows_of_a_document_are_even(size: int, room: int) -> None:
    corpus = PieceCorpus(np.zeros(size, dtype=np.uint16), np.asarray([size]))
    widths = np.diff(corpus.windows(room), axis=1)
    assert widths.max() - widths.min() <= 1


class LargeTokenizer:
    n_pieces = 65_536


def test_a_vocabulary_past_16_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the tokenizer has 65536 pieces, expected at most 65535"):
        write_corpus([], LargeTokenizer(), tmp_path / "corpus")  # type: ignore[arg-type]
    assert not (tmp_path / "corpus").exists()


def test_files_without_text_are_refused(tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> None:
    (tmp_path / "empty.txt").write_text("\n  \n")
    with pytest.raises(DataError, match=r"empty\.txt: no document found, expected text"):
        write_corpus([tmp_path / "empty.txt"], tiny_tokenizer, tmp_path / "corpus")
    assert list((tmp_path / "corpus").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xff\xfe\xff"),
        ("a.xz", b"not compressed"),
        ("b.xz", lzma.compress(b"text " * 50)[:40]),
        ("gone.txt", None),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    message = rf"^{tmp_path / name}: is not a text file in UTF-8, plain or \.xz \("
    with pytest.raises(DataError, match=message):
        write_corpus([tmp_path / name], tiny_tokenizer, tmp_path / "corpus")


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^{tmp_path}: holds no tokenized corpus"):
        PieceCorpus.open(tmp_path)


def test_a_corpus_cut_short_is_refused(tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> None:
    (tmp_path / "a.txt").write_text("the old river\n\nagain")
    write_corpus([tmp_path / "a.txt"], tiny_tokenizer, tmp_path)
    data = (tmp_path / "pieces.u16").read_bytes()
    (tmp_path / "pieces.u16").write_bytes(data[:-2])
    message = rf"documents\.npy does not end at the {len(data) // 2 - 1} pieces of pieces\.u16"
    with pytest.raises(DataError, match=message):
        PieceCorpus.open(tmp_path)


def test_sentences_are_cut_behind_their_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One. Two!  Is 3.5 three? Yes\n\nlast line.")
    sentences = list(read_sentences([tmp_path / "a.txt"]))
    assert sentences == ["One.", "Two!", "Is 3.5 three?", "Yes", "last line."]
