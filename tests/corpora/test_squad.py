"""SQuAD's files, as they are and broken."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from spacy.vocab import Vocab

from spacy_deberta.corpora.question_docs import build_question_docs, questions_of, read_answers
from spacy_deberta.corpora.squad import Question, QuestionedText, read_squad
from spacy_deberta.errors import DataError

CONTEXT = "Ada met Charles in 1833-34."


def row(id_: str = "q1", **changes: Any) -> dict[str, Any]:
    answers = {"text": ["Charles", "1833"], "answer_start": [8, 19]}
    return {"id": id_, "question": "Whom?", "context": CONTEXT, "answers": answers, **changes}


def write_lines(folder: Path, *rows: Any) -> Path:
    path = folder / "q.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in rows), encoding="utf-8")
    return path


def article(**changes: Any) -> dict[str, Any]:
    answers = [{"text": "Charles", "answer_start": 8}]
    asked = [
        {"id": "q1", "question": "Whom?", "answers": answers},
        {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True, **changes},
    ]
    return {"data": [{"title": "Ada", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}


EXPECTED = [
    QuestionedText(CONTEXT, (Question("q1", "Whom?", ((8, 15),)), Question("q2", "Why?", ())))
]


def test_squad_json_of_both_versions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(article()), encoding="utf-8")
    assert read_squad(path) == EXPECTED
    packed = tmp_path / "dev.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_squad(packed) == EXPECTED
    plausible = [{"text": "Ada", "answer_start": 0}]
    path.write_text(json.dumps(article(plausible_answers=plausible)), encoding="utf-8")
    assert read_squad(path) == EXPECTED


def test_lines_about_one_context_are_put_together(tmp_path: Path) -> None:
    other = row("q3", context="Other.", answers={"text": [], "answer_start": []})
    silent = row("q2", question="Why?", is_impossible=True)
    (first, second) = read_squad(write_lines(tmp_path, row(), other, silent))
    assert [question.id for question in first.questions] == ["q1", "q2"]
    assert first.questions[0].answers == ((8, 15), (19, 23))
    assert first.questions[1].answers == ()
    assert second.questions[0].answers == ()


def test_docs_have_questions_answers_and_exact_characters(tmp_path: Path) -> None:
    texts = read_squad(write_lines(tmp_path, row(), row("q2", is_impossible=True)))
    (doc,) = build_question_docs(texts, Vocab(), "en")
    assert questions_of(doc) == {"q1": "Whom?", "q2": "Whom?"}
    answers = read_answers(doc, "qa")
    assert [doc.text[each.start : each.end] for each in answers["q1"]] == ["Charles", "1833"]
    assert answers["q2"] == []
    assert doc.spans["qa"].attrs["null_scores"] == {"q1": 0.0, "q2": 1.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "the question id 'q1' is there twice"),
        ([row(answers={"text": ["Ada"], "answer_start": [1]})], "line 1: the answer 'Ada' is not"),
        ([row(answers={"text": ["Ada"], "answer_start": []})], "1 answers and 0 starts"),
        ([row(), row("q2", context=None)], "line 2: 'context': found NoneType, expected a text"),
        ([row(question=7)], "'question': found int"),
        ([[1]], "line 1: found list, expected an object"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_squad(write_lines(tmp_path, *rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "no JSON"), ("[]", "found list, expected an object"), ('{"data": 3}', "'data': found")],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "dev.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_squad(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_squad(tmp_path / "absent.json")
