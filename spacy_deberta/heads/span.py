"""The head that finds where an answer starts and ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import cross_entropy, widen


class SpanHead(nn.Module):
    """A start logit and an end logit for every piece, whatever num_labels says."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.qa_outputs = new_linear(config.hidden_size, 2, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., hidden_size) rows to (..., 2): start, end."""
        logits: Tensor = self.qa_outputs(hidden)
        return logits


def span_loss(
    start_logits: Tensor,
    end_logits: Tensor,
    starts: Tensor,
    ends: Tensor,
    *,
    keep: Tensor | None = None,
) -> Tensor:
    """Mean of the cross-entropies of start and end over the places of a sequence.

    A target that is negative or beyond the sequence is ignored: the answer is not in this window.
    `transformers` trains a negative one as place 0.

    Args:
        start_logits: (B, L).
        end_logits: (B, L).
        starts: (B,) or (B, 1) places.
        ends: (B,) or (B, 1) places.
        keep: (B, L) bool, true = a real piece; None = all. Padding takes no part, so that the
            length of batch mates changes no loss.
    """
    start_loss = _place_loss(start_logits, starts, keep)
    return (start_loss + _place_loss(end_logits, ends, keep)) / 2


def _place_loss(logits: Tensor, places: Tensor, keep: Tensor | None) -> Tensor:
    scores = widen(logits)
    length = scores.shape[-1]
    targets = places.view(-1).long()
    inside = targets < length  # below 0, cross_entropy ignores it
    if keep is not None:
        # Not -inf: a sequence without a real piece would send NaN through the backward pass.
        scores = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
        nearest = targets.clamp(0, length - 1)
        inside = inside & keep.gather(-1, nearest[:, None]).squeeze(-1)
    return cross_entropy(scores, targets.masked_fill(~inside, -1))
