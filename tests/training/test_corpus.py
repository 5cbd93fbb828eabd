"""Text files to one array of pieces."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer, UnigramTokenizer
from spacy_deberta.tokenizers.encoding import Pieces
from spacy_deberta.tokenizers.packing import Packed, pack
from spacy_deberta.training import corpus as corpus_module
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


class LargeTokenizer:
    """One piece more than 16 bits can number; each text is its last piece, or the first."""

    n_pieces = 65_537

    def encode_batch(self, texts: list[str]) -> list[Pieces]:
        places = np.zeros(1, dtype=np.int32)
        return [Pieces(np.asarray([65_536 * ("a" in t)], np.int32), places, places) for t in texts]

    def to_bytes(self) -> bytes:
        return pack(Packed("large", {}, {}, {}))


def test_a_vocabulary_past_16_bits_takes_32(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a\nb\n\na")
    write_corpus([tmp_path / "text.txt"], LargeTokenizer(), tmp_path)  # type: ignore[arg-type]
    corpus = PieceCorpus.open(tmp_path)
    assert documents_of(corpus) == [[65_536, 0], [65_536]]
    assert corpus.pieces.dtype == np.uint32
    assert not (tmp_path / "pieces.u16").exists()


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


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"one\ntwo\nthree \xff\n", r"line 3: .* can't decode byte 0xff in position 6"),
        (b"one\n\ntw\0o\n", "line 3: NUL at byte 2, expected text"),
        (b"one\n" + b"x" * 2000, "line 2: over 1024 bytes, expected a paragraph a line"),
    ],
    ids=["not UTF-8", "NUL", "long"],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz"])
def test_lines_that_are_no_text_are_named(
    tmp_path: Path,
    tiny_tokenizer: UnigramTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    fault: str,
) -> None:
    monkeypatch.setattr(corpus_module, "_LONGEST_LINE", 1024)
    (tmp_path / name).write_bytes(lzma.compress(content) if name.endswith("xz") else content)
    message = rf"^{tmp_path / name}: is not a text file in UTF-8, plain or \.xz \({fault}"
    with pytest.raises(DataError, match=message):
        write_corpus([tmp_path / name], tiny_tokenizer, tmp_path / "corpus")
    assert list((tmp_path / "corpus").iterdir()) == []


def test_each_file_must_have_text(tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> None:
    (tmp_path / "a.txt").write_text("the old river")
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(DataError, match=rf"^{tmp_path}/b\.txt: no document found"):
        write_corpus([tmp_path / "a.txt", tmp_path / "b.txt"], tiny_tokenizer, tmp_path / "corpus")
    with pytest.raises(DataError, match=r"^no text files to tokenize"):
        write_corpus([], tiny_tokenizer, tmp_path / "corpus")


def test_a_full_disk_is_one_message_and_no_corpus(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("the old river")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus_module._Writer, "_add_line", fail)
    message = rf"^{tmp_path}/corpus: cannot be written \(\[Errno 28\] No space left on device\)"
    with pytest.raises(DataError, match=message):
        write_corpus([tmp_path / "a.txt"], tiny_tokenizer, tmp_path / "corpus")
    assert list((tmp_path / "corpus").iterdir()) == []


@pytest.mark.parametrize("kind", ["tiny_tokenizer", "tiny_v1_tokenizer"])
def test_sentences_end_behind_their_marks_and_lines(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """The pieces are those of whole lines."""
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    lines = ["the river. a  garden!  window", "it's 19.03 again? one", "", "letter."]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    corpus = write_corpus([tmp_path / "a.txt"], tokenizer, tmp_path)
    assert corpus.sentences is not None
    starts = [0, *corpus.sentences[:-1].tolist()]
    parts = [corpus.pieces[a:b].tolist() for a, b in zip(starts, corpus.sentences, strict=True)]
    texts = [tokenizer.decode(part).strip() for part in parts]
    assert [" ".join(text.split()) for text in texts] == [
        "the river.",
        "a garden!",
        "window",
        "it's 19.03 again?",
        "one",
        "letter.",
    ]
    assert set(corpus.ends.tolist()) <= set(corpus.sentences.tolist())
    encoded = [number for line in lines for number in tokenizer.encode(line).ids.tolist()]
    assert corpus.pieces.tolist() == encoded


def test_a_folder_of_before_there_were_sentences_opens(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    (tmp_path / "a.txt").write_text("the old river. a letter\n\nagain")
    new = write_corpus([tmp_path / "a.txt"], tiny_tokenizer, tmp_path)
    (tmp_path / "corpus.json").unlink()
    (tmp_path / "sentences.i64").unlink()
    old = PieceCorpus.open(tmp_path)
    assert documents_of(old) == documents_of(new)
    assert (old.sentences, old.meta) == (None, None)
    old.verify()
    old.check_tokenizer(tiny_tokenizer)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"n_sentences": 3', '"n_sentences": 4', r"3 sentences that end at \d+, expected \d+, 4 "),
        ('"version": 1', '"version": 2', r"corpus\.json: version=2, expected 1"),
        ('"n_vocab": 3', '"n_vocab": 9999993', "holds no tokenized corpus .*pieces.u32"),
        ('"tokenizer"', '"other"', r"corpus\.json: cannot be read \(.*'other'"),
        ('"n_pieces": ', '"n_pieces": 1', r"\d+ pieces and 3 sentences that end at"),
    ],
)
def test_a_description_of_another_corpus_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, old: str, new: str, fault: str
) -> None:
    (tmp_path / "a.txt").write_text("the old river. a letter\n\nagain")
    write_corpus([tmp_path / "a.txt"], tiny_tokenizer, tmp_path)
    content = (tmp_path / "corpus.json").read_text()
    assert old in content
    (tmp_path / "corpus.json").write_text(content.replace(old, new))
    with pytest.raises(DataError, match=rf"^{tmp_path}.*{fault}.*okenize the texts again"):
        PieceCorpus.open(tmp_path)


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
