"""Heads that judge a whole sequence: classification, regression, multiple choice."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.config import DebertaConfig
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import binary_cross_entropy, check_shape, cross_entropy, widen
from spacy_deberta.heads.pooling import ContextPooler


class SequenceHead(nn.Module):
    """Pooler, dropout, one logit per label."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.pooler = ContextPooler(config)
        self.dropout = nn.Dropout(_dropout(config))
        self.classifier = new_linear(config.hidden_size, config.num_labels, config)

    def forward(self, first_rows: Tensor) -> Tensor:
        """Logits of each sequence.

        Args:
            first_rows: (B, hidden_size), the last layer's row of each sequence's first piece.

        Returns:
            (B, num_labels).
        """
        logits: Tensor = self.classifier(self.dropout(self.pooler(first_rows)))
        return logits


class ChoiceHead(nn.Module):
    """Pooler, dropout, one logit per sequence; sequences that answer one question compete."""

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.pooler = ContextPooler(config)
        self.dropout = nn.Dropout(_dropout(config))
        self.classifier = new_linear(config.hidden_size, 1, config)

    def forward(self, first_rows: Tensor, n_choices: int) -> Tensor:
        """Logits of each choice.

        Args:
            first_rows: (B * C, hidden_size), the choices of a question one after the other.
            n_choices: C.

        Returns:
            (B, C).
        """
        logits: Tensor = self.classifier(self.dropout(self.pooler(first_rows)))
        return logits.view(-1, n_choices)


def sequence_loss(logits: Tensor, labels: Tensor, config: DebertaConfig) -> Tensor:
    """The loss that config.problem_type names.

    Without a name: regression for one label, soft classification for targets of the logits' shape,
    classification otherwise. Regression and single-label classification take a column (B, 1) of
    labels for a list of them, and integers for numbers; `transformers` fails on both.

    Args:
        logits: (B, num_labels).
        labels: (B,) classes, negative = ignored; (B,) or (B, num_labels) numbers for a regression;
            (B, num_labels) from 0 to 1 for multi-label (negative = ignored) and soft targets.
        config: num_labels and problem_type.

    Raises:
        DataError: labels of another shape, or a class that has no logit.
    """
    return _LOSSES[config.problem_type or _problem(labels, config)](logits, labels)


def choice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the choices.

    Args:
        logits: (B, C).
        labels: (B,) number of the right choice; negative = ignored.
    """
    return cross_entropy(logits, labels)


def _problem(labels: Tensor, config: DebertaConfig) -> str:
    if config.num_labels == 1:
        return "regression"
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return "soft_classification"
    return "single_label_classification"


def _classification(logits: Tensor, labels: Tensor) -> Tensor:
    column = labels.ndim > 1 and labels.shape[-1] == 1
    return cross_entropy(logits, labels.squeeze(-1) if column else labels)


def _regression(logits: Tensor, labels: Tensor) -> Tensor:
    values, targets = widen(logits), labels
    if logits.shape[-1] == 1 and labels.ndim == 1:
        targets = labels.unsqueeze(-1)
    check_shape(targets, values.shape)
    squares = F.mse_loss(values, targets.to(values.dtype), reduction="sum")
    return squares / max(1, values.numel())


def _soft_classification(logits: Tensor, labels: Tensor) -> Tensor:
    check_shape(labels, logits.shape)
    scores = widen(logits).log_softmax(-1)
    return -(scores * labels).sum() / max(1, logits.shape[0])


def _dropout(config: DebertaConfig) -> float:
    given = config.cls_dropout
    return config.hidden_dropout_prob if given is None else given


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "regression": _regression,
    "single_label_classification": _classification,
    "multi_label_classification": binary_cross_entropy,
    "soft_classification": _soft_classification,
}
