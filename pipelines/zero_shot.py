"""Zero-shot classification: which labels, given with the call, a text entails."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from pipelines.base import TaskPipeline
from pipelines.batching import Row
from pipelines.compat_zero_shot import hf_nli_labels, hf_order, hf_row
from pipelines.inputs import read_text
from pipelines.options import Options, check_overlap, check_share, check_texts
from pipelines.records import LabelScore, ZeroShot
from pipelines.registry import tasks
from pipelines.text_classification import label_names, read_gold
from spacy_deberta.alignment import Frame, lay_text
from spacy_deberta.decoding import (
    SINGLE_LABEL,
    Evidence,
    NliLabels,
    find_nli_labels,
    merge_rows,
    passing,
    rank,
    zero_shot_scores,
)
from spacy_deberta.errors import InputError, OptionError

if TYPE_CHECKING:
    from spacy.tokens import Doc

Floats = npt.NDArray[np.floating[Any]]
Template = str | Sequence[str] | Mapping[str, str]

TEMPLATE = "This example is {}."
KEPT = 4096  # hypotheses whose pieces are kept
_SPECIAL = 3  # pieces of a pair


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions(Options):
    """Options of zero-shot-classification.

    Attributes:
        candidate_labels: a list, or one text with commas.
        hypothesis_template: a sentence with `{}` or `{label}` in the place of the label; a list of
            such sentences, whose logits are averaged; or a sentence for each label by its name.
        multi_label: labels may hold together: each is scored for itself.
        threshold: with multi_label, least score of a label that counts.
        entailment_label: the model's label for "the hypothesis follows"; None = by its name.
        contradiction_label: the model's label for its opposite; None = by its name.
        prior_correction: subtract what the model thinks of each label without any text.
        overlap: of the windows of long texts, the share that the one before has, too.
    """

    aliases: ClassVar[Mapping[str, str]] = {"multi_class": "multi_label"}

    candidate_labels: str | Sequence[str] | None = None
    hypothesis_template: Template = TEMPLATE
    multi_label: bool = False
    threshold: float = 0.5
    entailment_label: str | None = None
    contradiction_label: str | None = None
    prior_correction: bool = False
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_share("threshold", self.threshold)
        check_overlap(self.overlap)
        for name in ("entailment_label", "contradiction_label"):
            if not isinstance(value := getattr(self, name), str | None):
                raise OptionError(f"{name}={value!r}, expected the name of a label of the model.")
        given = self.hypothesis_template
        if not isinstance(given, str):
            check_texts(
                "hypothesis_template", [*given.values()] if isinstance(given, Mapping) else given
            )


@dataclass(frozen=True)
class Candidates:
    """A text and what may hold of it.

    Attributes:
        text: the premise.
        labels: C of them.
        hypotheses: one or more for each label.
    """

    text: str
    labels: tuple[str, ...]
    hypotheses: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Place:
    """Which label, which of its hypotheses, and how many pieces of the text are new in a row."""

    label: int
    hypothesis: int
    weight: int


@tasks.register("zero-shot-classification")
class ZeroShotClassificationPipeline(TaskPipeline[Any, Candidates, ZeroShot]):
    """Judges labels that the model was not trained for, by natural language inference.

    A label is made into a sentence, and the model says whether the text entails it. All rows, of
    all texts and labels, go through the model in common batches. A long text is cut at the same
    places for every label: read in windows, of which the logits are averaged, or with multi_label
    the best one counts.
    """

    task: ClassVar[str] = "zero-shot-classification"
    head: ClassVar[str] = "ForSequenceClassification"
    options_class = ZeroShotOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pieces: dict[str, list[int]] = {}
        self._priors: dict[str, Floats] = {}

    def read_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The texts, and the labels as second argument or by name."""
        given = list(args) + ([kwargs.pop("sequences")] if "sequences" in kwargs else [])
        if len(given) not in (1, 2) or (len(given) > 1 and "candidate_labels" in kwargs):
            raise OptionError(
                f"zero-shot-classification: found {len(given)} arguments, expected the texts and "
                "candidate_labels."
            )
        labels = {"candidate_labels": given[1]} if len(given) > 1 else {}
        return given[0], {**kwargs, **labels}

    def prepare(self, raw: Any, options: ZeroShotOptions) -> Candidates:
        """The text and a sentence for each label."""
        labels = self._read_labels(options.candidate_labels)
        self._nli(options)
        text = read_text(raw)
        if not text:
            raise InputError("found an empty text, expected one to judge.")
        template = options.hypothesis_template
        return Candidates(text, labels, tuple(_hypotheses(template, label) for label in labels))

    def encode(self, item: Candidates, options: ZeroShotOptions) -> list[Row]:
        """A row for each label, hypothesis and window; the windows are the same for all."""
        places = [
            (number, place, text)
            for number, texts in enumerate(item.hypotheses)
            for place, text in enumerate(texts)
        ]
        if self.hf_compat:
            return [
                hf_row(self.tokenizer, item.text, text, Place(number, place, 1))
                for number, place, text in places
            ]
        core = self.tokenizer.core
        premise = core.encode(item.text).ids
        most = max(len(self._encoded(text)) for _, _, text in places)
        room = (self.max_length - _SPECIAL) // 2
        if most > room:
            raise OptionError(
                f"candidate_labels: found a sentence of {most} pieces, expected at most {room}, "
                f"half of max_length={self.max_length}. Shorten the label or hypothesis_template."
            )
        stride = max(1, round((self.max_length - _SPECIAL - most) * (1 - options.overlap)))
        rows = []
        for number, place, text in places:
            pieces = np.array(self._encoded(text), dtype=np.int64)
            window = self.max_length - most + len(pieces)  # leaves the same room to the premise
            frame = Frame(core.cls_id, core.sep_id, window, stride, only_first=True)
            rows += [
                Row(row.ids, row.types, Place(number, place, row.weight))
                for row in lay_text(premise, pieces, frame).rows
            ]
        return rows

    def forward(self, rows: Sequence[Row], options: ZeroShotOptions) -> list[Any]:
        """Logits (n_classes,) of each row."""
        return list(self.run_model(rows).logits.float().cpu().numpy())

    def decode(
        self,
        item: Candidates,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: ZeroShotOptions,
    ) -> ZeroShot:
        """Labels, best first."""
        nli = self._nli(options)
        logits = self._merge(item, rows, results, options)
        if not self.hf_compat:
            logits = logits / self.calibration.temperature
        scores = zero_shot_scores(logits, nli, multi_label=options.multi_label)
        order = hf_order(scores) if self.hf_compat else rank(scores)
        named = [LabelScore(item.labels[n], float(scores[n])) for n in order]
        chosen = {order[0]}
        if options.multi_label:
            chosen = set(passing(scores, options.threshold))
        return ZeroShot(
            text=item.text,
            labels=tuple(item.labels[n] for n in order if n in chosen),
            scores=tuple(named),
        )

    def annotate_doc(self, doc: Doc, record: ZeroShot, options: Any) -> None:
        """Write the scores into `doc.cats`."""
        doc.cats.update({one.label: one.score for one in record.scores})

    def judge(
        self, item: Candidates, rows: Sequence[Row], results: Sequence[Any], gold: Any, options: Any
    ) -> Iterable[Evidence]:
        """`gold` is one of the candidate labels; with multi_label, any number of them."""
        nli = self._nli(options)
        logits = self._merge(item, rows, results, options)
        right = read_gold(gold, item.labels, options.multi_label)
        found = logits[:, nli.entailment]
        if options.multi_label:
            found = found - logits[:, _opposite(nli)]
        return [Evidence(found, right)]

    def _merge(
        self, item: Candidates, rows: Sequence[Row], results: Sequence[Any], options: Any
    ) -> Floats:
        """Logits (C, n_classes) of the labels from those of their rows."""
        nli = self._nli(options)
        by_hypothesis: dict[tuple[int, int], list[int]] = {}
        for number, row in enumerate(rows):
            by_hypothesis.setdefault((row.extra.label, row.extra.hypothesis), []).append(number)
        merged: list[list[Floats]] = [[] for _ in item.labels]
        for (label, place), numbers in by_hypothesis.items():
            logits = np.stack([results[n] for n in numbers])
            weights = [rows[n].extra.weight for n in numbers]
            found = _best_window(logits, nli) if options.multi_label else None
            found = merge_rows(logits, weights, SINGLE_LABEL) if found is None else found
            if options.prior_correction:
                found = found - self._prior(item.hypotheses[label][place], options)
            merged[label].append(found)
        return np.stack([np.mean(found, axis=0) for found in merged])

    def _prior(self, hypothesis: str, options: ZeroShotOptions) -> Floats:
        """Logits of a hypothesis behind an empty text."""
        if hypothesis not in self._priors:
            core = self.tokenizer.core
            frame = Frame(core.cls_id, core.sep_id, self.max_length, only_first=True)
            empty = np.zeros(0, dtype=np.int64)
            pieces = np.array(self._encoded(hypothesis), dtype=np.int64)
            (row,) = lay_text(empty, pieces, frame).rows
            (logits,) = self.run_batches([Row(row.ids, row.types)], options)
            _keep(self._priors, hypothesis, logits)
        return self._priors[hypothesis]

    def _encoded(self, hypothesis: str) -> list[int]:
        if hypothesis not in self._pieces:
            _keep(self._pieces, hypothesis, self.tokenizer.core.encode(hypothesis).ids.tolist())
        return self._pieces[hypothesis]

    def _nli(self, options: ZeroShotOptions) -> NliLabels:
        names = label_names(self.config)
        if self.hf_compat:
            return hf_nli_labels(names)
        found = find_nli_labels(names, options.entailment_label, options.contradiction_label)
        if options.multi_label:
            _opposite(found)
        return found

    def _read_labels(self, given: Any) -> tuple[str, ...]:
        if isinstance(given, str):
            given = [label.strip() for label in given.split(",") if label.strip()]
        is_list = isinstance(given, list | tuple) and all(isinstance(one, str) for one in given)
        if not is_list or not given:
            raise OptionError(
                f"candidate_labels={given!r}: expected a list of one or more labels, or a text "
                "with commas."
            )
        distinct = tuple(dict.fromkeys(given))
        if self.hf_compat or len(distinct) == len(given):
            return tuple(given)
        repeated = sorted({label for label in given if given.count(label) > 1})
        warnings.warn(f"candidate_labels: {repeated} given twice, used once.", stacklevel=2)
        return distinct


