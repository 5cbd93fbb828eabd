"""Questions with choices from JSON lines to Docs."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_deberta.corpora.choices import build_choice_docs, read_choices, write_choice_docs
from spacy_deberta.errors import DataError

SWAG = {"sent1": "She waits.", "sent2": "Then she", "ending0": "leaves.", "ending1": "flies."}
ARC = {
    "question": {
        "stem": "Hot?",
        "choices": [{"text": "ice", "label": "1"}, {"text": "fire", "label": "2"}],
    },
    "answerKey": "2",
}
CODAH = {"context": "He held his tongue.", "choices": ["It hurt.", "He hid it."], "label": 1}
WINOGRANDE = {
    "sentence": "The cup fell off the table as _ was slippery.",
    "option1": "the cup",
    "option2": "the table",
    "answer": "1",
}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


def test_lines_of_several_data_sets_become_docs(tmp_path: Path) -> None:
    path = write(tmp_path, {**SWAG, "label": 0}, ARC, CODAH, SWAG, WINOGRANDE)
    docs = list(build_choice_docs(read_choices(path), spacy.blank("en").vocab))
    assert [doc.text for doc in docs] == [
        "She waits.",
        "Hot?",
        "He held his tongue.",
        "She waits.",
        "The cup fell off the table as the",
    ]
    assert docs[0]._.choices == ["Then she leaves.", "Then she flies."]
    assert docs[4]._.choices == ["cup was slippery.", "table was slippery."]
    assert [doc.cats for doc in docs] == [
        {"0": 1.0, "1": 0.0},
        {"0": 0.0, "1": 1.0},
        {"0": 0.0, "1": 1.0},
        {},
        {"0": 1.0, "1": 0.0},
    ]


def test_the_file_keeps_choices_and_texts_as_they_were(tmp_path: Path) -> None:
    odd = {"context": " two  spaces\n😀 ", "choices": ["ﬁ", "café "], "label": 0}
    assert write_choice_docs(read_choices(write(tmp_path, odd)), tmp_path / "a" / "b.spacy") == 1
    (doc,) = DocBin().from_disk(tmp_path / "a" / "b.spacy").get_docs(spacy.blank("en").vocab)
    assert isinstance(doc, Doc)
    assert doc.text == odd["context"]
    assert list(doc._.choices) == odd["choices"]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(CODAH).encode()))
    assert next(read_choices(path)).gold == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"context": "a"', r"data.jsonl, line 2: no JSON"),
        ('{"context": "a", "choices": ["b"]}', r"line 2: choices: found 1"),
        ('["a"]', r"line 2: found list, expected the fields"),
        ('{"context": "a", "choices": ["b", "c"], "label": 7}', r"line 2: label=7: expected one"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(CODAH) + "\n" + line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_choices(path))


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent.jsonl: cannot be read"):
        list(read_choices(tmp_path / "absent.jsonl"))
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_choices(tmp_path / "bad.jsonl.gz"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_choice_docs([], tmp_path / "file" / "x.spacy")
