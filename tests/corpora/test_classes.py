"""Files of labelled texts and pairs."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_deberta.cli import app
from spacy_deberta.corpora.classes import (
    ClassExample,
    build_class_docs,
    describe_classes,
    read_classes,
)
from spacy_deberta.errors import DataError


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def docs_of(path: Path) -> list[Any]:
    return list(build_class_docs(read_classes(path).examples, spacy.blank("en").vocab))


def test_labels_become_cats(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "b c", "label": "x"}, {"text": "d", "label": "w"})

    docs = docs_of(path)

    assert [doc.text for doc in docs] == ["b c", "d"]
    assert [doc.cats for doc in docs] == [{"w": 0.0, "x": 1.0}, {"w": 1.0, "x": 0.0}]
    assert docs[0]._.pair is None


def test_several_labels_values_and_pairs(tmp_path: Path) -> None:
    several = write(
        tmp_path / "a.jsonl", {"text": "b", "labels": ["x", "y"]}, {"text": "c", "labels": []}
    )
    values = write(tmp_path / "v.jsonl", {"text_a": "b", "text_b": "c", "score": 2.5})

    assert [doc.cats for doc in docs_of(several)] == [{"x": 1.0, "y": 1.0}, {"x": 0.0, "y": 0.0}]
    (doc,) = docs_of(values)
    assert (doc.text, doc._.pair, doc.cats) == ("b", "c", {"score": 2.5})
    assert describe_classes(read_classes(several).examples) == "2 texts, labels: x 1, y 1"
    assert describe_classes(read_classes(values).examples) == "1 pairs, values from 2.5 to 2.5"


def test_names_of_snli_and_rows_without_agreement(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "gold_label": label} for label in ("-", "neutral")]

    read = read_classes(write(tmp_path / "a.jsonl", *rows))
    assert read.examples == [ClassExample("a", "b", ("neutral",), None)]
    assert read.n_undecided == 1


def test_a_label_that_is_a_sign_is_a_label(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": label} for label in ("+", "-", "-")]
    read = read_classes(write(tmp_path / "a.jsonl", *rows))
    assert [example.labels for example in read.examples] == [("+",), ("-",), ("-",)]
    assert read.n_undecided == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999", 10**400])
def test_values_are_finite(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "score": value})
    with pytest.raises(DataError, match=r"line 1: score=.*number"):
        read_classes(path)


def test_tables_have_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("id\tText\tLabels\r\n1\tb\u2028c\tx|y\r\n2\td\t\r\n", encoding="utf-8")

    assert read_classes(path).examples == [
        ClassExample("b\u2028c", None, ("x", "y"), None),
        ClassExample("d", None, (), None),
    ]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "b", "label": 1}'))

    assert read_classes(path).examples == [ClassExample("b", None, ("1",), None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": "x"}\n{', r"line 2: no JSON"),
        ("[]", r"line 1: found list, expected an object"),
        (
            '{"label": "x"}',
            r"found the names \['label'\], expected the text as one of text, text_a",
        ),
        ('{"text": "a"}', r"expected either a label as one of label"),
        ('{"text": "a", "label": "x", "score": 1}', r"expected either a label"),
        ('{"text": 3, "label": "x"}', r"text=3, expected a text"),
        ('{"text": "a", "label": null}', r"label=None, expected a label"),
        ('{"text": "a", "score": "high"}', r"score='high', expected a number"),
        ("", r"found no example"),
        ('{"text": "a", "label": "x"}\n{"text": "a", "score": 1}', r"expected one kind"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=message):
        read_classes(path)


def test_a_row_of_another_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na\tx\ny\n", encoding="utf-8")

    with pytest.raises(DataError, match="line 3: 1 columns, expected 2 as in line 1"):
        read_classes(path)


def test_convert_data_writes_pairs_with_all_labels(tmp_path: Path) -> None:
    rows = [{"text_a": f"a {n}", "text_b": "b", "label": "xyz"[n % 3]} for n in range(10)]
    source = write(tmp_path / "a.jsonl", *rows)

    found = CliRunner().invoke(
        app,
        ["convert-data", str(source), str(tmp_path), "--format", "classes", "--split", "80/20"],
        catch_exceptions=False,
    )

    assert found.exit_code == 0
    vocab = spacy.blank("en").vocab
    dev = list(DocBin().from_disk(tmp_path / "dev.spacy").get_docs(vocab))
    assert len(dev) == 2
    assert all(doc._.pair == "b" and set(doc.cats) == {"x", "y", "z"} for doc in dev)
