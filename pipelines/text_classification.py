"""Text classification: labels or a value of texts and pairs, long ones read in windows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.base import Nesting, TaskPipeline
from pipelines.batching import Row
from pipelines.compat_text_classification import check_compat, hf_rows, is_legacy_pair, shape_as_hf
from pipelines.inputs import read_text, refuse
from pipelines.options import Options, check_choice, check_count, check_overlap
from pipelines.records import Classification, LabelScore, Regression
from pipelines.registry import tasks
from spacy_deberta.alignment import Frame, lay_text
from spacy_deberta.decoding import (
    ACTIVATIONS,
    MULTI_LABEL,
    REGRESSION,
    Evidence,
    activate,
    find_activation,
    find_problem,
    merge_rows,
    passing,
    rank,
    read_thresholds,
)
from spacy_deberta.errors import DataError, InputError, OptionError

if TYPE_CHECKING:
    from spacy.tokens import Doc

EXPECTED = 'a text, a pair ("a", "b"), or {"text": "a", "text_pair": "b"}'
LONG = ("window", "truncate", "error")
AUTOMATIC = (None, "default", "auto")


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(Options):
    """Options of text-classification.

    Attributes:
        top_k: how many labels a record has, best first; None = all.
        function_to_apply: from logits to scores: "softmax", "sigmoid" or "none"; None = what the
            model was trained with.
        threshold: least probability of a label that counts, where several may: one for all, or by
            label; None = the calibrated ones, else 0.5.
        text_pair: second text for all inputs.
        long: a text beyond max_length is read in "window"s, of which the logits are averaged (the
            best window counts where several labels may hold), or it is cut ("truncate"), or an
            InputError ("error").
        overlap: share of a window that the one before has, too.
        truncation: cut at max_length, as in `transformers`; True is long="truncate".
        max_length: instead of the pipeline's own, in a call.
        padding: accepted, and changes nothing: padding is never computed on.
        return_all_scores: of `transformers`, with hf_compat only; top_k=None is the same, sorted.
    """

    top_k: int | None = None
    function_to_apply: str | None = None
    threshold: float | Mapping[str, float] | None = None
    text_pair: str | None = None
    long: str = "window"
    overlap: float = 0.25
    truncation: bool | str | None = None
    max_length: int | None = None
    padding: bool | str | None = None
    return_all_scores: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_choice("long", self.long, LONG)
        check_overlap(self.overlap)
        if self.function_to_apply is not None:
            name = str(self.function_to_apply).lower()
            check_choice("function_to_apply", name, (*ACTIVATIONS, *AUTOMATIC))
            object.__setattr__(self, "function_to_apply", None if name in AUTOMATIC else name)
        if self.max_length is not None:
            check_count("max_length", self.max_length)


@dataclass(frozen=True)
class Texts:
    """One input: a text, and the second one of a pair."""

    first: str
    second: str | None = None


@dataclass(frozen=True)
class Place:
    """What a row shows: how many pieces for the first time, and whether some are in no row."""

    weight: int
    truncated: bool


@tasks.register("text-classification")
class TextClassificationPipeline(TaskPipeline[Any, Texts, Classification | Regression]):
    """Labels of texts and of pairs: one of several, any number, or a value.

    Which of these is the model's own; `problem_type` in its config says so.
    """

    task: ClassVar[str] = "text-classification"
    head: ClassVar[str] = "ForSequenceClassification"
    options_class = ClassificationOptions
    input_fields = ("text", "text_pair")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the base has it; with hf_compat, the record of a lone text is in a list."""
        found = super().__call__(*args, **kwargs)
        is_text = bool(args) and isinstance(args[0], str) and "top_k" not in kwargs
        is_wrapped = self.hf_compat and is_text and isinstance(found, dict | list)
        return [found] if is_wrapped else found

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the logits."""
        return label_names(self.config)

    @property
    def problem(self) -> str:
        """What the model was trained for."""
        return find_problem(self.config.problem_type, self.config.num_labels)

    def prepare(self, raw: Any, options: ClassificationOptions) -> Texts:
        """One or two texts."""
        if self.hf_compat:
            check_compat(raw)
        else:
            _check_options(options)
            if options.threshold is not None:
                read_thresholds(options.threshold, self.labels)
        if self.hf_compat and is_legacy_pair(raw):
            return Texts(*raw[0])
        if isinstance(raw, Mapping):
            return _read_mapping(raw)
        if isinstance(raw, tuple):
            if len(raw) != 2:  # noqa: PLR2004 - a pair
                refuse(raw, EXPECTED)
            return Texts(*(read_text(text, "a text of the pair") for text in raw))
        if not isinstance(raw, str) and not hasattr(raw, "text"):
            refuse(raw, EXPECTED)
        pair = options.text_pair if options.text_pair is not None else _pair_of(raw)
        return Texts(read_text(raw), None if pair is None else read_text(pair, "text_pair"))

    def encode(self, item: Texts, options: ClassificationOptions) -> list[Row]:
        """One row, or one for each window."""
        if self.hf_compat:
            cut = (options.truncation, options.max_length or self._given_length)
            return hf_rows(self.tokenizer, item.first, item.second, *cut)
        core = self.tokenizer.core
        window = options.max_length or self.max_length
        frame = Frame(
            core.cls_id,
            core.sep_id,
            window,
            stride=round(window * (1 - options.overlap)),
            cut=options.long == "truncate" or bool(options.truncation),
        )
        second = None if item.second is None else core.encode(item.second).ids
        laid = lay_text(core.encode(item.first).ids, second, frame)
        if options.long == "error" and (laid.truncated or len(laid.rows) > 1):
            raise InputError(
                f"the text is longer than max_length={window} pieces. Use long='window' to read "
                "all of it, or long='truncate'."
            )
        return [Row(row.ids, row.types, Place(row.weight, laid.truncated)) for row in laid.rows]

    def forward(self, rows: Sequence[Row], options: ClassificationOptions) -> list[Any]:
        """Logits (n_labels,) of each row."""
        return list(self.run_model(rows).logits.float().cpu().numpy())

    def decode(
        self,
        item: Texts,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: ClassificationOptions,
    ) -> Classification | Regression:
        """Scores of the labels."""
        problem, labels = self.problem, self.labels
        logits = self._merge(rows, results)
        activation = options.function_to_apply or find_activation(problem)
        if activation != "none" and not self.hf_compat:
            logits = logits / np.float32(self.calibration.temperature)
        scores = activate(logits, activation)
        named = [LabelScore(*one) for one in zip(labels, scores.tolist(), strict=True)]
        about = {"truncated": rows[0].extra.truncated, "n_windows": len(rows)}
        if problem == REGRESSION:
            return Regression(named[0].score, named[0].label, tuple(named), **about)
        order = rank(scores)
        chosen = order[:1]
        if problem == MULTI_LABEL:
            given = self.calibration.thresholds if options.threshold is None else options.threshold
            passed = set(passing(scores, read_thresholds(given, labels)))
            chosen = [number for number in order if number in passed]
        shown = range(len(named)) if self.hf_compat else order[: options.top_k]
        return Classification(
            best=named[order[0]],
            labels=tuple(named[number].label for number in chosen),
            scores=tuple(named[number] for number in shown),
            multi_label=problem == MULTI_LABEL,
            **about,
        )

    def to_hf(
        self, records: Sequence[Any], options: ClassificationOptions, nesting: Nesting
    ) -> Any:
        """Dicts, lists of them, or lists of lists, as `transformers` has it."""
        shaped = [shape_as_hf(record, self, options) for record in records]
        return shaped if nesting == "list" else shaped[0]

    def item_of_doc(self, doc: Doc) -> Any:
        """The Doc, which may have a `doc._.pair`."""
        return doc

    def annotate_doc(self, doc: Doc, record: Classification | Regression, options: Any) -> None:
        """Write the scores into `doc.cats`."""
        values = record.values if isinstance(record, Regression) else record.scores
        doc.cats.update({one.label: one.score for one in values})

    def judge(
        self, item: Texts, rows: Sequence[Row], results: Sequence[Any], gold: Any, options: Any
    ) -> Iterable[Evidence]:
        """`gold` is a label; or a collection of labels, where several may hold."""
        if self.problem == REGRESSION:
            raise OptionError(
                "text-classification: a regression has no probabilities to calibrate."
            )
        is_multi = self.problem == MULTI_LABEL
        return [Evidence(self._merge(rows, results), read_gold(gold, self.labels, is_multi))]

    def threshold_labels(self) -> Sequence[str]:
        """All labels, if several may hold."""
        return self.labels if self.problem == MULTI_LABEL else ()

    def _merge(self, rows: Sequence[Row], results: Sequence[Any]) -> Any:
        weights = [row.extra.weight for row in rows]
        return merge_rows(np.stack(results), weights, self.problem).astype(np.float32)


def label_names(config: Any) -> tuple[str, ...]:
    """Names of the labels of a model, "LABEL_0" and so on where it has none."""
    return tuple(config.id2label.get(n, f"LABEL_{n}") for n in range(config.num_labels))


def read_gold(gold: Any, labels: Sequence[str], is_multi: bool) -> Any:
    """What an example of `calibrate` says is right, as `Evidence` has it.

    Args:
        gold: a label; or several, where that may be.
        labels: all of them.
        is_multi: several may be right.

    Raises:
        DataError: no label.
    """
    given = [gold] if isinstance(gold, str) else list(gold) if isinstance(gold, Collection) else []
    if not all(one in labels for one in given) or (not is_multi and len(given) != 1):
        expected = "labels" if is_multi else "one label"
        raise DataError(f"gold answer {gold!r}: expected {expected} of {list(labels)}.")
    if not is_multi:
        return labels.index(given[0])
    return np.array([label in given for label in labels])


def _check_options(options: ClassificationOptions) -> None:
    if options.top_k is not None:
        check_count("top_k", options.top_k)
    if options.return_all_scores is not None:
        raise OptionError(
            "return_all_scores: only with hf_compat=True; a record has all scores unless top_k "
            "says otherwise."
        )


def _read_mapping(raw: Mapping[Any, Any]) -> Texts:
    unknown = sorted(set(raw) - {"text", "text_pair"}, key=str)
    if "text" not in raw or unknown:
        raise InputError(f"found a dict with the keys {list(raw)}, expected {EXPECTED}.")
    pair = raw.get("text_pair")
    text = read_text(raw["text"], "text")
    return Texts(text, None if pair is None else read_text(pair, "text_pair"))


def _pair_of(raw: Any) -> Any:
    """The second text of a Doc."""
    extensions = getattr(raw, "_", None)
    return None if extensions is None or not raw.has_extension("pair") else extensions.pair
