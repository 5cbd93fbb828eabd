"""The component `deberta_qa`: answers to questions about a Doc, as spans of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Optimizer, set_dropout_rate
from thinc.types import Floats2d

from spacy_deberta.components.qa_scoring import carry_questions, score_answers, training_answer
from spacy_deberta.components.task_pipe import TaskPipe
from spacy_deberta.corpora.question_docs import (
    SPANS_KEY,
    DocAnswer,
    questions_of,
    read_answers,
    register_questions,
    write_answers,
)
from spacy_deberta.decoding.answer_windows import (
    N_SPECIAL,
    QuestionFrame,
    QuestionWindow,
    cut_question,
    lay_question,
)
from spacy_deberta.decoding.answers import SpanOptions, SpanScores, best_spans, rank_spans
from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from spacy_deberta.thinc_layers.answers import AnswerModel
    from spacy_deberta.thinc_layers.sequences import PieceSequence, SequenceEncoder
    from spacy_deberta.tokenizers import Pieces

DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.AnswerSpans.v1",
    "tok2vec": {"@architectures": "spacy-deberta.SequenceListener.v1"},
    "dropout": 0.1,
}

register_questions()

Logits = npt.NDArray[np.float32]


@Language.factory(
    "deberta_qa",
    assigns=["doc.spans"],
    requires=["doc._.qa"],
    default_config={
        "model": DEFAULT_MODEL,
        "spans_key": SPANS_KEY,
        "threshold": 0.5,
        "top_k": 1,
        "window": 384,
        "overlap": 128,
        "max_question_len": 64,
        "max_answer_len": 30,
        "scorer": {"@scorers": "spacy-deberta.qa_scorer.v1"},
    },
    default_score_weights={
        "qa_f1": 1.0,
        "qa_exact": 0.0,
        "qa_has_answer_f1": 0.0,
        "qa_has_answer_exact": 0.0,
        "qa_no_answer_exact": 0.0,
    },
)
def make_deberta_qa(  # noqa: PLR0913, PLR0917  one argument for each setting
    nlp: Language,
    name: str,
    model: AnswerModel,
    spans_key: str,
    threshold: float,
    top_k: int,
    window: int,
    overlap: int,
    max_question_len: int,
    max_answer_len: int,
    scorer: Callable[..., dict[str, Any]] | None,
) -> DebertaAnswers:
    """Build the component `deberta_qa`.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: spacy-deberta.AnswerSpans.v1.
        spans_key: where answers stand in `doc.spans`.
        threshold: no answer is given where P(no answer) reaches it; above 1, one always is.
        top_k: answers of a question.
        window: most pieces of one input, question and special pieces included.
        overlap: pieces of the text that neighbouring windows share.
        max_question_len: pieces; what is beyond them is cut off.
        max_answer_len: pieces.
        scorer: of `evaluate` and `train`.
    """
    cfg = {
        "spans_key": spans_key,
        "threshold": threshold,
        "top_k": top_k,
        "window": window,
        "overlap": overlap,
        "max_question_len": max_question_len,
        "max_answer_len": max_answer_len,
    }
    return DebertaAnswers(nlp.vocab, model, name, cfg, scorer)


def make_qa_scorer() -> Callable[..., dict[str, Any]]:
    """Exact match and F1, registered as `spacy-deberta.qa_scorer.v1`."""
    return _score


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about a Doc, as the model reads it."""

    doc: int
    question: str
    windows: list[QuestionWindow]
    pieces: Pieces


