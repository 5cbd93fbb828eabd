"""Models that judge whole sequences: classification, regression, multiple choice."""

from __future__ import annotations

from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import DataError
from spacy_deberta.heads import ChoiceHead, SequenceHead, choice_loss, sequence_loss
from spacy_deberta.modeling.base import DebertaPreTrainedModel, DebertaV2PreTrainedModel
from spacy_deberta.modeling.outputs import MultipleChoiceModelOutput, SequenceClassifierOutput


class DebertaForSequenceClassification(DebertaPreTrainedModel):
    """Logits of the labels of a sequence, from its first real piece."""

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__(config, attention)
        self.head = SequenceHead(config)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {"pooler_classifier": self.head}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> SequenceClassifierOutput:
        """Classify a batch.

        Args:
            input_ids: this and the others as in `DebertaModel.forward`.
            attention_mask: (B, L).
            token_type_ids: (B, L).
            position_ids: (B, L).
            inputs_embeds: (B, L, embedding_size).
            labels: (B,) classes, negative = ignored; or what config.problem_type asks for, see
                `heads.sequence_loss`.
            output_hidden_states: see there.
            output_attentions: see there.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        logits = self.head(encoded.first(encoded.last()).squeeze(1))
        return SequenceClassifierOutput(
            loss=None if labels is None else sequence_loss(logits, labels, self.config),
            logits=logits,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


class DebertaForMultipleChoice(DebertaPreTrainedModel):
    """Logits of several sequences of which one is right."""

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__(config, attention)
        self.head = ChoiceHead(config)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {"pooler_classifier": self.head}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> MultipleChoiceModelOutput:
        """Score the choices of a batch of questions.

        Args:
            input_ids: (B, C, L); this and the others as in `DebertaModel.forward`, with B * C
                sequences.
            attention_mask: (B, C, L).
            token_type_ids: (B, C, L).
            position_ids: (B, C, L).
            inputs_embeds: (B, C, L, embedding_size).
            labels: (B,) number of the right choice; negative = ignored.
            output_hidden_states: see there.
            output_attentions: see there.

        Raises:
            DataError: an argument without the dimension of the choices.
        """
        encoded = self.encode(
            (
                _flatten("input_ids", input_ids, 3),
                _flatten("attention_mask", attention_mask, 3),
                _flatten("token_type_ids", token_type_ids, 3),
                _flatten("position_ids", position_ids, 3),
                _flatten("inputs_embeds", inputs_embeds, 4),
            ),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        given = input_ids if inputs_embeds is None else inputs_embeds
        n_choices = 1 if given is None else given.shape[1]
        logits = self.head(encoded.first(encoded.last()).squeeze(1), n_choices)
        return MultipleChoiceModelOutput(
            loss=None if labels is None else choice_loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


def _flatten(name: str, values: Tensor | None, n_dimensions: int) -> Tensor | None:
    """(B, C, ...) to (B * C, ...)."""
    if values is not None and values.ndim != n_dimensions:
        raise DataError(
            f"{name}: found shape {tuple(values.shape)}, expected {n_dimensions} dimensions, "
            "the first two (batch, choices)."
        )
    return None if values is None else values.flatten(0, 1)


class DebertaV2ForSequenceClassification(
    DebertaForSequenceClassification, DebertaV2PreTrainedModel
):
    """`DebertaForSequenceClassification` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""


class DebertaV2ForMultipleChoice(DebertaForMultipleChoice, DebertaV2PreTrainedModel):
    """`DebertaForMultipleChoice` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""
