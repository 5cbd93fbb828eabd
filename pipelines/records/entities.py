"""Entities, and the tags of pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.records.base import Record


@dataclass(frozen=True, slots=True)
class Entity(Record):
    """A span of a text with a label.

    Attributes:
        text: a slice of the text; with hf_compat what `transformers` calls word.
        label: its type, without a prefix.
        start: first character.
        end: one behind the last.
        score: probability that exactly this span with this label is there; or a mean, if so asked.
        word_start: number of its first word: of those given, of the Doc's tokens, or of those that
            the text was split into; -1 with hf_compat.
        word_end: one behind the last.
    """

    text: str
    label: str
    start: int
    end: int
    score: float
    word_start: int = -1
    word_end: int = -1

    def to_dict(self) -> dict[str, Any]:
        """The five keys of `transformers`."""
        return {
            "entity_group": self.label,
            "score": self.score,
            "word": self.text,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class PieceTag(Record):
    """One piece with its best tag, for aggregation="none".

    Attributes:
        piece: as it stands in the vocabulary.
        label: the tag, with its prefix.
        start: first character.
        end: one behind the last.
        score: probability of the tag.
        index: of the piece in its text, [CLS] being 0.
    """

    piece: str
    label: str
    start: int
    end: int
    score: float
    index: int

    def to_dict(self) -> dict[str, Any]:
        """The six keys of `transformers`."""
        return {
            "entity": self.label,
            "score": self.score,
            "index": self.index,
            "word": self.piece,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class Entities(Record):
    """What was found in one text; a sequence of its entities.

    Attributes:
        text: that offsets count in; words that were given are joined in it.
        found: in order of their start.
        n_windows: in which the text was read.
    """

    text: str
    found: tuple[Entity | PieceTag, ...]
    n_windows: int = 1

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Entity | PieceTag]:
        return iter(self.found)

    def __getitem__(self, index: int) -> Entity | PieceTag:
        return self.found[index]

    def to_dict(self) -> list[dict[str, Any]]:
        """A list with the keys of `transformers`."""
        return [entity.to_dict() for entity in self.found]
