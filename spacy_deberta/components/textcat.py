"""The component `deberta_textcat`: labels and values of texts and pairs of texts, in `doc.cats`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Optional

import numpy as np
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from spacy_deberta.components.class_scores import score_classes
from spacy_deberta.components.class_truths import MODES, labels_of, truths_of
from spacy_deberta.components.pairs import has_pair, register_pair, take_pairs
from spacy_deberta.components.task_pipe import TaskPipe
from spacy_deberta.decoding.classes import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    activate,
    class_losses,
    find_activation,
)
from spacy_deberta.errors import ConfigError, DataError

TEXTS = ("all", "single", "pairs")

DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.TextClassifier.v1",
    "window": 512,
    "stride": 384,
    "tok2vec": {
        "@architectures": "spacy-deberta.SequenceListener.v1",
        "upstream": "*",
        "grad_factor": 1.0,
    },
    "head": {"@architectures": "spacy-deberta.Head.v1", "kind": "sequence", "dropout": 0.1},
}
SCORE_WEIGHTS = {
    "cats_score": 1.0,
    "cats_score_desc": None,
    "cats_micro_p": None,
    "cats_micro_r": None,
    "cats_micro_f": 0.0,
    "cats_macro_p": None,
    "cats_macro_r": None,
    "cats_macro_f": 0.0,
    "cats_macro_auc": None,
    "cats_f_per_type": None,
}

register_pair()


@Language.factory(
    "deberta_textcat",
    assigns=["doc.cats"],
    default_config={
        "model": DEFAULT_MODEL,
        "mode": "exclusive",
        "threshold": None,
        "texts": "all",
        "scorer": {"@scorers": "spacy-deberta.class_scorer.v1"},
    },
    default_score_weights=SCORE_WEIGHTS,
)
def make_deberta_textcat(  # noqa: PLR0913, PLR0917  one argument for each setting
    nlp: Language,
    name: str,
    model: Model[list[Doc], Floats2d],
    mode: str,
    threshold: Optional[float],  # noqa: UP045  (as in every registered function of spaCy)
    texts: str,
    scorer: Optional[Callable[..., dict[str, Any]]],  # noqa: UP045
) -> "DebertaTextCategorizer":
    """Build the component `deberta_textcat`.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: of the architecture `spacy-deberta.TextClassifier.v1`.
        mode: "exclusive" (one label per text), "multilabel" (any number), "regression" (a value
            per label).
        threshold: from which score on a label counts, in scoring: 0.5 unless given; with exclusive
            labels the best one counts, whatever its score.
        texts: which Docs to judge: "all", "single" (those without `doc._.pair`) or "pairs"; for
            pipelines with a component for each.
        scorer: of `nlp.evaluate`. With two components, name each in [training.score_weights], such
            as places_cats_score = 0.5 and nli_cats_score = 0.5: `cats_score` is the last one's.
    """
    component = DebertaTextCategorizer(nlp.vocab, model, name, mode, threshold, scorer)
    component.read(texts)
    component.remember_settings({"mode": mode, "threshold": threshold, "texts": texts})
    return component


class DebertaTextCategorizer(TaskPipe, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Judges a text, or a pair of texts (the Doc's and `doc._.pair`), as a whole.

    `doc.cats` gets the probability of each label, or in regressions its value.

    Args:
        vocab: the pipeline's vocabulary.
        model: of the architecture `spacy-deberta.TextClassifier.v1`.
        name: of the component.
        mode: one of MODES.
        threshold: from which score on a label counts, in scoring.
        scorer: of `nlp.evaluate`.

    Raises:
        ConfigError: an unknown mode.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Floats2d],
        name: str = "deberta_textcat",
        mode: str = "exclusive",
        threshold: float | None = None,
        scorer: Callable[..., dict[str, Any]] | None = score_classes,
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode={mode!r} is unknown; expected one of {', '.join(MODES)}.")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "labels": [],
            "mode": mode,
            "threshold": threshold,
            "positive_label": None,
            "texts": "all",
        }
        self._set_merge()

    def read(self, texts: str) -> None:
        """Judge these Docs from now on, one of TEXTS, and leave the others alone.

        Raises:
            ConfigError: none of them.
        """
        if texts not in TEXTS:
            raise ConfigError(f"texts={texts!r} is unknown; expected one of {', '.join(TEXTS)}.")
        self.cfg["texts"] = texts

    @property
    def problem(self) -> str:
        """The problem type, as in a checkpoint's config."""
        return MODES[self.cfg["mode"]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> tuple[str, ...]:
        """What `init labels` writes."""
        return self.labels

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> Floats2d:
        """Scores (n_docs, n_labels), zeros for Docs it leaves alone; changes nothing."""
        docs = list(docs)
        scores = self.model.ops.alloc2f(len(docs), len(self.labels))
        read = [number for number, doc in enumerate(docs) if self._reads(doc)]
        if read:
            scores[read] = self._activate(self.model.predict([docs[number] for number in read]))
        return scores

    def set_annotations(self, docs: Iterable[Doc], scores: Floats2d) -> None:
        """Write `doc.cats`."""
        for doc, row in zip(docs, self.model.ops.to_numpy(scores).tolist(), strict=True):
            if self._reads(doc):
                doc.cats.update(zip(self.labels, row, strict=True))

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch; `drop` is the head's dropout, the encoder has that of its config.

        Raises:
            DataError: a label with a value that cannot be.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DebertaTextCategorizer.update")
        take_pairs(examples)
        examples = [example for example in examples if self._learns_from(example)]
        if examples:
            set_dropout_rate(self.model, drop)
            logits, backprop = self.model.begin_update([eg.predicted for eg in examples])
            loss, d_logits = self.get_loss(examples, logits)
            backprop(d_logits)
            losses[self.name] += loss
        if sgd:  # False: not now
            self.finish_update(sgd)
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Mean loss and its gradient: cross-entropy, or the squared error of a regression.

        Args:
            examples: B of them. Labels that one does not have do not count in it; among exclusive
                ones they are wrong, and an example without a right one does not count.
            scores: (B, n_labels) logits.

        Returns:
            The loss, and (B, n_labels).
        """
        logits = np.asarray(self.model.ops.to_numpy(scores), dtype=np.float64)
        truths, known = truths_of(list(examples), self.labels, self.cfg["mode"])
        counted = known.max(axis=1) if self.problem == SINGLE_LABEL else known
        shares = known / max(1.0, float(counted.sum()))
        factor = 2.0 if self.problem == REGRESSION else 1.0
        gradient = factor * (self._activate(logits) - truths) * shares
        loss = float((class_losses(logits, truths, self.problem) * shares).sum())
        return loss, self.model.ops.asarray2f(gradient, dtype="f")

    def add_label(self, label: str) -> int:
        """Add a label; 0 if it is there."""
        if not isinstance(label, str):
            raise DataError(f"label {label!r}: expected a text.")
        if label in self.labels:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
        positive_label: str | None = None,
        head: str | None = None,
    ) -> None:
        """Learn the labels; load or draw the head.

        Args:
            get_examples: gives the training data.
            nlp: the pipeline.
            labels: instead of those in the data.
            positive_label: of two exclusive labels, the one whose F-score is the component's.
            head: a checkpoint folder with a trained head; its labels are the component's.

        Raises:
            ConfigError: labels that cannot be.
            CheckpointError: no such head there.
        """
        validate_get_examples(get_examples, "DebertaTextCategorizer.initialize")
        pretrained = None if head is None else self._load_head(head)
        found = list(labels or pretrained or labels_of(self._mine(get_examples())))
        if pretrained is not None and len(found) != len(pretrained):
            raise ConfigError(
                f"labels={found}: the head in {head} has {len(pretrained)}: {pretrained}."
            )
        for label in found:
            self.add_label(label)
        mine = self._mine(get_examples())
        self._check_labels(filter(self._learns_from, mine) if labels else mine, positive_label)
        self.cfg["positive_label"] = positive_label
        self.model.set_dim("nO", len(self.labels), force=True)
        self.model.initialize()

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score predictions; pairs that only the references have are predicted first.

        spaCy's readers give the predicted Docs nothing but their text.

        Returns:
            What the scorer gives, and the scores that select models once more as `NAME_cats_score`
            with the component's name: of two components that write `cats_score` the last one wins.
        """
        examples = list(examples)
        taken = {id(example.predicted) for example in take_pairs(examples)}
        read = [example.predicted for example in examples if self._reads(example.predicted)]
        late = [doc for doc in read if id(doc) in taken or not self._has_judged(doc)]
        for docs in util.minibatch(late, size=128):  # type: ignore[no-untyped-call]
            self.set_annotations(docs, self.predict(docs))
        mine = [example for example in examples if self._learns_from(example)]
        scores: dict[str, Any] = super().score(mine, **kwargs)
        selecting = [key for key, weight in SCORE_WEIGHTS.items() if weight is not None]
        own = {f"{self.name}_{key}": scores[key] for key in selecting if key in scores}
        return {**scores, **own}

    def as_model(self, nlp: Language) -> tuple[Any, Any]:
        """Encoder and head, copied, as a model of a checkpoint; and their tokenizer."""
        from spacy_deberta import modeling
        from spacy_deberta.config import DebertaV2Config
        from spacy_deberta.thinc_layers.heads import head_node
        from spacy_deberta.thinc_layers.sequences import sequence_encoder

        shim: Any = sequence_encoder(self.model).shim
        head: Any = head_node(self.model).shims[0]
        config = replace(
            shim.encoder.config,
            pooler_hidden_act=head.config.pooler_hidden_act,
            num_labels=len(self.labels),
            id2label=dict(enumerate(self.labels)),
            problem_type=self.problem,
        )
        family = "DebertaV2" if isinstance(config, DebertaV2Config) else "Deberta"
        model = getattr(modeling, f"{family}ForSequenceClassification")(config)
        model.encoder.load_state_dict(shim.encoder.state_dict())
        model.head.load_state_dict(head.module.state_dict())
        return model.eval(), getattr(modeling, f"{family}Tokenizer")(shim.tokenizer)

    def _load_head(self, source: str) -> list[str]:
        """Take a trained head; the names of its labels."""
        from spacy_deberta.checkpoints import resolve_source
        from spacy_deberta.thinc_layers.heads import load_head

        config = load_head(self.model, resolve_source(source))
        if config.problem_type not in (None, self.problem):
            mode = next((mode for mode, name in MODES.items() if name == config.problem_type), None)
            raise ConfigError(
                f"{source}: its head was trained for problem_type={config.problem_type!r}, but the "
                f"component has mode='{self.cfg['mode']}'; set mode={mode!r}."
            )
        return [config.id2label.get(n, f"LABEL_{n}") for n in range(config.num_labels)]

    def _keep_overrides(self) -> None:
        super()._keep_overrides()
        self._set_merge()

    def _set_merge(self) -> None:
        self.model.attrs["merge"] = "max" if self.problem == MULTI_LABEL else "mean"

    def _reads(self, doc: Doc) -> bool:
        texts = self.cfg["texts"]
        return texts == "all" or has_pair(doc) == (texts == "pairs")

    def _has_judged(self, doc: Doc) -> bool:
        return any(label in doc.cats for label in self.labels)

    def _mine(self, examples: Iterable[Example]) -> Iterator[Example]:
        return (example for example in examples if self._reads(example.reference))

    def _learns_from(self, example: Example) -> bool:
        """Whether it has one of the labels; one that has none of them is another component's."""
        labels = example.reference.cats
        return self._reads(example.reference) and any(label in labels for label in self.labels)

    def _check_labels(self, examples: Iterable[Example], positive_label: str | None) -> None:
        known = list(self.labels)
        unknown = sorted(set(labels_of(examples)) - set(known))
        if unknown:
            raise ConfigError(f"'{self.name}': the data has labels {unknown}, expected {known}.")
        least = 2 if self.problem == SINGLE_LABEL else 1
        if len(known) < least:
            raise ConfigError(
                f"'{self.name}': found labels {known}, expected {least} or more with "
                f"mode='{self.cfg['mode']}'. Annotate doc.cats in the data, or give labels."
            )
        if positive_label is not None and (positive_label not in known or len(known) != 2):  # noqa: PLR2004
            raise ConfigError(
                f"positive_label={positive_label!r}: expected one of two labels, found {known}."
            )

    def _activate(self, logits: Any) -> Any:
        found = activate(self.model.ops.to_numpy(logits), find_activation(self.problem))
        return self.model.ops.asarray(found)  # type: ignore[arg-type]  # numpy's