def _hypotheses(template: Template, label: str) -> tuple[str, ...]:
    """The sentences that stand for a label.

    Raises:
        OptionError: a template without a place for the label, or with several places.
    """
    if isinstance(template, Mapping):
        if label not in template:
            raise OptionError(f"hypothesis_template: has no sentence for the label {label!r}.")
        return (template[label],)
    templates = [template] if isinstance(template, str) else list(template)
    found = []
    for one in templates:
        try:
            filled = one.format(label, label=label)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise OptionError(
                f"hypothesis_template={one!r}: expected '{{}}' where the label stands ({error!r})."
            ) from error
        if all(field is None for _, field, _, _ in Formatter().parse(one)):
            raise OptionError(f"hypothesis_template={one!r} has no '{{}}' where the label stands.")
        found.append(filled)
    if not found:
        raise OptionError("hypothesis_template: expected one or more sentences, found none.")
    return tuple(found)


def _best_window(logits: Floats, nli: NliLabels) -> Floats:
    """The window in which entailment is most ahead of contradiction."""
    ahead = logits[:, nli.entailment] - logits[:, _opposite(nli)]
    best: Floats = logits[int(ahead.argmax())]
    return best


def _opposite(nli: NliLabels) -> int:
    if nli.contradiction is None:
        zero_shot_scores(np.zeros((1, 1)), nli, multi_label=True)  # raises
        raise AssertionError
    return nli.contradiction


def _keep(table: dict[str, Any], key: str, value: Any) -> None:
    """Keep a value among the newest."""
    if len(table) >= KEPT:
        table.pop(next(iter(table)))
    table[key] = value
