"""The CoNLL/IOB reader: what it reads, what it refuses, and what it says then."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.corpora.iob import (
    Entity,
    TaggedSentence,
    count_labels,
    map_labels,
    read_iob,
)
from spacy_deberta.errors import DataError


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "data.iob"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_one(folder: Path, content: str | bytes) -> TaggedSentence:
    (sentence,) = read_iob(write(folder, content)).sentences
    return sentence


CURIE = TaggedSentence(("Marie", "Curie", "moved"), (Entity(0, 2, "person"),))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("Marie\tB-person\nCurie\tI-person\nmoved\tO\n", id="tabs"),
        pytest.param("Marie B-person\nCurie I-person\nmoved O\n", id="spaces"),
        pytest.param("Marie   B-person\nCurie  I-person  \nmoved O", id="ragged spaces, no end"),
        pytest.param("Marie NNP B-person\nCurie NNP I-person\nmoved VBD O\n", id="three columns"),
        pytest.param("Marie\tB-person\r\nCurie\tI-person\r\nmoved\tO\r\n", id="crlf"),
        pytest.param("\ufeffMarie\tB-person\nCurie\tI-person\nmoved\tO\n", id="byte order mark"),
        pytest.param(
            "-DOCSTART- -X- O O\n\nMarie B-person\nCurie I-person\nmoved O\n", id="docstart"
        ),
        pytest.param("\n\n\nMarie B-person\nCurie I-person\nmoved O\n\t\n \n\n", id="empty lines"),
        pytest.param("Marie\tB-person\nCurie\tL-person\nmoved\tO\n", id="bilou"),
        pytest.param("Marie\tB-person\nCurie\tE-person\nmoved\tO\n", id="bioes"),
        pytest.param("Marie\tI-person\nCurie\tI-person\nmoved\tO\n", id="iob1"),
    ],
)
def test_notations_of_one_sentence_read_the_same(tmp_path: Path, content: str) -> None:
    assert read_one(tmp_path, content) == CURIE


@pytest.mark.parametrize("separator", ["", "\t", " ", " \t ", "\r"])
def test_lines_of_only_whitespace_separate_sentences(tmp_path: Path, separator: str) -> None:
    corpus = read_iob(write(tmp_path, f"a\tO\n{separator}\nb\tO\n"))
    assert [sentence.words for sentence in corpus.sentences] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("B-x B-x", [Entity(0, 1, "x"), Entity(1, 2, "x")]),
        ("B-x I-y", [Entity(0, 1, "x"), Entity(1, 2, "y")]),
        ("U-x I-x", [Entity(0, 1, "x"), Entity(1, 2, "x")]),
        ("S-x S-x", [Entity(0, 1, "x"), Entity(1, 2, "x")]),
        ("B-x L-x I-x", [Entity(0, 2, "x"), Entity(2, 3, "x")]),
        ("B-geo-loc I-geo-loc O I-geo-loc", [Entity(0, 2, "geo-loc"), Entity(3, 4, "geo-loc")]),
        ("O O", []),
    ],
)
def test_tags_become_entities(tmp_path: Path, tags: str, entities: list[Entity]) -> None:
    content = "".join(f"w\t{tag}\n" for tag in tags.split())
    assert list(read_one(tmp_path, content).entities) == entities


def test_entities_that_start_with_inside_are_counted(tmp_path: Path) -> None:
    corpus = read_iob(write(tmp_path, "a I-x\nb I-x\nc I-y\n\nd B-x\ne I-x\n\nf I-x\n"))
    assert corpus.n_inside_starts == 3


def test_entities_end_with_their_sentence(tmp_path: Path) -> None:
    corpus = read_iob(write(tmp_path, "a B-x\n\nb I-x\n"))
    assert [sentence.entities for sentence in corpus.sentences] == [(Entity(0, 1, "x"),)] * 2


def test_separators_of_unicode_stay_inside_tokens(tmp_path: Path) -> None:
    words = ("10\u00a0000", "a\u2028b", "c\u0085d", "New York")
    content = "".join(f"{word}\tO\n" for word in words)
    assert read_one(tmp_path, content).words == words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\nb\n", "line 2: found one column 'b', expected a token and its tag."),
        ("a\tO\n\tO\n", "line 2: found an empty token, expected a token in the first column."),
        ("a x O\n\nb O\n", "line 3: found 2 columns, expected 3 as in line 1."),
        ("a\tPER\n", "line 1: found tag 'PER', expected 'O' or a prefix of B I L U E S"),
        ("a\tB-\n", "line 1: found tag 'B-', expected 'O'"),
        ("a\to\n", "line 1: found tag 'o', expected 'O'"),
        ("a\tX-x\n", "line 1: found tag 'X-x', expected 'O'"),
        ("a\tO\nb\tL-x\n", "line 2: found tag 'L-x', expected an entity 'x' that began"),
        ("a\tB-x\nb\tE-y\n", "line 2: found tag 'E-y', expected an entity 'y' that began"),
        ("", "found no sentence, expected lines of a token and a tag."),
        ("\n\n-DOCSTART- O\n\n", "found no sentence"),
        (b"a\tO\nM\xfcller\tO\n", "line 2: found byte 0xfc at offset 5, expected UTF-8."),
    ],
)
def test_bad_files_are_named_with_line_found_and_expected(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_iob(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.iob: cannot be read \(No such file"):
        read_iob(tmp_path / "nowhere.iob")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_iob(tmp_path)


def test_labels_are_renamed_merged_and_dropped() -> None:
    entities = (Entity(0, 1, "movie"), Entity(1, 2, "tv"), Entity(2, 3, "x"), Entity(3, 4, "y"))
    sentence = TaggedSentence(("a", "b", "c", "d"), entities)
    (mapped,) = map_labels([sentence], {"movie": "work", "tv": "work", "x": ""})
    assert mapped.entities == (Entity(0, 1, "work"), Entity(1, 2, "work"), Entity(3, 4, "y"))
    assert mapped.words == sentence.words


def test_a_label_to_rename_must_occur() -> None:
    with pytest.raises(DataError, match=r"\['human'\] do not occur .* \['person'\]"):
        map_labels([CURIE], {"human": "PER"})


def test_labels_are_counted_most_frequent_first() -> None:
    sentence = TaggedSentence(("a", "b"), (Entity(0, 1, "x"), Entity(1, 2, "y")))
    assert list(count_labels([CURIE, sentence, sentence, CURIE, CURIE]).items()) == [
        ("person", 3),
        ("x", 2),
        ("y", 2),
    ]


@st.composite
def sentences(draw: st.DrawFn) -> TaggedSentence:
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    labels = [draw(st.sampled_from(["", "x", "geo-loc"])) for _ in lengths]
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    spans = zip(lengths, ends, labels, strict=True)
    entities = tuple(Entity(end - n, end, label) for n, end, label in spans if label)
    word = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1).filter(
        lambda word: word != "-DOCSTART-"
    )
    return TaggedSentence(tuple(draw(word) for _ in range(ends[-1])), entities)


@given(st.lists(sentences(), min_size=1, max_size=4))
def test_written_sentences_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, written: list[TaggedSentence]
) -> None:
    lines = []
    for sentence in written:
        tags = ["O"] * len(sentence.words)
        for entity in sentence.entities:
            tags[entity.start : entity.end] = [f"I-{entity.label}"] * (entity.end - entity.start)
            tags[entity.start] = f"B-{entity.label}"
        lines += [f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True)]
        lines.append("\n")
    path = write(tmp_path_factory.mktemp("iob"), "".join(lines))
    assert list(read_iob(path).sentences) == written
