"""Tagged sentences to split parts and `.spacy` files."""

from pathlib import Path

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_deberta.corpora.docs import build_docs, split_sentences, write_docs
from spacy_deberta.corpora.iob import Entity, TaggedSentence
from spacy_deberta.errors import DataError

CURIE = TaggedSentence(("Marie", "Curie", "moved"), (Entity(0, 2, "person"),))
NUMBERED = [TaggedSentence((f"w{number}",)) for number in range(200)]


def test_docs_have_the_words_the_entities_and_single_spaces() -> None:
    (doc,) = build_docs([CURIE], Vocab())
    assert doc.text == "Marie Curie moved"
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Marie Curie", "person")]
    assert [token.ent_iob_ for token in doc] == ["B", "I", "O"]


def test_tokens_outside_entities_are_annotated_as_such() -> None:
    (doc,) = build_docs([TaggedSentence(("a", "b"))], Vocab())
    assert doc.has_annotation("ENT_IOB")
    assert [token.ent_iob_ for token in doc] == ["O", "O"]


def test_written_docs_read_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "train.spacy"
    write_docs([CURIE, NUMBERED[0]], path)
    docs = list(DocBin().from_disk(path).get_docs(Vocab()))
    assert [[token.text for token in doc] for doc in docs] == [["Marie", "Curie", "moved"], ["w0"]]
    assert [(ent.start, ent.end, ent.label_) for ent in docs[0].ents] == [(0, 2, "person")]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"train\.spacy: cannot be written"):
        write_docs([CURIE], tmp_path / "file" / "train.spacy")


def test_split_has_the_shares_and_loses_nothing() -> None:
    parts = split_sentences(NUMBERED, (70, 10, 20), seed=1)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 140,
        "dev": 20,
        "test": 40,
    }
    together = [sentence for part in parts.values() for sentence in part]
    assert sorted(map(repr, together)) == sorted(map(repr, NUMBERED))


def test_split_of_two_shares_has_no_test_part() -> None:
    parts = split_sentences(NUMBERED, (90, 10), seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 180, "dev": 20}


def test_split_depends_on_the_seed_alone() -> None:
    first = split_sentences(NUMBERED, (70, 10, 20), seed=1)
    assert split_sentences(NUMBERED, (70, 10, 20), seed=1) == first
    assert split_sentences(NUMBERED, (70, 10, 20), seed=2) != first


def test_identical_sentences_share_a_part() -> None:
    parts = split_sentences([*NUMBERED, *NUMBERED], (50, 20, 30), seed=3)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 200,
        "dev": 80,
        "test": 120,
    }
    assert not set(parts["train"]) & set(parts["test"])
    assert not set(parts["train"]) & set(parts["dev"])


@pytest.mark.parametrize("shares", [(70, 10), (100,), (70, 0, 30), (120, -40, 20), (25,) * 4])
def test_shares_must_be_percentages(shares: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="expected two or three positive percentages"):
        split_sentences(NUMBERED, shares, seed=0)


def test_a_part_must_not_be_empty() -> None:
    with pytest.raises(DataError, match=r"70/10/20 of 3 distinct sentences leaves dev empty"):
        split_sentences(NUMBERED[:3], (70, 10, 20), seed=0)
