"""Options of token classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipelines.options import Options, check_choice, check_count, check_share, check_texts
from spacy_deberta.decoding import AGGREGATIONS, SCHEMES

STRATEGIES = ("none", "simple", *AGGREGATIONS)
SEGMENTERS = ("segment", "whitespace")

Segmenter = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, kw_only=True)
class NerOptions(Options):
    """Options of token classification.

    Attributes:
        aggregation: what a word takes from its pieces: "first", "average", "logmean" or "max";
            "simple" tags pieces instead of words, "none" returns them; None is "first", or "none"
            with hf_compat.
        ignore_labels: types of entities that are left out; a tag such as "B-PER" stands for its
            type.
        decode: "constrained", the best legal sequence of tags, or "greedy", the best tag of each
            word.
        score: "posterior", or "mean" of the words' probabilities.
        threshold: entities with a lower score are left out; None = none are.
        flat: False returns all spans whose posterior reaches the threshold (0.5 unless given);
            they may nest.
        max_span: words of the longest of these.
        scheme: BIO, IOB1, BILUO or plain; None = recognized from the labels.
        words: "segment" splits texts by Unicode, "whitespace" at spaces; or a function from a text
            to (start, end) of each word.
        pretokenized: inputs are lists of words.
        delimiter: between the words of these, in the text that offsets count in.
        overlap: pieces that neighbouring windows share; None = a quarter of them. With hf_compat,
            None cuts the text off at the first window.
        allow_special: "[MASK]" and the like in a text are special pieces, not text.
        spans_key: `annotate` writes `doc.spans[spans_key]`.
    """

    aliases: ClassVar[Mapping[str, str]] = {
        "aggregation_strategy": "aggregation",
        "is_split_into_words": "pretokenized",
        "stride": "overlap",
    }

    aggregation: str | None = None
    ignore_labels: Sequence[str] = ("O",)
    decode: str = "constrained"
    score: str = "posterior"
    threshold: float | None = None
    flat: bool = True
    max_span: int = 10
    scheme: str | None = None
    words: str | Segmenter = "segment"
    pretokenized: bool = False
    delimiter: str = " "
    overlap: int | None = None
    allow_special: bool = False
    spans_key: str = "ner"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.aggregation is not None:
            check_choice("aggregation", self.aggregation, STRATEGIES)
        check_choice("decode", self.decode, ("constrained", "greedy"))
        check_choice("score", self.score, ("posterior", "mean"))
        if self.threshold is not None:
            check_share("threshold", self.threshold)
        check_count("max_span", self.max_span)
        if self.overlap is not None:
            check_count("overlap", self.overlap, 0)
        if self.scheme is not None:
            check_choice("scheme", self.scheme, SCHEMES)
        if not callable(self.words):
            check_choice("words", self.words, SEGMENTERS)
        check_texts("ignore_labels", self.ignore_labels)

    def strategy(self, *, hf_compat: bool) -> str:
        """The aggregation that is meant."""
        return self.aggregation or ("none" if hf_compat else "first")
