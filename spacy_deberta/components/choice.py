"""The component `deberta_choice`: which of several answers fits a text best.

The Doc is the text, such as a question or an article; `doc._.choices` has the answers. The model
reads text and answer together, once per answer, and `doc.cats` gets the probability of each answer
under its number: {"0": 0.1, "1": 0.7, "2": 0.2}. Docs without choices are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats1d, Floats2d

from spacy_deberta.components.task_pipe import TaskPipe
from spacy_deberta.decoding.choices import LONG, PairFrame, choice_probabilities, lay_pair
from spacy_deberta.errors import ConfigError, DataError, PipelineError

if TYPE_CHECKING:
    from spacy_deberta.thinc_layers.sequences import PieceSequence

EXTENSION = "choices"
DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.ChoiceModel.v1",
    "tok2vec": {"@architectures": "spacy-deberta.SequenceListener.v1"},
    "head": {"@architectures": "spacy-deberta.Head.v1", "kind": "choice"},
}

_BATCH = 64  # Docs scored together

if not Doc.has_extension(EXTENSION):
    Doc.set_extension(EXTENSION, default=())


@Language.factory(
    "deberta_choice",
    requires=["doc._.choices"],
    assigns=["doc.cats"],
    default_config={
        "model": DEFAULT_MODEL,
        "max_length": 256,
        "long": "head",
        "scorer": {"@scorers": "spacy-deberta.choice_scorer.v1"},
    },
    default_score_weights={"choice_acc": 1.0},
)
def make_choice(
    nlp: Language,
    name: str,
    model: Model[list[PieceSequence], Floats2d],
    max_length: int,
    long: str,
    scorer: Callable[..., dict[str, Any]] | None,
) -> DebertaChoice:
    """Build the component `deberta_choice`.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: sequences to one logit each, such as `spacy-deberta.ChoiceModel.v1`.
        max_length: most pieces of text and answer together, special pieces included.
        long: which part of a longer text is read: "head" or "tail". Answers are never cut.
        scorer: makes the scores of `nlp.evaluate`.

    Raises:
        ConfigError: an unknown `long`.
    """
    return DebertaChoice(
        nlp.vocab, model, name, cfg={"max_length": max_length, "long": long}, scorer=scorer
    )


class DebertaChoice(TaskPipe, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Chooses among `doc._.choices`.

    Args:
        vocab: the pipeline's vocabulary.
        model: sequences to one logit each.
        name: name of the component in the pipeline.
        cfg: "max_length" and "long", as in `make_choice`.
        scorer: makes the scores of `nlp.evaluate`.

    Raises:
        ConfigError: an unknown `long`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[PieceSequence], Floats2d],
        name: str = "deberta_choice",
        *,
        cfg: dict[str, Any],
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = dict(cfg)
        self.remember_settings(cfg)
        self.scorer = scorer
        parts = [part for part in LONG if part != "window"]
        if self.cfg["long"] not in parts:
            raise ConfigError(f"long={cfg['long']!r}: expected one of {', '.join(parts)}.")

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> list[Floats1d]:
        """Probabilities (C,) of the choices of each Doc; of none, where it has none."""
        docs = list(docs)
        asked = [choices_of(doc) for doc in docs]
        logits = self.model.predict(self._lay(docs, asked))
        return [
            choice_probabilities(part) if len(part) else part  # type: ignore[misc]
            for part in _per_doc(self.model.ops.to_numpy(logits), asked)
        ]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Floats1d]) -> None:
        """Write `doc.cats`, and keep what other components left there."""
        for doc, probabilities in zip(docs, scores, strict=True):
            kept, number = dict(doc.cats), len(probabilities)
            while kept.pop(str(number), None) is not None:  # of more choices that were there before
                number += 1
            doc.cats = kept | {str(n): float(value) for n, value in enumerate(probabilities)}

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from the examples whose reference has choices and says which is right.

        Args:
            examples: choices and `cats` are read from the reference.
            drop: dropout of the head.
            sgd: steps the weights if given.
            losses: gets the mean cross-entropy, summed over batches.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = [carry_choices(example) for example in examples]
        validate_examples(examples, "DebertaChoice.update")
        known = [example for example in examples if gold_choice(example.reference) is not None]
        set_dropout_rate(self.model, drop)
        docs = [example.predicted for example in known]
        sequences = self._lay(docs, [choices_of(doc) for doc in docs])
        logits, backprop = self.model.begin_update(sequences)
        loss, d_logits = self.get_loss(known, logits)
        backprop(d_logits)
        if sgd:  # False: not now
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Mean cross-entropy over the choices of each example, and its gradient.

        Args:
            examples: whose references say which choice is right.
            scores: (sum of choices, 1) logits.

        Returns:
            The loss, and the gradient (sum of choices, 1).
        """
        examples = list(examples)
        validate_examples(examples, "DebertaChoice.get_loss")
        gradient = self.model.ops.alloc2f(*scores.shape)
        flat = self.model.ops.to_numpy(scores)
        asked = [choices_of(example.reference) for example in examples]
        total, start = 0.0, 0
        for example, logits in zip(examples, _per_doc(flat, asked), strict=True):
            found = choice_probabilities(logits)
            gold = gold_choice(example.reference)
            assert gold is not None
            total -= float(np.log(max(found[gold], np.finfo(np.float32).tiny)))
            found[gold] -= 1.0
            gradient[start : start + len(found), 0] = self.model.ops.asarray1f(
                (found / len(examples)).tolist()
            )
            start += len(found)
        return total / max(1, len(examples)), gradient

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        head: str | None = None,
    ) -> None:
        """Make the head.

        Args:
            get_examples: the training data; it is only checked.
            nlp: the pipeline.
            head: a checkpoint folder with a trained head for multiple choice; None = from random.

        Raises:
            PipelineError: no example has choices and says which is right.
            CheckpointError: the folder holds no such head.
        """
        from spacy_deberta.thinc_layers.heads import load_head

        validate_get_examples(get_examples, "DebertaChoice.initialize")
        self._check_examples(get_examples())
        if head is not None:
            load_head(self.model, Path(head))
        self.model.initialize()

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """Accuracy; predicted Docs that came without choices get those of their reference.

        spaCy's own readers, which `spacy evaluate` uses, do not hand them over.
        """
        examples = list(examples)
        bare = [example for example in examples if not choices_of(example.predicted)]
        for start in range(0, len(bare), _BATCH):
            docs = [carry_choices(one).predicted for one in bare[start : start + _BATCH]]
            self.set_annotations(docs, self.predict(docs))
        found: dict[str, Any] = super().score(examples, **settings)
        return found

    def add_label(self, label: str) -> int:
        """Refuse: there are as many classes as a Doc has choices."""
        raise PipelineError(
            f"'{self.name}' has no labels; put the answers into doc._.choices instead of {label!r}."
        )

    def _lay(self, docs: Sequence[Doc], asked: Sequence[Sequence[str]]) -> list[PieceSequence]:
        """One sequence per choice, Doc after Doc."""
        from spacy_deberta.thinc_layers.sequences import PieceSequence, sequence_encoder

        encoder = sequence_encoder(self.model, docs)
        tokenizer = encoder.tokenizer
        limit = min(self.cfg["max_length"], encoder.max_length or self.cfg["max_length"])
        frame = PairFrame(tokenizer.cls_id, tokenizer.sep_id, limit, self.cfg["long"])
        sequences = []
        for doc, choices in zip(docs, asked, strict=True):
            first = tokenizer.encode(doc.text).ids.tolist() if choices else []
            for choice in choices:
                (row,) = lay_pair(first, tokenizer.encode(choice).ids.tolist(), frame)
                sequences.append(PieceSequence(np.array(row.ids), np.array(row.types)))
        return sequences

    def _check_examples(self, examples: Iterable[Example]) -> None:
        found = (gold_choice(example.reference) for example in examples)
        if all(gold is None for gold in found):
            raise PipelineError(
                f"'{self.name}': no example has choices and a right one among them. Set "
                'doc._.choices = ["...", "..."] and doc.cats = {"0": 0.0, "1": 1.0} on reference '
                "Docs, and save DocBins with store_user_data=True; convert-data does both."
            )


