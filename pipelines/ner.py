"""Named entities: words by a segmenter or the user's tokens, the best legal tags, and posteriors.

    text ─ words ─ pieces ─ windows ─ logits ─ one row per word ─ tags.decode_tags ─ entities

A long text is read in overlapping windows; the log-probabilities of each piece come from the window
that shows most of its surroundings, and the whole text is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.base import Nesting, TaskPipeline
from pipelines.batching import Row, cut_rows
from pipelines.compat_ner import (
    compat_groups,
    compat_item,
    compat_window,
    merge_as_hf,
    record_of,
)
from pipelines.inputs import read_text, refuse
from pipelines.ner_options import NerOptions
from pipelines.ner_texts import NerItem, doc_item, text_item, words_item
from pipelines.records import Entities, Entity, PieceTag
from pipelines.registry import tasks
from spacy_deberta.alignment import merge_windows, split_windows, window_pieces
from spacy_deberta.config import TOKEN_POOLING
from spacy_deberta.decoding import (
    Evidence,
    TagScheme,
    TagSpan,
    aggregate_words,
    bare_type,
    candidate_spans,
    decode_tags,
    log_softmax,
    read_scheme,
)
from spacy_deberta.errors import InputError, OptionError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

N_SPECIAL = 2  # [CLS] and [SEP]
OVERLAP = 0.25  # of a window's pieces are in the next one, too


class Words(tuple[str, ...]):
    """One text as words, told apart from a list of texts."""

    __slots__ = ()


@tasks.register("token-classification")
class NerPipeline(TaskPipeline[Any, NerItem, Entities]):
    """Finds entities in texts, lists of words and Docs.

    The score of an entity is its posterior: the probability that exactly this span with this label
    is there, over all legal sequences of tags. Nothing is cut off, whatever the length.
    """

    task: ClassVar[str] = "token-classification"
    head: ClassVar[str] = "ForTokenClassification"
    options_class = NerOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pooling = self.config.extra.get(TOKEN_POOLING)
        if pooling == "mean" and self.options.aggregation is None and not self.hf_compat:
            # The mean of logits is the head's answer to the mean of rows, which it was trained on.
            self.options = replace(self.options, aggregation="logmean")
        self._windows(0, self.options)  # refuses an overlap that cannot be

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The model's labels, by their number."""
        names = self.config.id2label
        return tuple(names.get(n, f"LABEL_{n}") for n in range(self.config.num_labels))

    def scheme(self, options: NerOptions) -> TagScheme:
        """What the labels mean; recognized from them unless told."""
        return read_scheme(self.tags, options.scheme)

    # --- inputs -----------------------------------------------------------------------------------

    def read_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The first argument; with pretokenized=True a list of words is one input."""
        inputs, values = super().read_call(args, kwargs)
        options = self.options.override(values)
        if options.pretokenized and inputs and isinstance(inputs, list) and _is_words(inputs):
            return Words(inputs), values
        return inputs, values

    def prepare(self, raw: Any, options: NerOptions) -> NerItem:
        """Check one input, and find its words and pieces."""
        core = self.tokenizer.core
        if hasattr(raw, "to_array") and hasattr(raw, "vocab"):
            return doc_item(raw, core, options)
        if options.pretokenized:
            if isinstance(raw, tuple | list) and _is_words(raw):
                if self.hf_compat:
                    return compat_item(tuple(raw), core, options, self.declared_length)
                return words_item(tuple(raw), core, options)
            refuse(raw, "a list of words (pretokenized=True)")
        text = read_text(raw)
        if self.hf_compat:
            return compat_item(text, core, options, self.declared_length)
        return text_item(text, core, options)

    def item_of_doc(self, doc: Doc) -> Any:
        """The Doc itself: its tokens are the words."""
        return doc

    # --- model ------------------------------------------------------------------------------------

    def encode(self, item: NerItem, options: NerOptions) -> list[Row]:
        """The windows of a text."""
        core = self.tokenizer.core
        windows = self._windows(len(item.pieces), options)
        laid = window_pieces(item.pieces.ids, windows, core.cls_id, core.sep_id)
        return [
            Row(laid[start : start + length])
            for start, length in zip(windows.offsets, windows.lengths, strict=True)
        ]

    def forward(self, rows: Sequence[Row], options: NerOptions) -> list[Any]:
        """(n, K) logits of each row."""
        return cut_rows(self.run_model(rows).logits, rows)

    def _windows(self, n_pieces: int, options: NerOptions) -> Any:
        """Where the windows of a text are."""
        length = self.max_length
        if self.hf_compat and (self.declared_length is None or options.overlap is None):
            length = max(n_pieces, 1) + N_SPECIAL
        room = length - N_SPECIAL
        overlap = int(room * OVERLAP) if options.overlap is None else options.overlap
        if not 0 <= overlap < room:
            raise OptionError(
                f"overlap={options.overlap} (stride in transformers): a window of {length} pieces "
                f"has room for {room} beside [CLS] and [SEP]; expected 0 to {room - 1}."
            )
        return split_windows(n_pieces, window=length, stride=room - overlap)

    # --- decoding ---------------------------------------------------------------------------------

    def decode(
        self, item: NerItem, rows: Sequence[Row], results: Sequence[Any], options: NerOptions
    ) -> Entities:
        """The entities of a text, or with aggregation="none" its pieces."""
        if self.hf_compat:
            return self._decode_as_hf(item, rows, results, options)
        logits = self._piece_logits(item, results, options)
        emissions = log_softmax(logits / self.calibration.temperature)
        ignored = {bare_type(label) for label in options.ignore_labels}
        if options.strategy(hf_compat=False) == "none":
            found: Sequence[Entity | PieceTag] = list(self._pieces(item, emissions, ignored))
        else:
            found = list(self._entities(item, emissions, options, ignored))
        return Entities(item.text, tuple(found), n_windows=len(rows))

    def _piece_logits(
        self, item: NerItem, results: Sequence[Any], options: NerOptions
    ) -> np.ndarray[Any, Any]:
        """(N, K) logits of all pieces, each from the window with most context."""
        if not len(results):
            return np.zeros((0, len(self.tags)), dtype=np.float32)
        windows = self._windows(len(item.pieces), options)
        return np.concatenate(results)[merge_windows(windows)]

    def _pieces(
        self, item: NerItem, emissions: np.ndarray[Any, Any], ignored: set[str]
    ) -> Iterator[PieceTag]:
        best = emissions.argmax(axis=1)
        for number, tag in enumerate(best.tolist()):
            if bare_type(self.tags[tag]) not in ignored:
                yield PieceTag(
                    piece=self.tokenizer.core.piece(int(item.pieces.ids[number])),
                    label=self.tags[tag],
                    start=int(item.pieces.starts[number]),
                    end=int(item.pieces.ends[number]),
                    score=float(np.exp(emissions[number, tag])),
                    index=number + 1,
                )

    def _entities(
        self,
        item: NerItem,
        emissions: np.ndarray[Any, Any],
        options: NerOptions,
        ignored: set[str],
    ) -> Iterator[Entity]:
        units = item.units
        if options.strategy(hf_compat=False) == "simple":
            units = item.as_units
            scores = emissions
        else:
            how = options.strategy(hf_compat=False)
            scores = aggregate_words(emissions, units.pieces, units.lengths, how)
        for span in _decode(scores, self.scheme(options), options):
            if span.label in ignored or span.score < (options.threshold or 0.0):
                continue
            start, end = int(units.starts[span.start]), int(units.ends[span.end - 1])
            yield Entity(
                text=item.text[start:end],
                label=span.label,
                start=start,
                end=end,
                score=span.score,
                word_start=int(units.words[span.start]),
                word_end=int(units.words[span.end - 1]) + 1,
            )

    def _decode_as_hf(
        self, item: NerItem, rows: Sequence[Row], results: Sequence[Any], options: NerOptions
    ) -> Entities:
        windows, core = self._windows(len(item.pieces), options), self.tokenizer.core
        groups = []
        for start, logits in zip(windows.starts.tolist(), results, strict=True):
            pieces = compat_window(item, start, logits, core)
            groups.append(compat_groups(pieces, self.tags, options, core))
        found = tuple(record_of(group) for group in merge_as_hf(groups))
        return Entities(item.text, found, n_windows=len(rows))

    # --- views ------------------------------------------------------------------------------------

    def to_hf(self, records: Sequence[Any], options: NerOptions, nesting: Nesting) -> Any:
        """A list of dicts per text; a single text in words is nested like a list of one."""
        if nesting == "list" and not records:
            raise InputError("found an empty list, expected at least one input.")
        shaped = [record.to_dict() for record in records]
        is_nested = nesting == "list" or (nesting == "one" and options.pretokenized)
        return shaped if is_nested else shaped[0]

    def annotate_doc(self, doc: Doc, record: Entities, options: NerOptions) -> None:
        """Write `doc.spans[spans_key]` with attrs["scores"], and `doc.ents` where they do not nest.

        Entities that the Doc has already stay, and so do blocked tokens.
        """
        from spacy.tokens import SpanGroup

        from spacy_deberta.components.span_scores import add_entities

        found = [entity for entity in record if isinstance(entity, Entity)]
        if len(found) < len(record):
            raise OptionError("aggregation='none': pieces are no spans of a Doc; use 'first'.")
        pairs = [(_span_of(doc, entity), entity.score) for entity in found]
        spans = [span for span, _ in pairs if span is not None]
        scores = [score for span, score in pairs if span is not None]
        key = options.spans_key
        doc.spans[key] = SpanGroup(doc, name=key, attrs={"scores": scores}, spans=spans)
        best = np.argsort(-np.array(scores), kind="stable").tolist()
        add_entities(doc, [spans[number] for number in best])

    def judge(
        self, item: NerItem, rows: Sequence[Row], results: Sequence[Any], gold: Any, options: Any
    ) -> Iterator[Evidence]:
        """One decision per word: its tag against that of the gold entities (start, end, label)."""
        scheme, units = self.scheme(options), item.units
        how = options.strategy(hf_compat=False)
        logits = self._piece_logits(item, results, options).astype(np.float64)
        if how not in ("first", "logmean"):
            raise OptionError(f"aggregation={how!r}: calibrate reads logits; use 'first'.")
        scores = aggregate_words(logits, units.pieces, units.lengths, how)
        spans = []
        for start, end, label in gold:
            first = int(np.searchsorted(units.ends, start, side="right"))
            last = int(np.searchsorted(units.starts, end, side="left"))
            if label not in scheme.types:
                raise InputError(
                    f"gold label {label!r}: expected one of {', '.join(scheme.types)}."
                )
            if first < last:
                spans.append((first, last, scheme.types.index(label)))
        tags = scheme.encode(spans, len(scores))
        for row, tag in zip(scores, tags.tolist(), strict=True):
            yield Evidence(row, tag)


def _decode(
    scores: np.ndarray[Any, Any], scheme: TagScheme, options: NerOptions
) -> Sequence[TagSpan]:
    if not options.flat:
        threshold = 0.5 if options.threshold is None else options.threshold
        return candidate_spans(scores, scheme, threshold=threshold, longest=options.max_span)
    (found,) = decode_tags(
        [scores], scheme, constrained=options.decode == "constrained", score=options.score
    )
    return found


def _span_of(doc: Doc, entity: Entity) -> Span | None:
    """An entity's tokens; with hf_compat it has characters alone, and gets all that they meet.

    Returns:
        None for characters between tokens.
    """
    from spacy.tokens import Span as SpacySpan

    if entity.word_start >= 0:
        return SpacySpan(doc, entity.word_start, entity.word_end, label=entity.label)
    return doc.char_span(entity.start, entity.end, entity.label, alignment_mode="expand")


def _is_words(value: Sequence[Any]) -> bool:
    return all(isinstance(word, str) for word in value)
