"""Questions on Docs and answers into them, as the component `deberta_qa` has them.

doc._.qa          [{"id": "q1", "question": "Who ...?"}, ...]
doc.spans["qa"]   the answers: span.id_ is the question's id; attrs has "scores", "offsets"
                  (characters: a Span is whole tokens) and "null_scores" by question
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.records import Answers, Failed
from spacy_deberta.errors import InputError

if TYPE_CHECKING:
    from spacy.tokens import Doc

EXTENSION = "qa"  # of Docs, and the name of their span group

Waiting = deque[tuple["Doc", list[str]]]  # Docs in order, each with the ids of its questions


def ask_docs(docs: Iterable[Doc], waiting: Waiting) -> Iterator[Any]:
    """Every question of every Doc; notes in `waiting` which questions a Doc has."""
    for doc in docs:
        if not doc.has_extension(EXTENSION):
            doc.set_extension(EXTENSION, default=None)
        questions = list(doc._.qa or ())
        ids = [str(each["id"]) for each in questions]
        waiting.append((doc, ids))
        for id_, each in zip(ids, questions, strict=True):
            if ids.count(id_) > 1:
                yield InputError(
                    f"doc._.qa: found two questions with the id {id_!r}, expected one."
                )
            else:
                yield {"question": each["question"], "context": doc.text}


def fill_docs(waiting: Waiting, record: Any, found: Iterator[Any], *, skips: bool) -> Iterator[Doc]:
    """The Docs up to the one that this record is about, with their answers.

    Args:
        waiting: Docs in order, each with its questions.
        record: the next one; None = there is no other.
        found: those behind it.
        skips: a Doc with a question that failed is left out.
    """
    while waiting and (record is None or not waiting[0][1]):
        yield waiting.popleft()[0]
    if record is None:
        return
    doc, ids = waiting.popleft()
    records = [record, *(next(found) for _ in ids[1:])]
    failed = any(isinstance(each, Failed) for each in records)
    if not failed:
        write_answers(doc, dict(zip(ids, records, strict=True)))
    if not (failed and skips):
        yield doc


def write_answers(doc: Doc, answers: Mapping[str, Answers]) -> None:
    """Put the answers to a Doc's questions into its span group."""
    spans, scores, offsets = [], [], []
    for id_, record in answers.items():
        for answer in record.nbest if record.best else ():
            if answer:
                start, end = answer.start, answer.end
                spans.append(doc.char_span(start, end, span_id=id_, alignment_mode="expand"))
                scores.append(answer.score)
                offsets.append([start, end])
    nulls = {id_: record.null_score for id_, record in answers.items()}
    attrs = {"scores": scores, "offsets": offsets, "null_scores": nulls}
    doc.spans[EXTENSION] = [span for span in spans if span is not None]
    doc.spans[EXTENSION].attrs.update(attrs)
