"""Texts are tokenized once, and again when something has changed."""

import os
from pathlib import Path

import pytest

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import BytePairTokenizer, UnigramTokenizer, load_tokenizer
from spacy_deberta.training.corpus import PieceCorpus
from spacy_deberta.training.pretraining import tokenized
from spacy_deberta.training.pretraining.tokenized import open_corpus

TEXT = "the old river. a quiet village\n\nMarie Curie"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were written."""
    folders = []
    write = tokenized.write_corpus

    def write_and_note(files: list[Path], tokenizer: UnigramTokenizer, folder: Path) -> PieceCorpus:
        folders.append(folder)
        return write(files, tokenizer, folder)

    monkeypatch.setattr(tokenized, "write_corpus", write_and_note)
    return folders


def test_the_same_texts_are_tokenized_once(
    tmp_path: Path, text: Path, written: list[Path], tiny_spm_folder: Path
) -> None:
    """Wherever text and tokenizer are then, and whenever they were copied there."""
    folder = tmp_path / "corpus"
    first = open_corpus([text], load_tokenizer(tiny_spm_folder), folder)
    (tmp_path / "elsewhere").mkdir()
    moved = text.rename(tmp_path / "elsewhere" / text.name)
    os.utime(moved, (0, 0))
    tokenizer = load_tokenizer(tiny_spm_folder)
    tokenizer.save(tmp_path / "copy")
    again = open_corpus([moved], load_tokenizer(tmp_path / "copy"), folder)
    assert written == [folder]
    assert again.pieces.tolist() == first.pieces.tolist()
    assert open_corpus([], tokenizer, folder).meta == first.meta
    assert written == [folder]


def test_another_text_or_tokenizer_is_tokenized_again(
    tmp_path: Path,
    text: Path,
    written: list[Path],
    tiny_tokenizer: UnigramTokenizer,
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    open_corpus([text], tiny_tokenizer, tmp_path)
    text.write_text(TEXT.replace("old", "new"), encoding="utf-8")
    corpus = open_corpus([text], tiny_tokenizer, tmp_path)
    assert "new" in tiny_tokenizer.decode(corpus.pieces.tolist())
    open_corpus([text, text], tiny_tokenizer, tmp_path)
    open_corpus([text], tiny_v1_tokenizer, tmp_path)
    assert len(written) == 4


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def write_nonsense(path: Path) -> None:
    path.write_bytes(b"\x00\xff" * 40)


FILES = ("pieces.u16", "sentences.i64", "documents.npy", "corpus.json")
FAULTS = [
    *((name, fault) for name in FILES for fault in (cut_short, write_nonsense, Path.unlink)),
    ("pieces.u16", flip_a_bit),
]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda v: getattr(v, "__name__", v))
def test_a_damaged_corpus_is_written_again_if_the_texts_are_there(
    tmp_path: Path, text: Path, tiny_tokenizer: UnigramTokenizer, name: str, fault: object
) -> None:
    folder = tmp_path / "corpus"
    first = open_corpus([text], tiny_tokenizer, folder).pieces.tolist()
    assert callable(fault)
    fault(folder / name)
    if (name, fault) != ("corpus.json", Path.unlink):  # then it is a folder of the old layout
        with pytest.raises(DataError, match=rf"^{folder}.*okenize the texts again"):
            open_corpus([], tiny_tokenizer, folder)
    assert open_corpus([text], tiny_tokenizer, folder).pieces.tolist() == first


def test_a_writer_that_was_killed_leaves_nothing_to_open(
    tmp_path: Path,
    text: Path,
    tiny_tokenizer: UnigramTokenizer,
    tiny_v1_tokenizer: BytePairTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "corpus"
    open_corpus([text], tiny_tokenizer, folder)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", kill)
        with pytest.raises(KeyboardInterrupt):
            open_corpus([text], tiny_v1_tokenizer, folder)
    with pytest.raises(DataError, match=rf"^{folder}: holds no tokenized corpus"):
        open_corpus([], tiny_v1_tokenizer, folder)
    open_corpus([text], tiny_v1_tokenizer, folder)


def test_a_corpus_of_another_tokenizer_is_refused_without_texts(
    tmp_path: Path,
    text: Path,
    tiny_tokenizer: UnigramTokenizer,
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    open_corpus([text], tiny_tokenizer, tmp_path)
    with pytest.raises(DataError, match=rf"^{tmp_path}: was tokenized with another tokenizer"):
        open_corpus([], tiny_v1_tokenizer, tmp_path)


def test_a_text_that_is_gone_is_named(
    tmp_path: Path, text: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    open_corpus([text], tiny_tokenizer, tmp_path)
    text.unlink()
    with pytest.raises(DataError, match=rf"^{text}: is not a text file in UTF-8.*No such file"):
        open_corpus([text], tiny_tokenizer, tmp_path)
