"""What the first process of a run does after a step: log, evaluate, save where it is time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spacy_deberta.errors import CheckpointError
from spacy_deberta.training.pretraining.counters import Counters
from spacy_deberta.training.pretraining.guard import OK, SKIPPED
from spacy_deberta.training.pretraining.log import ProgressLine, RunLog, describe
from spacy_deberta.training.pretraining.resume import to_json
from spacy_deberta.training.pretraining.state import (
    FORMAT,
    CheckpointStore,
    Snapshot,
    replace_folder,
)

if TYPE_CHECKING:
    from spacy_deberta.training.pretraining.ahead import StepSource
    from spacy_deberta.training.pretraining.data import Batch, Step
    from spacy_deberta.training.pretraining.objectives import Objective
    from spacy_deberta.training.pretraining.settings import Settings
    from spacy_deberta.training.pretraining.updates import Updater

MODEL_FOLDER = "model"
MEAN_FOLDER = "model-ema"


@dataclass(frozen=True, eq=False)
class Material:
    """What is trained, and on what.

    Attributes:
        objective: with its module on the device of the run.
        samples: to train on.
        held_out: batches to evaluate on; empty = no evaluation.
        content: checksums of data and tokenizer by the setting that points to them.
    """

    objective: Objective
    samples: StepSource
    held_out: Sequence[Batch] = ()
    content: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Output:
    """Where a run writes.

    Attributes:
        folder: of all.
        store: of the checkpoints.
        log: of the steps.
        progress: for people.
    """

    folder: Path
    store: CheckpointStore
    log: RunLog
    progress: ProgressLine


@dataclass(frozen=True)
class StepResult:
    """What a step gave, all processes together.

    Attributes:
        verdict: of the guard.
        losses: of the global batch by name.
        norms: of the gradient by part, before clipping.
        rate: of learning.
        share: of the run that is done.
    """

    verdict: str
    losses: dict[str, float]
    norms: dict[str, float]
    rate: float
    share: float


class Writer:
    """Log, evaluations, checkpoints and finished models of a run.

    Args:
        settings: of the run.
        material: model and data.
        updater: of the weights.
        output: where to write.
    """

    def __init__(
        self, settings: Settings, material: Material, updater: Updater, output: Output
    ) -> None:
        self._settings = settings
        self._material = material
        self._updater = updater
        self._output = output
        self._saved = time.monotonic()
        self._mark = (self._saved, 0)  # when the progress line was last shown, and pieces then

    def begin(self, counters: Counters) -> None:
        """At the first step of this process."""
        self._saved = time.monotonic()
        self._mark = (self._saved, counters.pieces)

    def after_step(self, counters: Counters, result: StepResult, step: Step) -> None:
        """Do what is due.

        Raises:
            DebertaError: the objective cannot be evaluated.
        """
        self._report(counters, result, step)
        every = self._settings.evaluation.every_steps
        if every and counters.step % every == 0:
            self._evaluate(counters)
        run = self._settings.run
        by_time = 0 < 60 * run.checkpoint_minutes <= time.monotonic() - self._saved
        if by_time or (run.checkpoint_steps and counters.step % run.checkpoint_steps == 0):
            try:
                self._save(counters)
            except CheckpointError as error:  # there may be room again before the run ends
                self._output.progress.say(f"warning: step {counters.step}: {error}")

    def finish(self, counters: Counters, *, ended: bool) -> None:
        """Evaluate, if the run is at its end, and save.

        Raises:
            CheckpointError: it cannot be written.
        """
        try:
            if ended and counters.evaluated != counters.step:
                self._evaluate(counters)
        finally:
            self._save(counters)

    def _report(self, counters: Counters, result: StepResult, step: Step) -> None:
        """Log a step that is due, strange or the last."""
        is_due = counters.step % self._settings.run.log_steps == 0 or result.share >= 1
        if result.verdict == OK and not is_due:
            return
        record: dict[str, Any] = {
            "step": counters.step,
            "event": result.verdict,
            "losses": {name: _number(loss) for name, loss in result.losses.items()},
            "norms": {name: _number(norm) for name, norm in result.norms.items()},
            "rate": result.rate,
            "pieces": counters.pieces,
            "batch": asdict(step.counts),
            "epoch": counters.position.epoch,
            "skipped": counters.guard.skipped,
            "seconds": round(counters.seconds, 1),
        }
        if result.verdict != OK:
            record["samples"] = [int(sample) for sample in step.samples]
        self._log(record)
        if result.verdict != SKIPPED:
            now = time.monotonic()
            speed = (counters.pieces - self._mark[1]) / max(1e-9, now - self._mark[0])
            self._mark = (now, counters.pieces)
            self._output.progress.show(describe(record, result.share, speed))

    def _log(self, record: dict[str, Any]) -> None:
        """Write a record; a full disk is no reason to end the training."""
        try:
            self._output.log.write(record)
        except OSError as error:
            self._output.progress.say(f"warning: {self._output.log.path}: {error}")

    def _evaluate(self, counters: Counters) -> None:
        """Scores of the weights and of their running mean."""
        counters.evaluated = counters.step
        if not self._material.held_out:
            return
        scores = self._scores()
        if self._settings.run.ema:
            with self._updater.mean_weights():
                scores |= {f"ema_{name}": score for name, score in self._scores().items()}
        record = {"step": counters.step, "event": "evaluation", "scores": scores}
        self._log({**record, "pieces": counters.pieces})
        shown = ", ".join(f"{name} {score:.4g}" for name, score in scores.items())
        self._output.progress.say(f"step {counters.step}: {shown}")

    def _scores(self) -> dict[str, float]:
        objective = self._material.objective
        torch.manual_seed(self._settings.run.seed)
        device = next(objective.module.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._settings.run.bf16):
            return objective.evaluate(self._material.held_out)

    def _save(self, counters: Counters) -> None:
        """Write a checkpoint, then the model for users."""
        self._saved = time.monotonic()
        record = {
            "format": FORMAT,
            "counters": counters.to_json(),
            "settings": to_json(self._settings),
            "content": self._material.content,
        }
        self._output.store.write(counters.step, Snapshot(self._updater.tensors(), record))
        folder, objective = self._output.folder, self._material.objective
        replace_folder(folder / MODEL_FOLDER, objective.save)
        if self._settings.run.ema:
            with self._updater.mean_weights():
                replace_folder(folder / MEAN_FOLDER, objective.save)


def _number(value: float) -> float | str:
    """JSON has no NaN."""
    return value if math.isfinite(value) else str(value)
