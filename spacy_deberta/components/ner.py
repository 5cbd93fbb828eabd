"""The component `deberta_ner`: a tag per token, the best legal sequence, spans with posteriors."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, biluo_tags_to_spans, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.components.span_scores import add_entities, register_extension, store_spans
from spacy_deberta.components.task_pipe import TaskPipe
from spacy_deberta.decoding import (
    TagScheme,
    TagSpan,
    decode_tags,
    log_softmax,
    make_tags,
    read_scheme,
)
from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.tagger import add_logits, is_initialized, load_token_head, set_width

DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.TokenTagger.v1",
    "tok2vec": {"@architectures": "spacy-deberta.DebertaListener.v1"},
}
SCHEMES = ("BIO", "BILUO")

_N_SAMPLES = 10  # Docs that show the model the width of its input

register_extension()


@Language.factory(
    "deberta_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans"],
    default_config={
        "model": DEFAULT_MODEL,
        "scheme": "BIO",
        "spans_key": "ner",
        "set_ents": True,
        "threshold": 0.0,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_deberta_ner(  # noqa: PLR0913, PLR0917 - spaCy gives settings one by one
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    scheme: str,
    spans_key: str,
    set_ents: bool,
    threshold: float,
    scorer: Callable[..., dict[str, Any]] | None,
) -> "DebertaNer":
    """Build the component `deberta_ner`.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: rows of logits per token, such as `spacy-deberta.TokenTagger.v1`.
        scheme: "BIO" or "BILUO": the tags it learns; a pretrained head brings its own.
        spans_key: `doc.spans[spans_key]` gets the spans, and their scores in its attrs.
        set_ents: also write `doc.ents`, and learn from these; else from `doc.spans[spans_key]`.
        threshold: spans with a lower score are left out.
        scorer: spacy.ner_scorer.v1 for `doc.ents`, spacy.spancat_scorer.v1 for `doc.spans`.
    """
    settings = {
        "scheme": scheme,
        "spans_key": spans_key,
        "set_ents": set_ents,
        "threshold": threshold,
    }
    return DebertaNer(nlp.vocab, model, name, settings=settings, scorer=scorer)


class DebertaNer(TaskPipe, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Finds spans that do not overlap, each with its posterior probability.

    The score of a span is the probability, under the model, that exactly this span with this
    label is there, over all legal sequences of tags. Whitespace tokens have no tag: a span may go
    on behind them.

    Args:
        vocab: the pipeline's vocabulary.
        model: rows of logits per token.
        name: name of the component in the pipeline.
        settings: scheme, spans_key, set_ents, threshold; see `make_deberta_ner`.
        scorer: of the component.

    Raises:
        ConfigError: a setting that cannot be.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str = "deberta_ner",
        *,
        settings: dict[str, Any],
        scorer: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        if settings["scheme"] not in SCHEMES:
            raise ConfigError(
                f"scheme={settings['scheme']!r} of '{name}': expected {' or '.join(SCHEMES)}."
            )
        if not 0 <= settings["threshold"] <= 1:
            raise ConfigError(f"threshold={settings['threshold']} of '{name}': expected 0 to 1.")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {**settings, "tags": []}
        self.remember_settings(settings)

    # Labels

    @property
    def tag_scheme(self) -> TagScheme:
        """What the model's logits stand for.

        Raises:
            PipelineError: there are no labels yet.
        """
        if not self.cfg["tags"]:
            raise PipelineError(
                f"'{self.name}' has no labels; call nlp.initialize() with annotated examples or "
                "[initialize.components] labels or head, or add_label()."
            )
        return read_scheme(self.cfg["tags"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The types of spans."""
        return self.tag_scheme.types if self.cfg["tags"] else ()

    @property
    def label_data(self) -> list[str]:
        """The same, as `spacy init labels` writes and `initialize(labels=...)` reads them."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a type of spans; its logits start at zero. 0 if it is there already."""
        if label in self.labels:
            return 0
        if not label or not isinstance(label, str):
            raise ConfigError(f"'{self.name}': {label!r} is no label; expected a string.")
        tags = make_tags([label], self.cfg["scheme"])
        new = [tag for tag in tags if tag not in self.cfg["tags"]]
        if is_initialized(self.model):
            add_logits(self.model, len(new))
        self.cfg["tags"] = [*self.cfg["tags"], *new]
        self.vocab.strings.add(label)
        return 1

    def _require_head(self) -> TagScheme:
        scheme = self.tag_scheme
        if not is_initialized(self.model):
            raise PipelineError(
                f"'{self.name}' has labels, but its head has no weights yet; call nlp.initialize()."
            )
        return scheme

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> list[list[TagSpan]]:
        """Spans of each Doc, by numbers of tokens; changes nothing."""
        docs = list(docs)
        scheme = self._require_head()
        if not any(len(doc) for doc in docs):
            return [[] for _ in docs]
        logits = self.model.predict(docs)
        places = [_visible(doc) for doc in docs]
        emissions = [
            log_softmax(self.model.ops.to_numpy(rows)[seen])
            for rows, seen in zip(logits, places, strict=True)
        ]
        return [
            [
                TagSpan(int(seen[s.start]), int(seen[s.end - 1]) + 1, s.label, s.score)
                for s in spans
                if s.score >= self.cfg["threshold"]
            ]
            for spans, seen in zip(decode_tags(emissions, scheme), places, strict=True)
        ]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Sequence[TagSpan]]) -> None:
        """Write `doc.spans[spans_key]` with scores and, if so set, `doc.ents`.

        Entities that a Doc has already stay; new ones that overlap them are left out.
        """
        for doc, found in zip(docs, scores, strict=True):
            spans = [Span(doc, s.start, s.end, label=s.label) for s in found]
            store_spans(doc, self.cfg["spans_key"], spans, [s.score for s in found])
            if self.cfg["set_ents"]:
                add_entities(doc, spans)

    # Training

    def update(self, examples: Iterable[Example], **settings: Any) -> dict[str, float]:
        """As TrainablePipe does it.

        Raises:
            PipelineError: it is not initialized.
        """
        self._require_head()
        found: dict[str, float] = super().update(examples, **settings)
        return found

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Cross-entropy of the tags: the mean over the annotated tokens of the batch.

        Tokens without annotation, and whitespace, have no gradient.
        """
        scheme = self.tag_scheme
        gold = [self._gold_tags(example, scheme) for example in examples]
        n_tokens = max(1, sum(int((tags >= 0).sum()) for tags in gold))
        loss, gradients = 0.0, []
        for logits, tags in zip(scores, gold, strict=True):
            found = log_softmax(self.model.ops.to_numpy(logits))
            places = np.flatnonzero(tags >= 0)
            gradient: Any = np.zeros_like(found)
            gradient[places] = np.exp(found[places])
            gradient[places, tags[places]] -= 1.0
            loss -= float(found[places, tags[places]].sum())
            gradients.append(self.model.ops.asarray2f(gradient / n_tokens, dtype="float32"))
        return loss / n_tokens, gradients

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
        head: str | None = None,
    ) -> None:
        """Find the labels and draw the head's weights, or take both from a checkpoint.

        Args:
            get_examples: the training data.
            nlp: the pipeline.
            labels: types of spans; those of the data unless given.
            head: folder or hub name of a token-classification checkpoint whose trained head is
                taken over; the encoder wants the same source, and pooling = "first" if the head
                was trained on first pieces, as is usual.

        Raises:
            PipelineError: there are no labels.
            HeadMissingError: the checkpoint has no head that fits.
        """
        validate_get_examples(get_examples, "DebertaNer.initialize")
        if head is None:
            types = labels if labels is not None else self._labels_of(get_examples())
            self.cfg["tags"] = make_tags(types, self.cfg["scheme"]) if types else []
        else:
            self.cfg["tags"] = ["O"]  # until the head brings its own
        n_tags = len(self.tag_scheme.tags)
        set_width(self.model, n_tags)
        sample = [example.x for example in islice(get_examples(), _N_SAMPLES)]
        self.model.initialize(X=[doc for doc in sample if len(doc)] or None)
        if head is not None:
            self.cfg["tags"] = list(load_token_head(self.model, head))
        for label in self.labels:
            self.vocab.strings.add(label)

    def _labels_of(self, examples: Iterable[Example]) -> list[str]:
        found = dict.fromkeys(self.labels)
        for example in examples:
            found.update(dict.fromkeys(span.label_ for span in self._gold_spans(example.reference)))
        return list(found)

    def _gold_spans(self, reference: Doc) -> Iterable[Span]:
        if self.cfg["set_ents"]:
            return reference.ents
        key = self.cfg["spans_key"]
        return reference.spans.get(key, ())

    def _gold_tags(self, example: Example, scheme: TagScheme) -> Any:
        """(n_tokens,) number of each token's tag; -1 where it is not known."""
        doc = example.predicted
        tags = np.full(len(doc), -1)
        if self.cfg["set_ents"]:
            biluo = example.get_aligned_ner()
            known = np.array([tag not in (None, "-") for tag in biluo], dtype=bool)
            spans = biluo_tags_to_spans(doc, [tag or "O" for tag in biluo])
        elif self.cfg["spans_key"] in example.reference.spans:
            known = np.ones(len(doc), dtype=bool)
            gold = example.reference.spans[self.cfg["spans_key"]]
            spans = example.get_aligned_spans_y2x(gold, allow_overlap=False)
        else:
            return tags
        seen = _visible(doc)
        numbers = {label: number for number, label in enumerate(scheme.types)}
        placed = [
            (*np.searchsorted(seen, [span.start, span.end]).tolist(), numbers[span.label_])
            for span in spans
            if span.label_ in numbers
        ]
        tags[seen] = scheme.encode([span for span in placed if span[0] < span[1]], len(seen))
        tags[~known] = -1
        return tags


def _visible(doc: Doc) -> Any:
    """Numbers of the tokens that are not whitespace."""
    return np.array([token.i for token in doc if not token.is_space], dtype=np.int64)
