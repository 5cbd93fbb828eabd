"""How questions and answers stand on a Doc.

    doc._.qa        [{"id": "q1", "question": "Who ...?"}, ...]
    doc.spans[key]  the answers; span.id_ is the id of its question
        .attrs["scores"]        [0.93, ...]        probability of each span
        .attrs["offsets"]       [[12, 24], ...]    characters of each answer: a Span is whole tokens
        .attrs["null_scores"]   {"q1": 0.02}       P(no answer) of every question

In a reference Doc the same group has the correct answers, and `null_scores` is 1 for questions that
have none. All of it survives `to_bytes` and `DocBin(store_user_data=True)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.vocab import Vocab

from spacy_deberta.corpora.squad import QuestionedText
from spacy_deberta.errors import DataError

EXTENSION = "qa"
SPANS_KEY = "qa"


@dataclass(frozen=True)
class DocAnswer:
    """An answer: characters of the Doc's text, and its probability."""

    question: str
    start: int
    end: int
    score: float = 1.0


def register_questions() -> None:
    """Make `doc._.qa` known; a second call changes nothing."""
    if not Doc.has_extension(EXTENSION):
        Doc.set_extension(EXTENSION, default=None)


def questions_of(doc: Doc) -> dict[str, str]:
    """The questions of a Doc, by their ids.

    Raises:
        DataError: `doc._.qa` is something else than a list of questions with ids.
    """
    given = doc._.qa or ()
    try:
        found = {str(each["id"]): each["question"] for each in given}
        whole = len(found) == len(given) and all(isinstance(q, str) for q in found.values())
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise DataError(
            f"doc._.qa: found {given!r}, expected a list such as [{{'id': 'q1', 'question': 'Who "
            "was it?'}}], each id once."
        )
    return found


def write_answers(
    doc: Doc, key: str, answers: Sequence[DocAnswer], null_scores: dict[str, float]
) -> None:
    """Put answers on a Doc, in place of those there.

    Raises:
        DataError: an answer that is not in the text.
    """
    spans = []
    for answer in answers:
        span = doc.char_span(
            answer.start, answer.end, span_id=answer.question, alignment_mode="expand"
        )
        if span is None or answer.start >= answer.end:
            raise DataError(
                f"question {answer.question!r}: found an answer at characters {answer.start} to "
                f"{answer.end}, expected a part of the Doc's {len(doc.text)} characters."
            )
        spans.append(span)
    attrs: dict[str, Any] = {
        "scores": [answer.score for answer in answers],
        "offsets": [[answer.start, answer.end] for answer in answers],
        "null_scores": null_scores,
    }
    doc.spans[key] = SpanGroup(doc, name=key, spans=spans, attrs=attrs)


def read_answers(doc: Doc, key: str) -> dict[str, list[DocAnswer]]:
    """The answers on a Doc by question; [] for one without, nothing for one that is not judged."""
    if key not in doc.spans:
        return {}
    group = doc.spans[key]
    found: dict[str, list[DocAnswer]] = {str(id_): [] for id_ in group.attrs.get("null_scores", {})}
    spans = list(group)
    scores = group.attrs.get("scores") or [1.0] * len(spans)
    offsets = group.attrs.get("offsets") or [_characters(span) for span in spans]
    for span, score, (start, end) in zip(spans, scores, offsets, strict=True):
        found.setdefault(span.id_, []).append(DocAnswer(span.id_, start, end, score))
    return found


def _characters(span: Span) -> tuple[int, int]:
    return span.start_char, span.end_char


def build_question_docs(texts: Iterable[QuestionedText], vocab: Vocab, lang: str) -> Iterator[Doc]:
    """Yield a reference Doc for each context, tokenized as a blank pipeline of the language does.

    Args:
        texts: contexts with their questions.
        vocab: of the Docs.
        lang: code of a language, such as "en"; "xx" for any.
    """
    register_questions()
    tokenizer = spacy.blank(lang, vocab=vocab).tokenizer
    for text in texts:
        doc = tokenizer(text.context)
        doc._.qa = [{"id": each.id, "question": each.text} for each in text.questions]
        answers = [DocAnswer(each.id, *span) for each in text.questions for span in each.answers]
        nulls = {each.id: float(not each.answers) for each in text.questions}
        write_answers(doc, SPANS_KEY, answers, nulls)
        yield doc
