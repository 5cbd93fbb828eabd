"""Feature extraction: rows of the encoder for pieces, words or texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from spacy.tokens import Doc

from pipelines.base import Nesting, TaskPipeline
from pipelines.batching import Row, cut_rows
from pipelines.inputs import read_text
from pipelines.options import Options, check_choice, check_lengths, check_mapping
from pipelines.records import Features
from pipelines.registry import tasks
from spacy_deberta.alignment import (
    Windows,
    align_tokens,
    merge_windows,
    split_windows,
    window_pieces,
)
from spacy_deberta.decoding import segment_words
from spacy_deberta.errors import OptionError
from spacy_deberta.tokenizers import Pieces

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

EXTENSION = "features"  # doc._.features
N_SPECIAL = 2  # [CLS] and [SEP] around a window
OVERLAP = 0.25  # share of a window that the next one reads, too
POOLINGS = (None, "cls", "mean", "max")
PER = ("piece", "word", "text")


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """Options of feature-extraction.

    Attributes:
        per: a row for each "piece", "word" (the mean of its pieces) or the whole "text".
        pooling: how a text's row is made of its pieces: "mean" or "max", without special pieces, or
            "cls"; it implies per="text", and per="text" alone implies "mean".
        layers: which layers, -1 = the last, 0 = the embeddings; several stand side by side.
        normalize: give each row length 1.
        truncation: cut what is beyond max_length; otherwise it is read in windows.
        tokenize_kwargs: "truncation" and "max_length", as in `transformers`, with hf_compat.
        return_tensors: with hf_compat, torch tensors instead of lists.
    """

    per: str | None = None
    pooling: str | None = None
    layers: tuple[int, ...] = (-1,)
    normalize: bool = False
    truncation: bool | None = None
    tokenize_kwargs: Mapping[str, Any] | None = None
    return_tensors: bool | str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_choice("per", self.per, (None, *PER))
        check_choice("pooling", self.pooling, POOLINGS)
        if self.pooling is not None and self.per not in (None, "text"):
            raise OptionError(f"pooling={self.pooling!r} gives one row per text, per={self.per!r}.")
        layers: Any = (self.layers,) if isinstance(self.layers, int) else self.layers
        layers = tuple(layers) if isinstance(layers, Sequence) else ()
        if not layers or any(isinstance(n, bool) or not isinstance(n, int) for n in layers):
            raise OptionError(f"layers={self.layers!r}, expected numbers of layers, such as (-1,).")
        object.__setattr__(self, "layers", layers)
        check_mapping("tokenize_kwargs", self.tokenize_kwargs, ("truncation", "max_length"))
        check_lengths("tokenize_kwargs", self.tokenize_kwargs)
        if self.truncation is not None and "truncation" in (self.tokenize_kwargs or {}):
            raise OptionError("truncation is given twice; give it once.")

    @property
    def unit(self) -> str:
        """What a row stands for."""
        return self.per or ("piece" if self.pooling is None else "text")


@dataclass(frozen=True, eq=False)
class FeatureItem:
    """A text, in pieces.

    Attributes:
        text: as it was given.
        pieces: of it, without special pieces; where it is cut, those that are read.
        words: (W, 2) first character of each and one behind its last; None = nobody split it.
        windows: in which the pieces are read; none for a text without pieces.
        truncated: pieces were cut off.
    """

    text: str
    pieces: Pieces
    words: Ints | None
    windows: Windows
    truncated: bool


@tasks.register("feature-extraction")
class FeatureExtractionPipeline(TaskPipeline[Any, FeatureItem, Features]):
    """Rows of the encoder, in numpy.

        embed("A text.").vectors                  (pieces + 2, width), with offsets and mask
        embed("A text.", per="word").vectors      (words, width)
        embed(texts, pooling="mean", normalize=True)

    A text of any length is read in overlapping windows; each piece is taken from the one that shows
    most of its surroundings. There are no rows of padding, and rows of special pieces only for
    per="piece", where the mask tells them.
    """

    task: ClassVar[str] = "feature-extraction"
    head: ClassVar[str] = "Model"
    options_class: ClassVar[type[Options]] = FeatureOptions

    def prepare(self, raw: Any, options: FeatureOptions) -> FeatureItem:
        """Split one text into pieces, and these into windows."""
        n_layers = self.config.num_hidden_layers
        wrong = [layer for layer in options.layers if not -n_layers - 1 <= layer <= n_layers]
        if wrong:
            raise OptionError(f"layers={options.layers}: {wrong[0]} is none of 0 to {n_layers}.")
        text = read_text(raw)
        pieces = self.tokenizer.core.encode(text, specials=self.hf_compat)
        limit = self._limit(options)
        n_read = len(pieces) if limit is None else min(len(pieces), limit - N_SPECIAL)
        room = max(n_read, 1) + N_SPECIAL if self.hf_compat else self.max_length
        step = max(1, int((room - N_SPECIAL) * (1 - OVERLAP)))
        return FeatureItem(
            text=text,
            pieces=Pieces(pieces.ids[:n_read], pieces.starts[:n_read], pieces.ends[:n_read]),
            words=_tokens(raw) if isinstance(raw, Doc) else None,
            windows=split_windows(n_read, window=room, stride=step),
            truncated=n_read < len(pieces),
        )

    def encode(self, item: FeatureItem, options: FeatureOptions) -> list[Row]:
        """The windows of a text; a text without pieces has one row, [CLS] [SEP]."""
        core = self.tokenizer.core
        if not len(item.windows):
            return [Row([core.cls_id, core.sep_id])]
        laid = window_pieces(item.pieces.ids, item.windows, core.cls_id, core.sep_id)
        return [Row(part) for part in np.split(laid, item.windows.offsets[1:])]

    def forward(self, rows: Sequence[Row], options: FeatureOptions) -> list[Any]:
        """(row's pieces, width * layers) of each row, special pieces included."""
        if options.layers == (-1,):
            return cut_rows(self.run_model(rows).last_hidden_state, rows)
        states = self.run_model(rows, output_hidden_states=True).hidden_states
        chosen = [cut_rows(states[layer], rows) for layer in options.layers]
        return [np.concatenate(parts, axis=-1) for parts in zip(*chosen, strict=True)]

    def decode(
        self,
        item: FeatureItem,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: FeatureOptions,
    ) -> Features:
        """Rows of pieces, words, or of the text."""
        first, last = results[0][:1], results[-1][-1:]  # [CLS], [SEP]
        pieces = np.concatenate(results)[merge_windows(item.windows)]
        spans = np.stack([item.pieces.starts, item.pieces.ends], axis=-1).astype(np.int64)
        is_piece = options.unit == "piece"
        if options.unit == "text":
            vectors, spans = _pool(pieces, first, options.pooling), np.array([[0, len(item.text)]])
        elif options.unit == "word":
            words = _words(item.text) if item.words is None else item.words
            vectors, spans = _word_rows(pieces, words, spans), words
        else:
            vectors, spans = np.concatenate([first, pieces, last]), np.pad(spans, ((1, 1), (0, 0)))
        if options.normalize:
            lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return Features(
            vectors=vectors,
            offsets=tuple((start, end) for start, end in spans.tolist()),
            mask=tuple(not is_piece or 0 < row <= len(pieces) for row in range(len(vectors))),
            pooled=options.unit == "text",
            n_windows=len(rows),
            truncated=item.truncated,
        )

    def to_hf(self, records: Sequence[Any], options: FeatureOptions, nesting: Nesting) -> Any:
        """(1, rows, width) of each text, as nested lists or as tensors."""
        shaped = [record.vectors[None] for record in records]
        if options.return_tensors:
            found: list[Any] = [torch.from_numpy(vectors) for vectors in shaped]
        else:
            found = [vectors.tolist() for vectors in shaped]
        return found if nesting == "list" else found[0]

    def annotate(
        self, docs: Iterable[Doc], *, on_error: str | None = None, **options: Any
    ) -> Iterator[Doc]:
        """Docs with `doc.tensor`, a row per token; with a pooling, `doc._.features` instead.

        Args:
            docs: of any pipeline.
            on_error: instead of the pipeline's own.
            options: of the task; per="word" unless they say something else.

        Raises:
            OptionError: rows of pieces, for which a Doc has no place.
        """
        chosen = self.options.override(options)
        if chosen.per is None and chosen.pooling is None:
            chosen, options = self.options.override({"per": "word"}), {**options, "per": "word"}
        if chosen.unit == "piece":
            raise OptionError(
                "annotate: a Doc has no place for rows of pieces. Use per='word' for doc.tensor, "
                "or a pooling for doc._.features."
            )
        return super().annotate(docs, on_error=on_error, **options)

    def item_of_doc(self, doc: Doc) -> Any:
        """The Doc itself: its tokens are the words."""
        return doc

    def annotate_doc(self, doc: Doc, record: Features, options: Any) -> None:
        """Write `doc.tensor` from rows of tokens, `doc._.features` (width,) from a text's row."""
        if record.pooled:
            if not Doc.has_extension(EXTENSION):
                Doc.set_extension(EXTENSION, default=None)
            doc._.set(EXTENSION, record.vectors[0])
        else:
            doc.tensor = record.vectors  # type: ignore[assignment]  # spaCy says float64

    def _limit(self, options: FeatureOptions) -> int | None:
        """Most pieces that are read, special ones included; None = all."""
        asked = dict(options.tokenize_kwargs or {})
        if not (asked.get("truncation") or options.truncation):
            return None
        given = asked.get("max_length")
        return int(given) if given else self.max_length


def _tokens(doc: Doc) -> Ints:
    """(W, 2); whitespace tokens are empty."""
    spans = [(t.idx, t.idx + (0 if t.is_space else len(t))) for t in doc]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _words(text: str) -> Ints:
    """(W, 2)."""
    return np.stack(segment_words(text), axis=-1)


def _pool(pieces: Floats, first: Floats, pooling: str | None) -> Floats:
    """(1, width); of a text without pieces, the row of [CLS]."""
    if pooling == "cls" or not len(pieces):
        return first
    pooled: Floats = pieces.max(0) if pooling == "max" else pieces.mean(0)
    return pooled[None]


def _word_rows(pieces: Floats, words: Ints, spans: Ints) -> Floats:
    """(W, width) mean of the pieces of each word; zeros for one without pieces."""
    aligned = align_tokens(words[:, 0], words[:, 1], spans[:, 0], spans[:, 1])
    rows = np.zeros((len(words), pieces.shape[1]), dtype=np.float32)
    np.add.at(rows, np.repeat(np.arange(len(rows)), aligned.lengths), pieces[aligned.pieces])
    rows /= np.maximum(aligned.lengths, 1)[:, None]
    return rows
