"""A toy run: numbers that depend on the sample alone, a model of a table and a matrix."""

import io
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.checkpoints.safetensors_file import read_safetensors, write_safetensors
from spacy_deberta.training.pretraining.data import Batch, Counts, Position, Step
from spacy_deberta.training.pretraining.distributed import Group
from spacy_deberta.training.pretraining.log import ProgressLine, RunLog, read_log
from spacy_deberta.training.pretraining.objectives import Part
from spacy_deberta.training.pretraining.resume import check_unchanged, to_json
from spacy_deberta.training.pretraining.run import find_checkpoint
from spacy_deberta.training.pretraining.settings import (
    SECTIONS,
    Settings,
)
from spacy_deberta.training.pretraining.signals import StopRequest
from spacy_deberta.training.pretraining.state import CheckpointStore
from spacy_deberta.training.pretraining.trainer import Trainer
from spacy_deberta.training.pretraining.writer import Material, Output

N_PIECES = 11
SAMPLE_SIZE = 6  # pieces
EPOCH = 37  # samples
ALONE = Group(0, 1, torch.device("cpu"))

CHANGES: dict[str, dict[str, Any]] = {
    "data": {"text": ("none.txt",), "micro_pieces": 12},
    "batches": {"pieces": 24, "ramp_from": 12, "ramp_steps": 4},
    "optimizer": {"learn_rate": 0.05, "warmup_steps": 2},
    "run": {"steps": 12, "bf16": False, "checkpoint_steps": 3, "log_steps": 1, "ema": 0.9},
    "evaluation": {"every_steps": 5},
}


def toy_settings(out: Path, **changes: Any) -> Settings:
    """Settings of a short run; changes as run__steps=3."""
    values = {name: dict(CHANGES.get(name, {})) for name in SECTIONS}
    values["run"]["out"] = str(out)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        values[section][key] = value
    return Settings(**{name: kind(**values[name]) for name, kind in SECTIONS.items()})


