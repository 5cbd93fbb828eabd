"""What users ask: the forms of a question and its contexts, and the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.inputs import describe
from pipelines.options import Options, check_choice, check_count, check_share
from spacy_deberta.decoding.answer_windows import N_SPECIAL
from spacy_deberta.errors import InputError

INPUTS = ("question", "context", "contexts", "data", "X")  # arguments of a call


@dataclass(frozen=True, eq=False)
class QuestionItem:
    """A question and the texts it is asked of."""

    question: str
    contexts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(Options):
    """Options of question-answering; lengths are in pieces.

    Attributes:
        top_k: answers.
        doc_stride: what neighbouring windows share; None = min(max_seq_len // 2, 128), or less.
        max_seq_len: of a window with question and special pieces; None = 384, or what the model
            takes.
        max_question_len: what a question has beyond it is cut off.
        question_keep: its "head" or its "tail".
        max_answer_len: of an answer.
        handle_impossible_answer: no answer competes.
        no_answer_threshold: there is none from this P(no answer) up; None = the calibrated one,
            else 0.5.
        null: "relative" = a span's score is its log odds against no answer in its window; "off" =
            its logits as they are; "auto" = "relative" with handle_impossible_answer.
        align_to_words: answers are whole words.
        overlap: share of the shorter one's characters that two answers may share.
        group_by_text: answers of one text are one.
        padding: there is none; taken for the sake of `transformers`.
    """

    aliases: ClassVar[Mapping[str, str]] = {"topk": "top_k"}

    top_k: int = 1
    doc_stride: int | None = None
    max_seq_len: int | None = None
    max_question_len: int = 64
    question_keep: str = "head"
    max_answer_len: int = 15
    handle_impossible_answer: bool = False
    no_answer_threshold: float | None = None
    null: str = "auto"
    align_to_words: bool = True
    overlap: float = 0.0
    group_by_text: bool = False
    padding: bool | str = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("top_k", "max_question_len", "max_answer_len"):
            check_count(name, getattr(self, name))
        if self.doc_stride is not None:
            check_count("doc_stride", self.doc_stride, 0)
        if self.max_seq_len is not None:
            check_count("max_seq_len", self.max_seq_len, N_SPECIAL + 2)
        check_choice("question_keep", self.question_keep, ("head", "tail"))
        check_choice("null", self.null, ("auto", "relative", "off"))
        if self.no_answer_threshold is not None:
            check_share("no_answer_threshold", self.no_answer_threshold)
        check_share("overlap", self.overlap)

    @property
    def relative(self) -> bool:
        """Whether no answer is part of the distribution."""
        return self.null == "relative" or (self.null == "auto" and self.handle_impossible_answer)


def read_positional(args: tuple[Any, ...]) -> Any:
    """Inputs that were given without a name: one, or a question and its context."""
    if len(args) == 1:
        return args[0]
    if len(args) == 2 and isinstance(args[0], str):  # noqa: PLR2004  question, context
        return (args[0], args[1])
    return list(args)


def read_named(named: dict[str, Any]) -> Any:
    """Inputs by the names that `transformers` has for them, and contexts."""
    for name in ("data", "X"):
        if name in named:
            return named[name]
    if "question" not in named or not {"context", "contexts"} & set(named):
        given = ", ".join(named) or "nothing"
        raise InputError(f"found {given}; expected question= and context=, or contexts=.")
    question = named["question"]
    if "contexts" in named:
        found = [
            {"question": each, "contexts": named["contexts"]}
            for each in (question if isinstance(question, list) else [question])
        ]
        return found if isinstance(question, list) else found[0]
    return _pair(question, named["context"])


def _pair(question: Any, context: Any) -> Any:
    if not isinstance(question, list):
        if isinstance(context, list):
            raise InputError("context: found a list for one question; give it as contexts=.")
        return {"question": question, "context": context}
    contexts = context if isinstance(context, list) else [context] * len(question)
    if len(contexts) != len(question):
        raise InputError(
            f"found {len(question)} questions and {len(contexts)} contexts, expected one context, "
            "or as many."
        )
    return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]


def read_parts(raw: Any) -> tuple[Any, Any]:
    """Question and contexts of an input."""
    if isinstance(raw, QuestionItem):
        return raw.question, raw.contexts
    if isinstance(raw, Mapping):
        context = raw.get("contexts", raw.get("context"))
        if raw.get("question") is None or context is None:
            raise InputError(f"found {describe(raw)}, expected the keys 'question' and 'context'.")
        return raw["question"], context
    if isinstance(raw, tuple) and len(raw) == 2:  # noqa: PLR2004  question, context
        return raw
    if hasattr(raw, "question_text") and hasattr(raw, "context_text"):
        return raw.question_text, raw.context_text
    raise InputError(
        f"found {describe(raw)}, expected question= and context=, or a dict with these keys."
    )


def refuse_empty(raw: Any) -> Any:
    """The input, or the error in its place where `transformers` would refuse it."""
    if isinstance(raw, Mapping | tuple):
        try:
            question, context = read_parts(raw)
        except InputError as error:
            return error
        for name, value in (("question", question), ("context", context)):
            if value == "":
                return InputError(f"{name}: found '', expected a text.")
    return raw
