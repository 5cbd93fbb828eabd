"""Settings of a pre-training run, one frozen dataclass per section of its config file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining.config_file import (
    Overrides,
    build_section,
    expect,
    read_sections,
)

DEVICES = ("auto", "cpu", "cuda")

_SHORTEST_WINDOW = 3  # pieces: [CLS], one of text, [SEP]
_ROUNDING = 1e-6  # what shares such as 0.7 + 0.2 + 0.1 may miss of 1


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What to train.

    Attributes:
        init: "random", or a checkpoint folder of any format.
        config: for init="random": a config.json, or the folder of one.
        shape: keys of config.json that are set instead, as in [model.shape].
        fresh_head: begin with a random head although `init` has weights.
        dropout: of the run; the saved config keeps its own.
    """

    init: str = "random"
    config: str | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)
    fresh_head: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        expect(0 <= self.dropout < 1, "model.dropout", self.dropout, "0 up to, but not, 1")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What to train on.

    Attributes:
        text: text files, plain or .xz; documents are separated by blank lines.
        held_out: text files for the evaluation; none = no evaluation.
        tokenizer: folder; None = that of `model.init`.
        corpus: folder of the tokenized text, written if it holds none; None = in the output.
        micro_pieces: most pieces that go through the model at once.
        ngram: most words of one masked span.
        ngram_share: share of the masked words that are in spans.
    """

    text: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    tokenizer: str | None = None
    corpus: str | None = None
    micro_pieces: int = 4096
    ngram: int = 3
    ngram_share: float = 1 / 3

    def __post_init__(self) -> None:
        expect(
            bool(self.text or self.corpus),
            "data.text",
            list(self.text),
            "at least one text file, or the folder of a tokenized one as data.corpus",
        )
        expect(
            self.micro_pieces >= _SHORTEST_WINDOW,
            "data.micro_pieces",
            self.micro_pieces,
            f"at least {_SHORTEST_WINDOW} pieces",
        )
        expect(self.ngram >= 1, "data.ngram", self.ngram, "at least 1 word")
        expect(0 <= self.ngram_share <= 1, "data.ngram_share", self.ngram_share, "0 to 1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What is learned; `objectives.build_objective` knows the kinds.

    Attributes:
        kind: "mlm" = masked pieces, "rtd" = replaced pieces, with a generator that replaces them.
        rtd_weight: of the discriminator's loss beside the generator's.
        generator_layers: None = half of the discriminator's.
        sampling_temperature: of the generator's choices.
    """

    kind: str = "mlm"
    rtd_weight: float = 10.0
    generator_layers: int | None = None
    sampling_temperature: float = 1.0

    def __post_init__(self) -> None:
        expect(self.rtd_weight > 0, "objective.rtd_weight", self.rtd_weight, "above 0")
        expect(
            self.generator_layers is None or self.generator_layers > 0,
            "objective.generator_layers",
            self.generator_layers,
            "null or at least 1",
        )
        expect(
            self.sampling_temperature > 0,
            "objective.sampling_temperature",
            self.sampling_temperature,
            "above 0",
        )


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How much a step sees, all processes together.

    Attributes:
        pieces: of one step, once the ramp is over.
        ramp_from: pieces of the first step.
        ramp_steps: steps of the linear ramp; 0 = none.
        windows: (share of the run, pieces of a window) in turn.
        mask_from: share of words to predict at the beginning.
        mask_to: and at the end.
    """

    pieces: int = 65_536
    ramp_from: int = 65_536
    ramp_steps: int = 0
    windows: tuple[tuple[float, int], ...] = ((0.7, 128), (0.2, 256), (0.1, 512))
    mask_from: float = 0.30
    mask_to: float = 0.15

    def __post_init__(self) -> None:
        expect(self.pieces >= 1, "batches.pieces", self.pieces, "at least 1")
        expect(self.ramp_from >= 1, "batches.ramp_from", self.ramp_from, "at least 1")
        expect(self.ramp_steps >= 0, "batches.ramp_steps", self.ramp_steps, "0 or more steps")
        shares = math.fsum(share for share, _ in self.windows)
        whole = abs(shares - 1) < _ROUNDING and all(share > 0 for share, _ in self.windows)
        long = all(length >= _SHORTEST_WINDOW for _, length in self.windows)
        wanted = f"[share, pieces] pairs, shares adding up to 1, {_SHORTEST_WINDOW} pieces or more"
        expect(whole and long, "batches.windows", self.windows, wanted)
        for name in ("mask_from", "mask_to"):
            share = getattr(self, name)
            expect(0 < share < 1, f"batches.{name}", share, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW and its rate.

    Attributes:
        learn_rate: peak rate of a part with factor 1.
        betas: of Adam.
        eps: of Adam.
        weight_decay: of matrices; norms, biases and embedding tables have none.
        grad_clip: largest norm of each part's gradient.
        warmup_steps: of the linear rise from 0.
        decay_share: the last share of the run, over which the rate falls to 0 as 1 - sqrt.
    """

    learn_rate: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    warmup_steps: int = 100
    decay_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("learn_rate", "eps", "grad_clip"):
            value = getattr(self, name)
            expect(0 < value < math.inf, f"optimizer.{name}", value, "above 0")
        inside = all(0 <= beta < 1 for beta in self.betas)
        expect(inside, "optimizer.betas", self.betas, "two numbers from 0 up to, but not, 1")
        for name in ("weight_decay", "warmup_steps"):
            value = getattr(self, name)
            expect(0 <= value < math.inf, f"optimizer.{name}", value, "0 or more")
        expect(0 <= self.decay_share <= 1, "optimizer.decay_share", self.decay_share, "0 to 1")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How long, where, and what is kept.

    Attributes:
        out: folder of checkpoints, log and the finished model.
        steps: to train for; such a run gives the same weights again on a CPU.
        minutes: to train for, instead of `steps`.
        seed: of everything drawn at random.
        device: "auto" = CUDA where there is some.
        bf16: compute in bfloat16 where that is safe; weights stay in float32.
        ema: decay of the running mean of the weights; 0 = none is kept.
        checkpoint_minutes: between checkpoints; 0 = not by time.
        checkpoint_steps: between checkpoints; 0 = not by steps.
        keep: newest checkpoints to keep.
        nan_patience: steps in a row without a finite loss or gradient that end the run.
        spike_sigmas: a loss so many deviations above its running mean is logged; 0 = none is.
        log_steps: between lines of the log.
        threads: of torch on a CPU; None = as torch likes.
        timeout_seconds: that a process waits for another one.
    """

    out: str
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    device: str = "auto"
    bf16: bool = True
    ema: float = 0.999
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    keep: int = 2
    nan_patience: int = 5
    spike_sigmas: float = 6.0
    log_steps: int = 10
    threads: int | None = None
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        lengths = [length for length in (self.steps, self.minutes) if length is not None]
        if len(lengths) != 1 or not 0 < lengths[0] < math.inf:
            raise ConfigError(
                f"run.steps={self.steps}, run.minutes={self.minutes}: expected one of the two, "
                "above 0, and null for the other."
            )
        expect(self.device in DEVICES, "run.device", self.device, f"one of {', '.join(DEVICES)}")
        expect(0 <= self.ema < 1, "run.ema", self.ema, "0 up to, but not, 1")
        for name in ("keep", "nan_patience", "log_steps", "timeout_seconds"):
            value = getattr(self, name)
            expect(value >= 1, f"run.{name}", value, "at least 1")
        expect(0 <= self.seed < 2**63, "run.seed", self.seed, "0 to 2^63 - 1")
        for name in ("checkpoint_minutes", "checkpoint_steps", "spike_sigmas"):
            value = getattr(self, name)
            expect(0 <= value < math.inf, f"run.{name}", value, "0 or more")
        expect(self.threads is None or self.threads > 0, "run.threads", self.threads, "1 or more")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The held-out text.

    Attributes:
        every_steps: between evaluations; 0 = only at the end.
        sequences: of `data.held_out`, the same every time.
        mask_share: share of their words to predict.
    """

    every_steps: int = 500
    sequences: int = 256
    mask_share: float = 0.15

    def __post_init__(self) -> None:
        expect(self.every_steps >= 0, "evaluation.every_steps", self.every_steps, "0 or more")
        expect(self.sequences >= 1, "evaluation.sequences", self.sequences, "at least 1")
        expect(0 < self.mask_share < 1, "evaluation.mask_share", self.mask_share, "0 to 1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections."""

    model: ModelSettings
    data: DataSettings
    objective: ObjectiveSettings
    batches: BatchSettings
    optimizer: OptimizerSettings
    run: RunSettings
    evaluation: EvaluationSettings


SECTIONS: dict[str, type[Any]] = get_type_hints(Settings)


def read_settings(path: Path, overrides: Overrides | None = None) -> Settings:
    """The settings in a config file; what it does not say has its default.

    Args:
        path: ini sections with JSON values, as in spaCy's configs; nothing is interpolated.
        overrides: raw values by "section.key" from a command line; of several for one key
            the last counts, or all if it is a list.

    Raises:
        ConfigError: the file cannot be read, or a section, key or value is not known or does not
            fit; names section.key, what was found and what was expected.
    """
    sections = read_sections(path, overrides or {}, SECTIONS)
    try:
        built = {
            name: build_section(kind, name, sections.get(name, {}))
            for name, kind in SECTIONS.items()
        }
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Settings(**built)
