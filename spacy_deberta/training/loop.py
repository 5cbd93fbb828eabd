"""The loop of every training here: rates by time or steps, clipping, one progress record a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spacy_deberta.encoder.attention import DisentangledAttention
from spacy_deberta.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How long to train, and how fast.

    Attributes:
        minutes: wall time to train for.
        steps: steps to train for; of the two, what ends first ends the training. Only a run that
            ends by its steps gives the same weights again.
        warmup_steps: steps over which the rates rise from zero.
        decay_share: the rates fall to zero over this last share of the run.
        weight_decay: of matrices; norms and biases have none.
        grad_clip: largest norm of the whole gradient.
        seed: of everything drawn at random.
    """

    minutes: float = math.inf
    steps: float = math.inf
    warmup_steps: int = 100
    decay_share: float = 0.3
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < min(self.minutes, self.steps) < math.inf:
            raise ConfigError(
                f"minutes={self.minutes}, steps={self.steps}: at least one must be set, above 0."
            )

    def share_done(self, step: int, seconds: float) -> float:
        """How much of the run lies behind it, 1 = all."""
        return max(step / self.steps, seconds / (60 * self.minutes))

    def rate_factor(self, step: int, share: float) -> float:
        """Linear warm-up by steps, then flat, then linear to zero by the share that is done."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return warm * min(1.0, (1 - share) / max(self.decay_share, 1e-9))


@dataclass(frozen=True)
class Progress:
    """One line of the log."""

    step: int
    pieces: int
    loss: float
    seconds: float

    def describe(self) -> str:
        """For people."""
        speed = self.pieces / self.seconds
        return f"step {self.step}: loss {self.loss:.3f}, {self.pieces} pieces, {speed:.0f} a second"


@dataclass(frozen=True)
class RatedModule:
    """A module, or a part of one, and the peak learning rate of its parameters."""

    module: nn.Module
    learn_rate: float


Objective = Callable[[int], tuple[Tensor, int]]


def train(
    parts: Sequence[RatedModule], objective: Objective, run: RunSettings
) -> Iterator[Progress]:
    """Train parts in place; read the progress to the end.

    Args:
        parts: a parameter in two parts has the rate of the first.
        objective: from the number of a step to its loss and its number of pieces.
        run: how long and how fast.
    """
    torch.manual_seed(run.seed)
    groups = _groups(parts, run.weight_decay)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    peaks = [group["lr"] for group in groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    for part in parts:
        part.module.train()
    started, step, pieces = time.monotonic(), 0, 0
    while (share := run.share_done(step, time.monotonic() - started)) < 1:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * run.rate_factor(step, share)
        loss, n_pieces = objective(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, run.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        pieces += n_pieces
        yield Progress(step, pieces, loss.item(), time.monotonic() - started)
        step += 1
    for part in parts:
        part.module.eval()


def silence_dropout(encoder: nn.Module) -> None:
    """No dropout: a run that sees its text once needs none, and random numbers cost time.

    The encoder's config, which is saved with it, keeps its own: fine-tuning wants it.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, DisentangledAttention):
            module.dropout = 0.0


def _groups(parts: Sequence[RatedModule], weight_decay: float) -> list[dict[str, Any]]:
    """One group per part and kind of decay; each parameter once."""
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for part in parts:
        mine = [p for p in part.module.parameters() if id(p) not in seen]
        seen |= {id(parameter) for parameter in mine}
        for decay, chosen in (
            (weight_decay, [p for p in mine if p.ndim > 1]),
            (0.0, [p for p in mine if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": part.learn_rate, "weight_decay": decay})
    return groups
