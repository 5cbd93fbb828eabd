"""Questions about texts: SQuAD's JSON (1.1 and 2.0), or a JSON object in each line.

    {"id", "question", "context", "answers": {"text": [], "answer_start": []}, "is_impossible"}

The lines are those of the SQuAD files on the hub; `is_impossible` may be absent, and then a
question without an answer has none.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spacy_deberta.errors import DataError
from spacy_deberta.json_text import read_json

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question and its correct answers.

    Attributes:
        id: unique in its context.
        text: what is asked.
        answers: first character and one behind the last of each, in the context; none = the
            context does not say.
    """

    id: str
    text: str
    answers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class QuestionedText:
    """A context and all questions about it."""

    context: str
    questions: tuple[Question, ...]


def read_squad(path: Path) -> list[QuestionedText]:
    """Read a file, also a gzipped one; questions about one context are put together.

    Args:
        path: SQuAD's JSON, or one JSON object per line (`.jsonl`, `.jsonl.gz`).

    Raises:
        DataError: the file cannot be read, or a question in it; the line or id is named.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    is_lines = ".jsonl" in path.suffixes
    found = _read_lines(text.split("\n"), path) if is_lines else _read_articles(text, path)
    together: dict[str, dict[str, Question]] = {}
    for context, question in found:
        questions = together.setdefault(context, {})
        if question.id in questions:
            raise DataError(f"{path}: the question id {question.id!r} is there twice.")
        questions[question.id] = question
    return [
        QuestionedText(context, tuple(questions.values()))
        for context, questions in together.items()
    ]


def _read_lines(lines: Iterable[str], path: Path) -> Iterator[tuple[str, Question]]:
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        if line.strip():
            row = _expect(_parse(line, place), dict, place)
            context = _expect(row.get("context"), str, f"{place}: 'context'")
            answers = row.get("answers") or {}
            texts, starts = answers.get("text", []), answers.get("answer_start", [])
            if len(texts) != len(starts):
                raise DataError(
                    f"{place}: found {len(texts)} answers and {len(starts)} starts, expected as "
                    "many of both."
                )
            pairs = list(zip(texts, starts, strict=True))
            yield context, _question({"id": f"line {number}", **row}, context, pairs, place)


def _read_articles(text: str, path: Path) -> Iterator[tuple[str, Question]]:
    content = _expect(_parse(text, str(path)), dict, str(path))
    for article in _expect(content.get("data"), list, f"{path}: 'data'"):
        for paragraph in _expect(article.get("paragraphs"), list, f"{path}: 'paragraphs'"):
            context = _expect(paragraph.get("context"), str, f"{path}: 'context'")
            for row in _expect(paragraph.get("qas"), list, f"{path}: 'qas'"):
                place = f"{path}, question {row.get('id')!r}"
                pairs = [(each["text"], each["answer_start"]) for each in row.get("answers", [])]
                yield context, _question(row, context, pairs, place)


def _question(
    row: dict[str, Any], context: str, pairs: list[tuple[str, int]], place: str
) -> Question:
    text = _expect(row.get("question"), str, f"{place}: 'question'")
    if row.get("is_impossible"):
        pairs = []
    for answer, start in pairs:
        if context[start : start + len(answer)] != answer or not answer:
            found = context[start : start + len(answer)]
            raise DataError(
                f"{place}: the answer {answer!r} is not at character {start} of the context, "
                f"where {found!r} stands. Were the offsets counted in bytes or UTF-16 units?"
            )
    return Question(
        str(row.get("id")), text, tuple((start, start + len(answer)) for answer, start in pairs)
    )


def _parse(text: str, place: str) -> object:
    return read_json(text, place)


def _expect(value: object, kind: type[T], place: str) -> T:
    if not isinstance(value, kind):
        names: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
        raise DataError(f"{place}: found {type(value).__name__}, expected {names[kind]}.")
    return value
