"""What `deberta_qa` learns from an Example, and how its answers are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from spacy.tokens import Doc
from spacy.training import Example

from spacy_deberta.corpora.question_docs import SPANS_KEY, DocAnswer, read_answers
from spacy_deberta.decoding.answer_scores import judge_answer, summarize_answers


def carry_questions(example: Example) -> bool:
    """Give the predicted Doc the reference's questions if it has none.

    spaCy's readers make it from the text alone.

    Returns:
        Whether there was something to carry.
    """
    questions = example.reference._.qa
    if example.predicted._.qa is None and questions:
        example.predicted._.qa = [dict(each) for each in questions]
        return True
    return False


def training_answer(answers: Sequence[DocAnswer]) -> tuple[int, int] | None:
    """Characters of the answer to learn: the one that most annotators gave, the first of equals."""
    counts = Counter((answer.start, answer.end) for answer in answers)
    return max(counts, key=lambda each: counts[each]) if counts else None


def score_answers(examples: Iterable[Example], key: str = SPANS_KEY) -> dict[str, float | None]:
    """Exact match and F1 as SQuAD 2.0 counts them, from 0 to 1.

    Returns:
        "qa_exact", "qa_f1"; the same of questions with an answer alone: "qa_has_answer_exact",
        "qa_has_answer_f1"; and "qa_no_answer_exact". None where there is nothing to judge.
    """
    judged = []
    for example in examples:
        found = read_answers(example.predicted, key)
        for question, correct in read_answers(example.reference, key).items():
            first = [_text(example.predicted, answer) for answer in found.get(question, [])[:1]]
            golds = [_text(example.reference, answer) for answer in correct]
            judged.append(judge_answer(first[0] if first else "", golds))
    percents = summarize_answers(judged)
    return {f"qa_{n}": None if p is None else p / 100 for n, p in percents.items()}


def _text(doc: Doc, answer: DocAnswer) -> str:
    text: str = doc.text[answer.start : answer.end]
    return text
