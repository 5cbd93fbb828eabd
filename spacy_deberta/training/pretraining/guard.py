"""What a step gave: numbers that cannot be used, and losses that jump."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spacy_deberta.errors import ConfigError

OK, SKIPPED, SPIKE = "step", "skipped", "spike"

_MEMORY = 0.98  # weight of the past in the running mean of the loss
_SEEN_FIRST = 100  # steps before a jump can be told from the fall at the beginning


@dataclass
class Guard:
    """Judges every step; its fields are part of a checkpoint.

    Attributes:
        skipped: steps without a finite loss or gradient so far.
        streak: of them without a good one since.
        seen: good steps.
        mean: running mean of the loss.
        square: and of its square.
    """

    skipped: int = 0
    streak: int = 0
    seen: int = 0
    mean: float = 0.0
    square: float = 0.0

    def judge(self, loss: float, norms: Sequence[float], sigmas: float) -> str:
        """OK, SKIPPED (its gradient must not be used) or SPIKE.

        Args:
            loss: of the global batch.
            norms: of the gradient of each part.
            sigmas: deviations above the mean from which a loss is a spike; 0 = none is.
        """
        if not math.isfinite(loss) or not all(map(math.isfinite, norms)):
            self.skipped += 1
            self.streak += 1
            return SKIPPED
        spread = math.sqrt(max(0.0, self.square - self.mean**2))
        is_known = sigmas > 0 and self.seen >= _SEEN_FIRST
        spikes = is_known and loss > self.mean + sigmas * spread
        memory = min(_MEMORY, self.seen / (1 + self.seen))
        self.mean = memory * self.mean + (1 - memory) * loss
        self.square = memory * self.square + (1 - memory) * loss**2
        self.streak = 0
        self.seen += 1
        return SPIKE if spikes else OK

    def check(self, patience: int, samples: Sequence[int]) -> None:
        """End a run that gives nothing finite any more.

        Raises:
            ConfigError: so many steps in a row were skipped.
        """
        if self.streak >= patience:
            raise ConfigError(
                f"run.nan_patience={patience}: so many steps in a row had no finite loss or "
                f"gradient, the last with samples {list(samples)}; expected numbers. The weights "
                "are as before these steps. Lower optimizer.learn_rate, or set run.bf16 = false."
            )
