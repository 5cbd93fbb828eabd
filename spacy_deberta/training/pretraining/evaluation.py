"""What held-out text says of a model: tallies that add up over batches, and the scores of a sum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Self

import torch
from torch import Tensor, nn

from spacy_deberta.heads import masked_lm_loss, rtd_loss

_LARGEST_EXPONENT = 700.0  # e to more than 709 is no float


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards the mode that was."""
    was_training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(was_training)


@dataclass(frozen=True)
class MaskedTally:
    """Predictions of masked pieces.

    Attributes:
        n_pieces: that were predicted.
        n_right: whose most probable prediction is right.
        nats: sum of their losses.
    """

    n_pieces: int = 0
    n_right: int = 0
    nats: float = 0.0

    @classmethod
    def count(cls, logits: Tensor, labels: Tensor) -> Self:
        """The tally of one batch.

        Args:
            logits: (M, vocab_size).
            labels: (M,) ids.
        """
        n_pieces = labels.numel()
        if not n_pieces:
            return cls()
        n_right = int((logits.argmax(-1) == labels).sum())
        return cls(n_pieces, n_right, float(masked_lm_loss(logits, labels)) * n_pieces)

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def scores(self) -> dict[str, float]:
        """Accuracy, nats per masked piece and their exponential; zeros without any piece."""
        if not self.n_pieces:
            return {"mlm_accuracy": 0.0, "mlm_nats": 0.0, "mlm_perplexity": 0.0}
        nats = self.nats / self.n_pieces
        return {
            "mlm_accuracy": self.n_right / self.n_pieces,
            "mlm_nats": nats,
            "mlm_perplexity": math.exp(min(nats, _LARGEST_EXPONENT)),
        }


@dataclass(frozen=True)
class ReplacedTally:
    """Judgements of pieces, as replaced or original.

    Attributes:
        n_pieces: that were judged.
        n_found: replaced ones judged so.
        n_missed: replaced ones judged original.
        n_false: original ones judged replaced.
        nats: sum of the losses.
    """

    n_pieces: int = 0
    n_found: int = 0
    n_missed: int = 0
    n_false: int = 0
    nats: float = 0.0

    @classmethod
    def count(cls, logits: Tensor, labels: Tensor) -> Self:
        """The tally of one batch.

        Args:
            logits: (N,) above 0 = judged replaced.
            labels: (N,) 1 = replaced, 0 = original, negative = not judged.
        """
        n_pieces = int((labels >= 0).sum())
        judged = (logits > 0) & (labels >= 0)
        n_found = int((judged & (labels == 1)).sum())
        return cls(
            n_pieces=n_pieces,
            n_found=n_found,
            n_missed=int((labels == 1).sum()) - n_found,
            n_false=int(judged.sum()) - n_found,
            nats=float(rtd_loss(logits, labels)) * n_pieces,
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def scores(self) -> dict[str, float]:
        """Precision, recall and F1 of what is replaced; a share of nothing is 0."""
        n_replaced, n_named = self.n_found + self.n_missed, self.n_found + self.n_false
        return {
            "rtd_precision": _share(self.n_found, n_named),
            "rtd_recall": _share(self.n_found, n_replaced),
            "rtd_f1": _share(2 * self.n_found, n_named + n_replaced),
            "rtd_accuracy": _share(self.n_pieces - self.n_missed - self.n_false, self.n_pieces),
            "rtd_nats": _share(self.nats, self.n_pieces),
            "rtd_replaced": _share(n_replaced, self.n_pieces),
        }


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
