"""Replaced-token detection, as DeBERTa-v3 is pre-trained.

    text          the old river froze
    generator     the [MASK] river [MASK]       learns to predict what is masked ...
    its samples   the cold river froze
    discriminator  0   1     0     0            ... and this one which pieces are not the text's

Source: He et al. 2023 (arXiv:2111.09543); microsoft/DeBERTa, apps/tasks/rtd_task.py. There the
generator steps before the discriminator reads its tables, and the loss of the discriminator counts
[CLS] and [SEP], which nobody replaces. Here both step at once, and only pieces of text count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spacy_deberta.heads import masked_lm_loss, rtd_loss
from spacy_deberta.training.pretraining.evaluation import MaskedTally, ReplacedTally, evaluating
from spacy_deberta.training.pretraining.objectives import (
    BatchTensors,
    Part,
    device_of,
    share_of_mean,
)

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer
    from spacy_deberta.training.pretraining.data import Batch, Counts
    from spacy_deberta.training.pretraining.pair import Pair
    from spacy_deberta.training.pretraining.settings import ObjectiveSettings

GENERATOR_LOSS, DISCRIMINATOR_LOSS = "generator", "discriminator"

_LEVELS = 2**30  # a probability is rounded down to a multiple of 1 / _LEVELS
_UNIFORM_BITS = 53  # of a float64

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replacement:
    """A batch after the generator.

    Attributes:
        logits: (M, vocab_size) the generator's.
        pieces: (N,) the text with samples in the place of the targets.
        labels: (N,) 1 = another piece than the text's, 0 = the same, -1 = [CLS] and [SEP].
    """

    logits: Tensor
    pieces: Tensor
    labels: Tensor


class ReplacedTokenObjective:
    """Train a pair: two losses, two parts.

    Every target is masked for the generator, whatever the batch has put there.

    Args:
        module: generator and discriminator.
        tokenizer: saved with them.
        settings: weight of the discriminator's loss, temperature of the samples.
    """

    def __init__(self, module: Pair, tokenizer: Tokenizer, settings: ObjectiveSettings) -> None:
        self.module: nn.Module = module
        self._pair = module
        self._tokenizer = tokenizer
        self._weight = settings.rtd_weight
        self._temperature = settings.sampling_temperature

    def parts(self) -> list[Part]:
        """Generator and discriminator, so that neither's gradient decides how far the other goes.

        The shared tables belong to the generator, the differences to the discriminator.
        """
        generator = Part.of(self._pair.generator, GENERATOR_LOSS, "generator.")
        return [generator, Part.of(self._pair.discriminator, DISCRIMINATOR_LOSS, "discriminator.")]

    def losses(self, batch: Batch, counts: Counts) -> dict[str, Tensor]:
        """Cross-entropy of the targets, and weighted that of every piece of text.

        See `Objective.losses`. Both graphs live until the gradients are taken.
        """
        tensors, replaced = self._replace(batch)
        verdicts = self._pair.discriminator(replaced.pieces, batch.lengths)
        judged = replaced.labels >= 0
        generated = masked_lm_loss(replaced.logits, tensors.labels)
        detected = rtd_loss(verdicts[judged], labels := replaced.labels[judged])
        return {
            GENERATOR_LOSS: share_of_mean(generated, tensors.labels, counts.targets),
            DISCRIMINATOR_LOSS: self._weight * share_of_mean(detected, labels, counts.pieces),
        }

    def evaluate(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The scores of `MaskedTally` for the generator, of `ReplacedTally` for the other."""
        masked, judged = MaskedTally(), ReplacedTally()
        with evaluating(self._pair):
            for batch in batches:
                tensors, replaced = self._replace(batch)
                verdicts = self._pair.discriminator(replaced.pieces, batch.lengths)
                masked += MaskedTally.count(replaced.logits, tensors.labels)
                judged += ReplacedTally.count(verdicts, replaced.labels)
        return masked.scores() | judged.scores()

    def save(self, folder: Path) -> None:
        """Write the discriminator as a checkpoint folder, and the generator as one inside it."""
        self._pair.save(folder, self._tokenizer)

    def _replace(self, batch: Batch) -> tuple[BatchTensors, Replacement]:
        """The batch as tensors, and what the generator makes of it."""
        tensors = BatchTensors.of(batch, device_of(self._pair))
        hidden = tensors.pieces.index_fill(0, tensors.targets, self._tokenizer.mask_id)
        text = tensors.pieces.index_copy(0, tensors.targets, tensors.labels)
        logits = self._pair.generator(hidden, batch.lengths, tensors.targets)
        uniform = torch.from_numpy(draw_uniform(batch)).to(logits.device)
        samples = sample_pieces(logits.detach(), uniform, self._temperature)
        pieces = text.index_copy(0, tensors.targets, samples)
        ends = torch.as_tensor(batch.lengths).cumsum(0)
        edges = torch.cat([ends - 1, ends - torch.as_tensor(batch.lengths)]).to(logits.device)
        labels = (pieces != text).long().index_fill(0, edges, -1)
        return tensors, Replacement(logits, pieces, labels)


def draw_uniform(batch: Batch) -> Float64:
    """One number from [0, 1) for each target, from a hash of its sequence's text and targets.

    So they depend on the samples and their masks alone, which come from (seed, epoch, sample): not
    on the state of any generator of random numbers, on the layout of batches or on the number of
    processes. A resumed run draws them again, and so does every evaluation.

    Args:
        batch: of any number of sequences.

    Returns:
        (M,), in the order of `batch.targets`.
    """
    text = batch.pieces.astype("<i8")  # of one byte order, so that every machine draws the same
    text[batch.targets] = batch.labels
    order = np.argsort(batch.targets, kind="stable")
    ends = np.cumsum(batch.lengths)
    stops = np.searchsorted(batch.targets[order], ends)
    drawn = np.empty(len(order), dtype=np.float64)
    start = first = 0
    for end, stop in zip(ends.tolist(), stops.tolist(), strict=True):
        mine = order[first:stop]
        places = (batch.targets[mine] - start).astype("<i8")
        bits = hashlib.shake_128(text[start:end].tobytes() + places.tobytes())
        numbers = np.frombuffer(bits.digest(8 * len(mine)), dtype="<u8")
        drawn[mine] = (numbers >> np.uint64(64 - _UNIFORM_BITS)) * 2.0**-_UNIFORM_BITS
        start, first = end, stop
    return drawn


def sample_pieces(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One piece for each row, by the inverse of its cumulated probabilities.

    They are added up as integers: a sum that is the same on every device and in every order.

    Args:
        logits: (M, V).
        uniform: (M,) float64 from [0, 1), one draw each.
        temperature: below 1 the probable becomes more probable.

    Returns:
        (M,) ids; of logits that are NaN any, so that the loss tells, not a crash.
    """
    probabilities = torch.softmax(logits.float() / temperature, -1)
    sums = (probabilities * _LEVELS).int().cumsum(-1, dtype=torch.int32)
    drawn = (uniform * sums[:, -1]).int()
    found = torch.searchsorted(sums, drawn[:, None], right=True).squeeze(1)
    return found.clamp(max=logits.shape[1] - 1)
