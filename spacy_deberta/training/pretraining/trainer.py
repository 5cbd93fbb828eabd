"""The loop of a run, in each of its processes.

Every random number of a step comes from (seed, step, process), so no state of a generator of
random numbers has to be kept: a resumed run draws what the other one would have drawn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining import schedules
from spacy_deberta.training.pretraining.ahead import StepsAhead, StepShape
from spacy_deberta.training.pretraining.counters import Counters
from spacy_deberta.training.pretraining.guard import SKIPPED
from spacy_deberta.training.pretraining.updates import Gradients, Updater
from spacy_deberta.training.pretraining.writer import Material, Output, StepResult, Writer

if TYPE_CHECKING:
    from spacy_deberta.training.pretraining.data import Batch, Step
    from spacy_deberta.training.pretraining.distributed import Group
    from spacy_deberta.training.pretraining.settings import Settings
    from spacy_deberta.training.pretraining.signals import StopRequest
    from spacy_deberta.training.pretraining.state import Snapshot


@dataclass(frozen=True)
class _Sums:
    """What all processes together have of a step.

    Attributes:
        losses: of the global batch by name.
        norms: of the gradient by part.
        stop: whether a process was asked to stop.
        seconds: that the first process has spent on the run.
    """

    losses: dict[str, float]
    norms: dict[str, float]
    stop: bool
    seconds: float


class Trainer:
    """A run in one of its processes.

    Args:
        settings: of the run.
        material: model and data.
        group: the processes.
        output: where the first of them writes.

    Attributes:
        counters: how far it is.
    """

    def __init__(
        self, settings: Settings, material: Material, group: Group, output: Output
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._objective = material.objective
        self._samples = material.samples
        self._group = group
        self._gradients = Gradients(self._objective, group.device)
        self._updater = Updater(
            self._objective, self._gradients, settings.optimizer, settings.run.ema
        )
        self._parts = [part.name for part in self._objective.parts()]
        self._names: list[str] | None = None  # of the losses, once they are known
        self._writer = Writer(settings, material, self._updater, output) if group.is_first else None
        self._began = time.monotonic()

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken.

        Raises:
            CheckpointError: it is of another model.
        """
        self.counters = Counters.from_json(snapshot.record["counters"])
        self._updater.restore(snapshot.tensors)

    def run(self, stop: StopRequest) -> bool:
        """Train to the end, or until a signal comes; then save.

        Args:
            stop: asked after every step.

        Returns:
            Whether the end was reached.

        Raises:
            CheckpointError: the last checkpoint cannot be written.
            ConfigError: no finite losses, or too little memory.
            DataError: the data cannot be read any more.
        """
        self._objective.module.train()
        self._began = time.monotonic() - self.counters.seconds
        if self._writer:
            self._writer.begin(self.counters)
        ended = self._steps(stop)
        if self._writer:
            self._writer.finish(self.counters, ended=ended)
        self._group.wait()
        return ended

    def _steps(self, stop: StopRequest) -> bool:
        counters = self.counters
        asked = False
        with StepsAhead(self._samples, self._group.rank, self._group.world) as steps:
            if self._share(counters.step) < 1:
                steps.order(counters.position, self._shape(counters.step))
            while not asked and (share := self._share(counters.step)) < 1:
                step = steps.take()
                if self._share(counters.step + 1) < 1:
                    steps.order(step.after, self._shape(counters.step + 1))
                asked = self._take(step, share, stop)
        return not asked

    def _share(self, step: int) -> float:
        return schedules.share_done(self._settings.run, step, self.counters.seconds)

    def _shape(self, step: int) -> StepShape:
        batches, share = self._settings.batches, self._share(step)
        return StepShape(
            pieces=schedules.batch_pieces(batches, step),
            window=schedules.window(batches, share),
            mask_share=schedules.mask_share(batches, share),
        )

    def _take(self, step: Step, share: float, stop: StopRequest) -> bool:
        """One step; returns whether a process was asked to stop."""
        run, counters = self._settings.run, self.counters
        torch.manual_seed(_draw_seed(run.seed, counters.step, self._group.rank))
        self._gradients.clear()
        sums = self._sum(self._differentiate(step), stop)
        loss, norms = sum(sums.losses.values()), list(sums.norms.values())
        verdict = counters.guard.judge(loss, norms, run.spike_sigmas)
        factor = schedules.rate_factor(self._settings.optimizer, counters.step, share)
        if verdict != SKIPPED:
            self._clip(sums.norms)
            self._updater.update(factor, counters.updates)
        counters.step += 1
        counters.pieces += step.counts.pieces
        counters.position, counters.seconds = step.after, sums.seconds
        if self._writer:
            rate = self._settings.optimizer.learn_rate * factor
            done = self._share(counters.step)
            result = StepResult(verdict, sums.losses, sums.norms, rate, done)
            self._writer.after_step(counters, result, step)
        counters.guard.check(run.nan_patience, step.samples)
        return sums.stop

    def _differentiate(self, step: Step) -> dict[str, Tensor]:
        """Add up the gradients of all micro-batches; returns this process's losses."""
        totals: dict[str, Tensor] = {}
        device, bf16 = self._group.device.type, self._settings.run.bf16
        for batch in step.batches:
            try:
                with torch.autocast(device, torch.bfloat16, enabled=bf16):
                    losses = self._objective.losses(batch, step.counts)
                torch.stack(list(losses.values())).sum().backward()
            except (MemoryError, RuntimeError) as error:
                raise _explained(error, batch, self._settings.data.micro_pieces) from error
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach().float()
        return totals

    def _sum(self, losses: dict[str, Tensor], stop: StopRequest) -> _Sums:
        """Sum gradients and losses over the processes."""
        if self._names is None:  # a process without a micro-batch does not know them
            self._names = sorted({name for own in self._group.gather(list(losses)) for name in own})
        device, n_losses = self._group.device, len(self._names)
        zero = torch.zeros((), device=device)
        seconds = time.monotonic() - self._began if self._group.is_first else 0.0
        signals = torch.tensor([float(stop.signal is not None), seconds], device=device)
        own = torch.stack([losses.get(name, zero) for name in self._names])
        numbers = self._gradients.sum(self._group, torch.cat([own, signals])).tolist()
        return _Sums(
            losses=dict(zip(self._names, numbers[:n_losses], strict=True)),
            norms=dict(zip(self._parts, numbers[n_losses + 2 :], strict=True)),
            stop=numbers[n_losses] > 0,
            seconds=numbers[n_losses + 1],
        )

    def _clip(self, norms: dict[str, float]) -> None:
        """Each part by itself."""
        largest = self._settings.optimizer.grad_clip
        for part, norm in norms.items():
            if norm > largest:
                self._gradients.scale(part, largest / norm)


def _draw_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def _explained(error: Exception, batch: Batch, micro_pieces: int) -> Exception:
    """Too little memory in words that help; any other error as it is."""
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not is_memory and "can't allocate memory" not in str(error):
        return error
    return ConfigError(
        f"data.micro_pieces={micro_pieces}: out of memory with {len(batch.pieces)} pieces in "
        f"{len(batch.lengths)} sequences of at most {max(batch.lengths)}, {len(batch.targets)} of "
        "them to predict; expected a batch that fits. Lower data.micro_pieces: the results stay "
        "the same."
    )
