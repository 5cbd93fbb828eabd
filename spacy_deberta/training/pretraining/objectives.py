"""What a pre-training run learns: the protocol of every objective, and masked language modelling.

Losses are sums over the places of a micro-batch, divided by their number in the global batch. So
the gradients of micro-batches, and of ranks, add up to those of the batch, however it is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor, nn

from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import masked_lm_loss
from spacy_deberta.training.pretraining.evaluation import MaskedTally, evaluating
from spacy_deberta.training.pretraining.models import MaskedLM, start_masked_lm

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer
    from spacy_deberta.training.pretraining.data import Batch, Counts
    from spacy_deberta.training.pretraining.settings import ModelSettings, ObjectiveSettings

MASKED_LM = "mlm"
REPLACED_TOKENS = "rtd"


@dataclass(frozen=True)
class Part:
    """Parameters with a rate and a gradient norm of their own.

    Attributes:
        name: for the log.
        parameters: with their names in the state of the whole module.
        rate: factor on the rate of the schedule.
    """

    name: str
    parameters: list[tuple[str, nn.Parameter]]
    rate: float = 1.0

    @classmethod
    def of(cls, module: nn.Module, name: str, prefix: str = "") -> Self:
        """All parameters of a module that stands in the whole under a prefix ("generator.")."""
        return cls(name, [(prefix + key, tensor) for key, tensor in module.named_parameters()])


class Objective(Protocol):
    """What a run trains, and on what.

    Attributes:
        module: all that is trained; its state_dict is what a run's checkpoints hold.
    """

    module: nn.Module

    def parts(self) -> list[Part]:
        """The parameters, each in one part."""

    def losses(self, batch: Batch, counts: Counts) -> dict[str, Tensor]:
        """Weighted losses of a micro-batch, by name; their sum is to be differentiated.

        A batch does not reach every parameter: without targets it reaches none behind them.

        Args:
            batch: this micro-batch.
            counts: of the global batch, which the sums are divided by.
        """

    def evaluate(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Scores on held-out batches; changes nothing."""

    def save(self, folder: Path) -> None:
        """Write a finished checkpoint folder, tokenizer included."""


@dataclass(frozen=True, eq=False)
class BatchTensors:
    """A micro-batch where the model is.

    Attributes:
        pieces: (N,) ids to read.
        targets: (M,) places in `pieces` to predict.
        labels: (M,) ids that stood there.
    """

    pieces: Tensor
    targets: Tensor
    labels: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """Copy to a device; on the CPU the arrays are shared."""
        arrays = (batch.pieces, batch.targets, batch.labels)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


class MaskedLMObjective:
    """Predict masked pieces.

    Args:
        module: encoder, head, and mask decoder where it needs one.
        tokenizer: saved with them.
    """

    def __init__(self, module: MaskedLM, tokenizer: Tokenizer) -> None:
        self.module: nn.Module = module
        self._tokenizer = tokenizer
        self._model = module

    def parts(self) -> list[Part]:
        """One: encoder and head together."""
        return [Part.of(self._model, MASKED_LM)]

    def losses(self, batch: Batch, counts: Counts) -> dict[str, Tensor]:
        """{"mlm": cross-entropy of the targets}; see `Objective.losses`."""
        logits, labels = self._predict(batch)
        return {MASKED_LM: share_of_mean(masked_lm_loss(logits, labels), labels, counts.targets)}

    def evaluate(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The scores of `MaskedTally`."""
        with evaluating(self._model):
            tallies = [MaskedTally.count(*self._predict(batch)) for batch in batches]
        return sum(tallies, MaskedTally()).scores()

    def save(self, folder: Path) -> None:
        """Write encoder, head and tokenizer as one checkpoint folder."""
        self._model.save(folder, self._tokenizer)

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        tensors = BatchTensors.of(batch, device_of(self._model))
        return self._model(tensors.pieces, batch.lengths, tensors.targets), tensors.labels


def build_objective(
    settings: ObjectiveSettings, model: ModelSettings, tokenizer: Tokenizer
) -> Objective:
    """The objective that the settings name, with the model that they start from.

    What is drawn at random comes from torch's global generator: seed it before.

    Args:
        settings: [objective].
        model: [model].
        tokenizer: of the run, as `models.choose_tokenizer` gives it.

    Raises:
        CheckpointError: a start that cannot be read, or lacks a head.
        ConfigError: an unknown kind, or a shape that cannot work.
    """
    # Imported here: it builds on Part.
    from spacy_deberta.training.pretraining.pair import start_pair
    from spacy_deberta.training.pretraining.rtd import ReplacedTokenObjective

    if settings.kind == MASKED_LM:
        return MaskedLMObjective(start_masked_lm(model, tokenizer), tokenizer)
    if settings.kind == REPLACED_TOKENS:
        return ReplacedTokenObjective(start_pair(settings, model, tokenizer), tokenizer, settings)
    raise ConfigError(
        f"objective.kind={settings.kind!r}: is unknown; supported: {MASKED_LM}, {REPLACED_TOKENS}."
    )


def share_of_mean(mean: Tensor, labels: Tensor, n_global: int) -> Tensor:
    """The share of a micro-batch in a mean over the global batch.

    Args:
        mean: scalar, over the labels that count.
        labels: (...) of the micro-batch, all of which count.
        n_global: labels in the global batch.
    """
    return mean * (labels.numel() / max(1, n_global))


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device
