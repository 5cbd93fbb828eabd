"""What the models return, under the names and in the order that users of `transformers` know.

An output is read by attribute, by name, by position among the values that are there, or as a tuple,
and passes through `torch.export`. Letters: B batch, L length, A attention heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

T = TypeVar("T")


def _exportable(cls: type[T]) -> type[T]:
    """Let `torch.export` take the dataclass apart and put it together."""
    torch.export.register_dataclass(cls, serialized_type_name=f"spacy_deberta.{cls.__name__}")
    return cls


class ModelOutput:
    """Access to the fields of an output; a value that is None counts as not there."""

    def keys(self) -> tuple[str, ...]:
        """Names of the values that are there, in order."""
        names = (field.name for field in fields(self))  # type: ignore[arg-type]
        return tuple(name for name in names if getattr(self, name) is not None)

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Names and values that are there, in order."""
        return tuple(zip(self.keys(), self.to_tuple(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: str | int) -> Any: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        """The value of that name or place, or those of a range of places."""
        return dict(self.items())[key] if isinstance(key, str) else self.to_tuple()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


@_exportable
@dataclass(frozen=True, eq=False)
class BaseModelOutput(ModelOutput):
    """Rows of the encoder.

    Attributes:
        last_hidden_state: (B, L, hidden_size), zeros in padding.
        hidden_states: the embeddings, then every layer, each (B, L, hidden_size), zeros in padding;
            None unless asked for.
        attentions: one (B, A, L, L) per layer, before dropout, zeros in padding; None unless asked
            for.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class LogitsOutput(ModelOutput):
    """Logits of one head, their loss, and rows of the encoder.

    Attributes:
        loss: a scalar; None without labels.
        logits: by the head, zeros in padding.
        hidden_states: as in `BaseModelOutput`.
        attentions: as in `BaseModelOutput`.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@_exportable
@dataclass(frozen=True, eq=False)
class MaskedLMOutput(LogitsOutput):
    """Logits (B, L, V), zeros also where no prediction was asked for."""


@_exportable
@dataclass(frozen=True, eq=False)
class SequenceClassifierOutput(LogitsOutput):
    """Logits (B, num_labels)."""


@_exportable
@dataclass(frozen=True, eq=False)
class TokenClassifierOutput(LogitsOutput):
    """Logits (B, L, num_labels)."""


@_exportable
@dataclass(frozen=True, eq=False)
class MultipleChoiceModelOutput(LogitsOutput):
    """Logits (B, choices); rows of the encoder are those of B * choices sequences."""


@_exportable
@dataclass(frozen=True, eq=False)
class ReplacedTokenOutput(LogitsOutput):
    """Logits (B, L); above 0 means replaced."""


@_exportable
@dataclass(frozen=True, eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """Where an answer starts and ends.

    Attributes:
        loss: a scalar; None without positions to learn.
        start_logits: (B, L), zeros in padding.
        end_logits: (B, L), zeros in padding.
        hidden_states: as in `BaseModelOutput`.
        attentions: as in `BaseModelOutput`.
    """

    loss: Tensor | None
    start_logits: Tensor
    end_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
