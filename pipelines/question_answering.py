"""Extractive question answering over any number of contexts of any length.

One distribution over every span of every window and context decides, and no answer where that
competes, so scores sum to 1 and do not depend on `top_k`. With `hf_compat=True` scores are those of
`transformers`: normalized in each window, added for equal texts.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from pipelines.answered_docs import Waiting, ask_docs, fill_docs
from pipelines.base import AHEAD_OF_STREAMS, Nesting, TaskPipeline
from pipelines.batching import Row, cut_rows
from pipelines.compat_offsets import fast_offsets
from pipelines.compat_question_answering import compat_answers
from pipelines.inputs import check_stream, describe, read_text
from pipelines.options import Options
from pipelines.questions import (
    INPUTS,
    QuestionAnsweringOptions,
    QuestionItem,
    read_named,
    read_parts,
    read_positional,
    refuse_empty,
)
from pipelines.records import Answer, Answers
from pipelines.registry import tasks
from pipelines.stream import RAISE, RETURN, SKIP
from spacy_deberta.decoding.answer_scores import best_threshold
from spacy_deberta.decoding.answer_windows import (
    N_SPECIAL,
    QuestionFrame,
    QuestionWindow,
    cut_question,
    lay_question,
)
from spacy_deberta.decoding.answers import (
    RankedSpan,
    SpanOptions,
    SpanScores,
    rank_spans,
    score_spans,
)
from spacy_deberta.decoding.calibration import CalibrationReport, Evidence
from spacy_deberta.errors import InputError, OptionError
from spacy_deberta.tokenizers import Pieces

if TYPE_CHECKING:
    from spacy.tokens import Doc

NO_ANSWER = "no answer"  # the calibration's threshold on P(no answer)
MAX_SEQ_LEN = 384  # pieces of a window, as in `transformers`
MAX_STRIDE = 128  # pieces that windows share, the same


@dataclass(frozen=True, eq=False)
class Place:
    """What a window shows: `Row.extra`."""

    window: QuestionWindow
    pieces: Pieces
    context: int


@tasks.register("question-answering")
class QuestionAnsweringPipeline(TaskPipeline[Any, QuestionItem, Answers]):
    """Answers to questions, as spans of the contexts.

        answer(question="Who wrote it?", context="It was written by Ada.").best.text

    An input is such a pair of arguments, `contexts=[...]` for several texts that are searched
    together, a dict with these keys, a tuple of two texts, or an object with `question_text` and
    `context_text`. Lists of questions (with one context or as many) and lists of inputs give lists.
    """

    task: ClassVar[str] = "question-answering"
    head: ClassVar[str] = "ForQuestionAnswering"
    options_class: ClassVar[type[Options]] = QuestionAnsweringOptions
    input_fields = ("question", "context", "contexts")

    def read_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The inputs and the options of a call."""
        options = dict(kwargs)
        named = {name: options.pop(name) for name in INPUTS if name in options}
        if args and named:
            raise InputError(f"found positional inputs and {', '.join(named)}=; give one of them.")
        inputs = read_positional(args) if args else read_named(named)
        if self.hf_compat:  # outside of streams
            inputs = (
                [*map(refuse_empty, inputs)] if isinstance(inputs, list) else refuse_empty(inputs)
            )
        return inputs, options

    def prepare(self, raw: Any, options: QuestionAnsweringOptions) -> QuestionItem:
        """Check an input."""
        question, contexts = read_parts(raw)
        asked = read_text(question, "question")
        if not asked.strip():
            raise InputError(f"question: found {asked!r}, expected a question.")
        if not isinstance(contexts, list | tuple):
            return QuestionItem(asked, (read_text(contexts, "context"),))
        if not contexts:
            raise InputError("contexts: found an empty list, expected one text or more.")
        texts = tuple(read_text(each, f"contexts[{n}]") for n, each in enumerate(contexts))
        return QuestionItem(asked, texts)

    def encode(self, item: QuestionItem, options: QuestionAnsweringOptions) -> list[Row]:
        """The windows of all contexts."""
        core = self.tokenizer.core
        question = core.encode(item.question, specials=self.hf_compat).ids
        if not self.hf_compat:
            question = self._cut(question, options)
        frame = self._frame(len(question), options)
        rows = []
        for number, context in enumerate(item.contexts):
            pieces = core.encode(context, specials=self.hf_compat)
            windows = lay_question(question, pieces.ids, frame)
            rows += [Row(each.ids, each.types, Place(each, pieces, number)) for each in windows]
        return rows

    def forward(self, rows: Sequence[Row], options: QuestionAnsweringOptions) -> list[Any]:
        """(n, 2) start and end logits of each row."""
        output = self.run_model(rows)
        return cut_rows(torch.stack([output.start_logits, output.end_logits], -1), rows)

    def decode(
        self,
        item: QuestionItem,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: QuestionAnsweringOptions,
    ) -> Answers:
        """The n best answers."""
        if self.hf_compat:
            return self._decode_as_hf(item, rows, results, options)
        if not rows:
            none = Answer.none(reason="empty context")
            return Answers(none, (none,), 1.0)
        scores = self._scores(item, rows, results, options)
        texts = item.contexts if options.group_by_text else None
        ranked = rank_spans(scores, options.top_k, options.overlap, texts)
        found = [_answer(each, scores, item.contexts) for each in ranked]
        null = scores.null_probability
        threshold = options.no_answer_threshold
        if threshold is None:
            threshold = self.calibration.thresholds.get(NO_ANSWER, 0.5)
        if not found:
            found = [Answer.none(null)]
        elif options.handle_impossible_answer:
            place = 0 if null >= threshold else 1 + sum(each.score >= null for each in found[1:])
            found.insert(place, Answer.none(null))
        return Answers(found[0], tuple(found[: options.top_k]), null)

    def to_hf(
        self, records: Sequence[Answers], options: QuestionAnsweringOptions, nesting: Nesting
    ) -> Any:
        """One dict per question, a list where there are several answers; no list around one."""
        shaped = []
        for record in records:
            answers = [
                {"score": each.score, "start": each.start, "end": each.end, "answer": each.text}
                for each in record.nbest
            ]
            shaped.append(answers[0] if len(answers) == 1 else answers)
        return shaped[0] if nesting != "list" or len(shaped) == 1 else shaped

    def annotate(
        self, docs: Iterable[Doc], *, on_error: str | None = None, **options: Any
    ) -> Iterator[Doc]:
        """Answer `doc._.qa`, a list of {"id", "question"}, in `doc.spans["qa"]`.

        As the component `deberta_qa` does it: `span.id_` is the question's id; the group's attrs
        are "scores", "offsets" (characters) and "null_scores" by question.

        Args:
            docs: any; one without questions stays as it is.
            on_error: instead of the pipeline's own.
            options: of the task.
        """
        check_stream(docs, "several Docs")
        policy = on_error or self.on_error
        waiting: Waiting = deque()
        inputs = ask_docs(docs, waiting)
        inner = RAISE if policy == RAISE else RETURN
        chosen = self.options.override({"handle_impossible_answer": True, **options})
        run = {"on_error": inner}
        found = self._records(inputs, chosen, AHEAD_OF_STREAMS, run)
        while True:
            record = next(found, None)
            if record is None and not waiting:
                return
            yield from fill_docs(waiting, record, found, skips=policy == SKIP)

    def judge(
        self,
        item: QuestionItem,
        rows: Sequence[Row],
        results: Sequence[Any],
        gold: Any,
        options: QuestionAnsweringOptions,
    ) -> Iterable[Evidence]:
        """The right span among all spans; gold: a text, (start, end), or "" = no answer.

        A right answer that is no span, for its length or its ends, says nothing.
        """
        scores = self._scores(item, rows, results, options)
        right = _find_gold(scores, item.contexts, gold)
        if not options.relative:
            return [] if right is None else [Evidence(scores.score, right)]
        if right is None and gold not in ("", None):
            return []
        logits = np.append(scores.score, 0.0)
        self._judged.append((logits, right))
        return [Evidence(logits, len(scores) if right is None else right)]

    def calibrate(
        self, examples: Iterable[tuple[Any, Any]], *, force: bool = False, **options: Any
    ) -> CalibrationReport:
        """Learn the temperature, and the threshold on P(no answer) with most right answers.

        Args:
            examples: (input, gold answer) each; see `judge`.
            force: also from fewer than 50 examples.
            options: of the task.
        """
        self._judged: list[tuple[Any, int | None]] = []
        report = super().calibrate(examples, force=force, **options)
        judged, self._judged = self._judged, []
        if not judged:
            return report
        scaled = [(each / report.calibration.temperature, right) for each, right in judged]
        nulls = [float(np.exp(-np.logaddexp.reduce(each))) for each, _ in scaled]
        gains = [float(len(each) > 1 and np.argmax(each[:-1]) == right) for each, right in scaled]
        threshold, _ = best_threshold(nulls, gains, [right is not None for _, right in scaled])
        thresholds = {NO_ANSWER: threshold}
        self.calibration = replace(report.calibration, thresholds=thresholds)
        return replace(report, calibration=self.calibration)

    def _scores(
        self,
        item: QuestionItem,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: QuestionAnsweringOptions,
    ) -> SpanScores:
        read = []
        for row, logits in zip(rows, results, strict=True):
            place: Place = row.extra
            pieces = place.pieces
            read.append(place.window.read(logits, pieces.starts, pieces.ends, place.context))
        null = "relative" if options.relative else "off"
        temperature = self.calibration.temperature
        how = SpanOptions(options.max_answer_len, null, options.align_to_words, temperature)
        return score_spans(read, item.contexts, how)

    def _decode_as_hf(
        self,
        item: QuestionItem,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: QuestionAnsweringOptions,
    ) -> Answers:
        if len(item.contexts) != 1:
            raise InputError("contexts: `transformers` takes one context; leave hf_compat out.")
        if not rows:  # only [CLS] is left to choose
            none = Answer.none(1.0 if options.handle_impossible_answer else 0.0)
            return Answers(none, (none,), none.score)
        (context,) = item.contexts
        windows = [(row.extra.window, result) for row, result in zip(rows, results, strict=True)]
        found = compat_answers(
            context, fast_offsets(self.tokenizer.core, context), windows, options
        )
        nbest = [Answer(one["answer"], one["start"], one["end"], one["score"]) for one in found]
        null = min((one.score for one in nbest if not one.text), default=0.0)
        return Answers(nbest[0], tuple(nbest), null)

    def _cut(self, question: Any, options: QuestionAnsweringOptions) -> Any:
        """A question that leaves room for the context."""
        limit = min(options.max_question_len, (self._window(options) - N_SPECIAL) // 2)
        if len(question) > limit:
            warnings.warn(
                f"a question of {len(question)} pieces was cut to its {options.question_keep} of "
                f"{limit}; give max_question_len or max_seq_len to keep more.",
                stacklevel=2,
            )
        return cut_question(question, limit, options.question_keep)

    def _window(self, options: QuestionAnsweringOptions) -> int:
        longest = self.max_length or MAX_SEQ_LEN
        return options.max_seq_len or min(longest, MAX_SEQ_LEN)

    def _frame(self, n_question: int, options: QuestionAnsweringOptions) -> QuestionFrame:
        core, window, stride = self.tokenizer.core, self._window(options), options.doc_stride
        room = window - N_SPECIAL - n_question
        if room < 1:
            raise InputError(
                f"question: found {n_question} pieces, which leave no room for the context in "
                f"max_seq_len={window}. Shorten it, or leave hf_compat out to have it cut."
            )
        if stride is None:
            stride = min(window // 2, MAX_STRIDE)
            if not self.hf_compat:
                stride = min(stride, room // 2)
        if stride >= room:
            raise OptionError(
                f"doc_stride={stride}, but max_seq_len={window} leaves room for {room} pieces of "
                f"the context beside the question; expected less than {room}."
            )
        return QuestionFrame(core.cls_id, core.sep_id, window, stride, not self.hf_compat)


def _answer(ranked: RankedSpan, scores: SpanScores, contexts: Sequence[str]) -> Answer:
    def place(index: int) -> tuple[int, int, int]:
        return int(scores.context[index]), int(scores.start[index]), int(scores.end[index])

    context, start, end = place(ranked.index)
    places = tuple(map(place, (ranked.index, *ranked.twins))) if ranked.twins else ()
    return Answer(
        contexts[context][start:end],
        start,
        end,
        ranked.probability,
        log_odds=float(scores.score[ranked.index]),
        mass=ranked.mass,
        context_index=context,
        window=int(scores.window[ranked.index]),
        places=places,
    )


def _find_gold(scores: SpanScores, contexts: Sequence[str], gold: Any) -> int | None:
    """The number of the right span; of several with its text, the best."""
    if gold in ("", None):
        return None
    is_span = isinstance(gold, tuple | list) and len(gold) == 2  # noqa: PLR2004 - start and end
    if not is_span and not isinstance(gold, str):
        raise InputError(
            f"gold answer: found {describe(gold)}, expected a text of the context, (start, end), "
            "or '' where there is no answer."
        )
    if is_span:
        (found,) = np.nonzero((scores.start == gold[0]) & (scores.end == gold[1]))
    else:
        (long,) = np.nonzero(scores.end - scores.start == len(gold))
        texts = [contexts[scores.context[i]][scores.start[i] : scores.end[i]] for i in long]
        found = long[[text == gold for text in texts]]
    return int(found[np.argmax(scores.score[found])]) if len(found) else None
