"""How far a run is, as its checkpoints keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from spacy_deberta.training.pretraining.data import Position
from spacy_deberta.training.pretraining.guard import Guard


@dataclass
class Counters:
    """Everything that a run counts.

    Attributes:
        step: steps done, skipped ones included.
        position: of the next sample.
        pieces: seen, special ones not counted.
        seconds: spent, in all processes that the run has had one after the other.
        evaluated: step of the last evaluation; -1 = none.
        guard: of losses and gradients.
    """

    step: int = 0
    position: Position = field(default_factory=Position)
    pieces: int = 0
    seconds: float = 0.0
    evaluated: int = -1
    guard: Guard = field(default_factory=Guard)

    @property
    def updates(self) -> int:
        """Steps that changed the weights."""
        return self.step - self.guard.skipped

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        position, guard = Position(**content["position"]), Guard(**content["guard"])
        return cls(**{**content, "position": position, "guard": guard})