class ToySamples:
    """As many samples as fit; a process takes every world-th."""

    def __init__(self, micro_pieces: int = 12) -> None:
        self._micro = max(1, micro_pieces // SAMPLE_SIZE)

    def step(
        self,
        start: Position,
        *,
        pieces: int,
        window: int,
        mask_share: float,
        rank: int = 0,
        world: int = 1,
    ) -> Step:
        first = start.epoch * EPOCH + start.sample
        chosen = list(range(first, first + max(1, pieces // SAMPLE_SIZE)))
        last = chosen[-1] + 1
        mine = chosen[rank::world]
        batches = [
            toy_batch(mine[begin : begin + self._micro])
            for begin in range(0, len(mine), self._micro)
        ]
        counts = Counts(len(chosen) * SAMPLE_SIZE, 2 * len(chosen), len(chosen))
        return Step(batches, counts, mine, Position(last // EPOCH, last % EPOCH))


def toy_batch(samples: Sequence[int]) -> Batch:
    pieces = [np.random.default_rng(n).integers(0, N_PIECES, SAMPLE_SIZE) for n in samples]
    together = np.concatenate(pieces)
    starts = np.arange(len(samples)) * SAMPLE_SIZE
    targets = np.sort(np.concatenate([starts + 1, starts + 4]))
    labels = (together[targets] * 3 + 1) % N_PIECES
    return Batch(together, [SAMPLE_SIZE] * len(samples), targets, labels)


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(N_PIECES, 5)
        self.out = nn.Linear(5, N_PIECES)
        self.again = self.out.weight  # a second name of the same
        self.dropout = nn.Dropout(0.2)

    def forward(self, pieces: Tensor) -> Tensor:
        logits: Tensor = self.out(self.dropout(self.table(pieces)))
        return logits


class ToyObjective:
    """Two parts with rates 1 and 1/2.

    Args:
        trouble: called with the number of the call of `losses`, gives a factor on the loss.
        dropout: draws random numbers.
    """

    def __init__(
        self, trouble: Callable[[int], float] = lambda call: 1.0, dropout: float = 0.2
    ) -> None:
        torch.manual_seed(0)
        self.model = ToyModel()
        self.model.dropout.p = dropout
        self.module: nn.Module = self.model
        self.calls = 0
        self._trouble = trouble

    def parts(self) -> list[Part]:
        table, out = self.model.table, self.model.out
        return [
            Part("table", [("table.weight", table.weight)], 1.0),
            Part("out", [("out.weight", out.weight), ("out.bias", out.bias)], 0.5),
        ]

    def losses(self, batch: Batch, counts: Counts) -> dict[str, Tensor]:
        self.calls += 1
        return {"toy": self._trouble(self.calls) * self._loss(batch) / counts.targets}

    def evaluate(self, batches: Sequence[Batch]) -> dict[str, float]:
        self.module.eval()
        with torch.inference_mode():
            nats = [float(self._loss(batch)) / len(batch.targets) for batch in batches]
        self.module.train()
        return {"toy_nats": sum(nats) / len(nats)}

    def save(self, folder: Path) -> None:
        write_safetensors(folder / "model.safetensors", dict(self.named()))

    def named(self) -> list[tuple[str, nn.Parameter]]:
        return [pair for part in self.parts() for pair in part.parameters]

    def _loss(self, batch: Batch) -> Tensor:
        logits = self.model(torch.from_numpy(batch.pieces))[batch.targets]
        return F.cross_entropy(logits, torch.from_numpy(batch.labels), reduction="sum")


def toy_trainer(
    settings: Settings, objective: ToyObjective, group: Any = ALONE
) -> tuple[Trainer, Output]:
    """A trainer as `run.pretrain` makes it, resumed if there is something to resume from."""
    out = Path(settings.run.out)
    out.mkdir(parents=True, exist_ok=True)
    store = CheckpointStore(out / "checkpoints", settings.run.keep)
    output = Output(out, store, RunLog(out / "log.jsonl"), ProgressLine(io.StringIO()))
    samples = ToySamples(settings.data.micro_pieces)
    material = Material(objective, samples, [toy_batch(range(900, 904))], {"data.text": "a1"})
    trainer = Trainer(settings, material, group, output)
    found = find_checkpoint(output, group)
    if found is not None:
        now = {"settings": to_json(settings), "content": material.content}
        check_unchanged(found.record, now)
        trainer.restore(found)
    if group.is_first:
        output.log.go_on(trainer.counters.step)
    return trainer, output


def toy_run(
    out: Path, trouble: Callable[[int], float] = lambda call: 1.0, **changes: Any
) -> tuple[bool, str]:
    """Train to the end; returns whether it was reached, and what was said."""
    objective = ToyObjective(trouble)
    trainer, output = toy_trainer(toy_settings(out, **changes), objective)
    with StopRequest() as stop:
        ended = trainer.run(stop)
    return ended, output.progress._stream.getvalue()  # type: ignore[attr-defined]


def toy_stop(out: Path, call: int, **changes: Any) -> None:
    """A run that is asked to stop in the step of a call of `losses`."""

    def ask(number: int) -> float:
        if number == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    ended, _ = toy_run(out, ask, **changes)
    assert not ended


def toy_weights(out: Path, folder: str = "model") -> dict[str, Tensor]:
    return {k: t.clone() for k, t in read_safetensors(out / folder / "model.safetensors").items()}


def same_bits(first: Path, second: Path) -> bool:
    """Whether two runs ended with the same weights, running means and logs."""
    for folder in ("model", "model-ema"):
        a, b = toy_weights(first, folder), toy_weights(second, folder)
        if not all(a[name].equal(b[name]) for name in a):
            return False
    return timeless(first) == timeless(second)


def timeless(out: Path) -> list[str]:
    """The log without times."""
    records = read_log(out / "log.jsonl")
    return [json.dumps({k: v for k, v in record.items() if k != "seconds"}) for record in records]
