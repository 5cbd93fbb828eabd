"""Replaced-token detection: the head of DeBERTa-v3's discriminator, and its shared table."""

from __future__ import annotations

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder.layer import ACTIVATION_FUNCTIONS
from spacy_deberta.heads.dense import new_linear
from spacy_deberta.heads.losses import binary_cross_entropy


class ReplacedTokenHead(nn.Module):
    """norm(row + first row), dense, activation, one logit: was this piece replaced?

    Source: He et al. 2023 (arXiv:2111.09543); the order is that of microsoft/DeBERTa,
    apps/models/replaced_token_detection_model.py. It reads the last layer, without mask decoder.
    """

    def __init__(self, config: DebertaConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dense = new_linear(config.hidden_size, config.hidden_size, config)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.classifier = new_linear(config.hidden_size, 1, config)

    def forward(self, hidden: Tensor, first_rows: Tensor) -> Tensor:
        """Logits; above 0 means replaced.

        Args:
            hidden: (..., hidden_size) rows of the last layer.
            first_rows: the row of the first piece of each row's sequence, in a shape that
                broadcasts with `hidden`.

        Returns:
            (...).
        """
        rows = self.norm(hidden + first_rows)
        logits: Tensor = self.classifier(self.activation(self.dense(rows)))
        return logits.squeeze(-1)


def rtd_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sigmoid cross-entropy over the pieces, special ones included.

    Args:
        logits: (...).
        labels: (...) 1 = replaced, 0 = original; negative = ignored, as padding must be.
    """
    return binary_cross_entropy(logits, labels)


def disentangled_table(generator_table: Tensor, delta: Tensor) -> Tensor:
    """The discriminator's embedding table under gradient-disentangled sharing.

    The discriminator trains the difference alone: its loss does not reach the generator's table.

    Args:
        generator_table: (V, E).
        delta: (V, E), zeros at the start of training; `_weight` in Microsoft's files.

    Returns:
        (V, E).

    Source: He et al. 2023 (arXiv:2111.09543), section 3.2.
    """
    return generator_table.detach() + delta