def choices_of(doc: Doc) -> tuple[str, ...]:
    """The choices of a Doc; none if there are none.

    Raises:
        DataError: `doc._.choices` is something else than a list of texts.
    """
    given = doc._.get(EXTENSION) or ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise DataError(f"doc._.choices: found {given!r}, expected a list of texts.")
    return tuple(given)


def gold_choice(doc: Doc) -> int | None:
    """The number of the right choice by `doc.cats`; None if the Doc does not say it."""
    values = [float(doc.cats.get(str(number), 0.0)) for number in range(len(choices_of(doc)))]
    return int(np.argmax(values)) if values and max(values) > 0 else None


def carry_choices(example: Example) -> Example:
    """Give the predicted Doc the choices of the reference, if it has none."""
    if not choices_of(example.predicted):
        example.predicted._.set(EXTENSION, list(choices_of(example.reference)))
    return example


def score_choices(examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
    """The share of examples whose most probable choice is the right one; of equals, the first.

    Returns:
        choice_acc, None if no reference says what is right, and choice_n, their number.
    """
    found = []
    for example in examples:
        gold = gold_choice(example.reference)
        if gold is not None:
            n_choices = len(choices_of(example.reference))
            cats = example.predicted.cats
            values = [cats.get(str(number), 0.0) for number in range(n_choices)]
            found.append(int(np.argmax(values)) == gold)
    accuracy = sum(found) / len(found) if found else None
    return {"choice_acc": accuracy, "choice_n": len(found)}


def make_choice_scorer() -> Callable[..., dict[str, Any]]:
    """The scorer, registered as `spacy-deberta.choice_scorer.v1`."""
    return score_choices


def _per_doc(logits: Any, asked: Sequence[Sequence[str]]) -> Iterator[Any]:
    """Logits (sum of choices, 1) to (C,) of each Doc."""
    start = 0
    for choices in asked:
        yield logits[start : start + len(choices), 0]
        start += len(choices)