class DebertaAnswers(TaskPipe, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Finds the answers to `doc._.qa` and puts them into `doc.spans`; see `corpora.question_docs`.

    Args:
        vocab: the pipeline's.
        model: sequences of a question and a text to start and end logits.
        name: of the component.
        cfg: the settings of `make_deberta_qa`.
        scorer: of `evaluate` and `train`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: AnswerModel,
        name: str,
        cfg: dict[str, Any],
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        self.vocab, self.model, self.name, self.scorer = vocab, model, name, scorer
        self.cfg = dict(cfg)
        self._check_settings()
        self.remember_settings(cfg)

    def _check_settings(self) -> None:
        least = {
            "top_k": 1,
            "max_answer_len": 1,
            "max_question_len": 1,
            "overlap": 0,
            "threshold": 0,
        }
        least["window"] = self.cfg["overlap"] + N_SPECIAL + 2  # a piece of the question, a new one
        for key, value in least.items():
            if not self.cfg[key] >= value:
                raise ConfigError(
                    f"component '{self.name}': {key}={self.cfg[key]!r}, expected {value} or more."
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """None: answers have no labels."""
        return ()

    def predict(self, docs: Iterable[Doc]) -> list[list[tuple[str, SpanScores]]]:
        """The spans that may be answers to every question of each Doc."""
        docs = list(docs)
        asked = self._lay(docs)
        logits = self._logits([window for each in asked for window in each.windows])
        found: list[list[tuple[str, SpanScores]]] = [[] for _ in docs]
        options = SpanOptions(self.cfg["max_answer_len"])
        for each in asked:
            starts, ends = each.pieces.starts, each.pieces.ends
            read = (window.read(next(logits), starts, ends) for window in each.windows)
            scores = best_spans(read, docs[each.doc].text, options, self.cfg["top_k"])
            found[each.doc].append((each.question, scores))
        return found

    def set_annotations(
        self, docs: Iterable[Doc], scores: Sequence[list[tuple[str, SpanScores]]]
    ) -> None:
        """Write answers; a Doc without questions is left as it is."""
        for doc, questions in zip(docs, scores, strict=True):
            if not questions:
                continue
            answers: list[DocAnswer] = []
            null_scores: dict[str, float] = {}
            for question, spans in questions:
                null_scores[question] = spans.null_probability
                if spans.null_probability < self.cfg["threshold"]:
                    answers += self._best(question, spans)
            write_answers(doc, self.cfg["spans_key"], answers, null_scores)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from the questions that the reference Docs answer, or say have no answer."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DebertaAnswers.update")
        for example in examples:
            carry_questions(example)
        asked = self._lay([example.predicted for example in examples])
        targets = self._targets(examples, asked)
        taught = [(window, each) for window, each in targets if each is not None]
        if taught:
            set_dropout_rate(self.model, drop)
            sequences = [_sequence(window) for window, _ in taught]
            logits, backprop = self.model.begin_update(sequences)
            loss, d_logits = self.get_loss(taught, logits)
            backprop(d_logits)
            losses[self.name] += loss
        if sgd:
            self.finish_update(sgd)
        return losses

    def get_loss(
        self,
        examples: Sequence[tuple[QuestionWindow, tuple[int, int]]],
        scores: Sequence[Floats2d],
    ) -> tuple[float, list[Floats2d]]:
        """Cross-entropy of start and end over [CLS] and the text's pieces, the mean of windows.

        Args:
            examples: windows, and the places of start and end in each: 0 = no answer.
            scores: (n, 2) logits of each window.

        Returns:
            The loss and its gradient (n, 2) for each window.
        """
        loss, gradients = 0.0, []
        for (window, places), logits in zip(examples, scores, strict=True):
            gradient = self.model.ops.xp.zeros_like(logits)
            rows = [0, *range(window.offset, window.offset + window.last - window.first)]
            chosen = logits[rows]
            shifted = chosen - chosen.max(0)
            log_p = shifted - self.model.ops.xp.log(self.model.ops.xp.exp(shifted).sum(0))
            d = self.model.ops.xp.exp(log_p)
            for side, place in enumerate(places):
                row = rows.index(place)
                loss -= float(log_p[row, side]) / (2 * len(scores))
                d[row, side] -= 1.0
            gradient[rows] = d / (2 * len(scores))
            gradients.append(gradient)
        return loss, gradients

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        head: str | None = None,
    ) -> None:
        """Build the head, or take a trained one.

        Args:
            get_examples: not looked at; there is nothing to count.
            nlp: the pipeline.
            head: checkpoint folder with a question-answering head. For the scores it was trained
                to, the encoder must be that checkpoint's, too.
        """
        from spacy_deberta.thinc_layers.sequences import PieceSequence

        if head is not None:
            from spacy_deberta.checkpoints import resolve_source
            from spacy_deberta.thinc_layers.heads import load_head

            load_head(self.model, resolve_source(head))
        tokenizer = self._encoder().tokenizer
        sample = PieceSequence(np.array([tokenizer.cls_id, tokenizer.sep_id], dtype=np.int64))
        self.model.initialize(X=[sample])

    def score(self, examples: Iterable[Example], **options: Any) -> dict[str, Any]:
        """Judge the answers; a Doc that came without its questions is asked them now."""
        examples = list(examples)
        late = [example.predicted for example in examples if carry_questions(example)]
        if late:
            list(self.pipe(late))
        scores: dict[str, Any] = super().score(examples, **options)
        return scores

    def _best(self, question: str, spans: SpanScores) -> Iterator[DocAnswer]:
        for ranked in rank_spans(spans, self.cfg["top_k"]):
            start, end = int(spans.start[ranked.index]), int(spans.end[ranked.index])
            yield DocAnswer(question, start, end, ranked.probability)

    def _encoder(self, docs: Sequence[Doc] = ()) -> SequenceEncoder:
        from spacy_deberta.thinc_layers.sequences import sequence_encoder

        return sequence_encoder(self.model, docs)

    def _lay(self, docs: Sequence[Doc]) -> list[Asked]:
        """Every question of every Doc, in windows."""
        encoder = self._encoder(docs)
        tokenizer, cfg = encoder.tokenizer, self.cfg
        if encoder.max_length is not None and cfg["window"] > encoder.max_length:
            raise ConfigError(
                f"component '{self.name}': window={cfg['window']}, but its encoder has absolute "
                f"positions for {encoder.max_length} pieces. Use window={encoder.max_length}."
            )
        frame = QuestionFrame(tokenizer.cls_id, tokenizer.sep_id, cfg["window"], cfg["overlap"])
        asked = []
        for number, doc in enumerate(docs):
            questions = questions_of(doc)
            pieces = tokenizer.encode(doc.text) if questions else None
            for id_, text in questions.items():
                assert pieces is not None
                question = cut_question(tokenizer.encode(text).ids, cfg["max_question_len"])
                windows = lay_question(question, pieces.ids, frame)
                asked.append(Asked(number, id_, windows, pieces))
        return asked

    def _logits(self, windows: Sequence[QuestionWindow]) -> Iterator[Logits]:
        """(n, 2) logits of each window, a bounded number of pieces at a time."""
        from spacy_deberta.thinc_layers.first_rows import in_parts

        for part in in_parts(map(_sequence, windows)):
            yield from map(self._to_numpy, self.model.predict(part))

    def _to_numpy(self, logits: Floats2d) -> Logits:
        array: Logits = self.model.ops.to_numpy(logits)
        return array

    def _targets(
        self, examples: Sequence[Example], asked: Sequence[Asked]
    ) -> Iterator[tuple[QuestionWindow, tuple[int, int] | None]]:
        """Each window with the places of its answer; None where the reference says nothing."""
        known = [read_answers(example.reference, self.cfg["spans_key"]) for example in examples]
        for each in asked:
            answers = known[each.doc].get(each.question)
            answer = None if answers is None else training_answer(answers)
            for window in each.windows:
                if answers is None:
                    yield window, None
                else:
                    yield window, (0, 0) if answer is None else _places(each, window, answer)


def _score(examples: Iterable[Example], *, spans_key: str = SPANS_KEY, **_: Any) -> dict[str, Any]:
    """Called with the settings of the component."""
    return dict(score_answers(examples, spans_key))


def _places(asked: Asked, window: QuestionWindow, answer: tuple[int, int]) -> tuple[int, int]:
    """Places of the pieces of an answer's first and last character; (0, 0) if they are not here."""
    covered = (asked.pieces.ends > answer[0]) & (asked.pieces.starts < answer[1])
    (pieces,) = np.nonzero(covered)
    if not len(pieces):
        return 0, 0
    first, last = window.place(int(pieces[0])), window.place(int(pieces[-1]))
    return (0, 0) if first is None or last is None else (first, last)


def _sequence(window: QuestionWindow) -> PieceSequence:
    from spacy_deberta.thinc_layers.sequences import PieceSequence

    ids, types = np.array(window.ids, dtype=np.int64), np.array(window.types, dtype=np.int64)
    return PieceSequence(ids, types)
