"""Models that judge every piece: labels, answers, replaced pieces."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from spacy_deberta.checkpoints import Checkpoint
from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import (
    ProjectedTokenHead,
    ReplacedTokenHead,
    SpanHead,
    TokenHead,
    rtd_loss,
    span_loss,
    token_loss,
)
from spacy_deberta.modeling.base import DebertaPreTrainedModel, DebertaV2PreTrainedModel
from spacy_deberta.modeling.outputs import (
    QuestionAnsweringModelOutput,
    ReplacedTokenOutput,
    TokenClassifierOutput,
)

_IGNORED = -100  # label of a piece that is not to be learned
_TOKEN_HEADS: dict[str, type[TokenHead] | type[ProjectedTokenHead]] = {
    "classifier": TokenHead,
    "ner_proj": ProjectedTokenHead,
}


class DebertaForTokenClassification(DebertaPreTrainedModel):
    """Logits of the labels of every piece.

    Args:
        config: the shape.
        attention: name of an attention path, or "auto".
        head: "classifier", or "ner_proj" for the deeper head of Microsoft's NER models.

    Raises:
        ConfigError: the config of another family, or an unknown head.
    """

    def __init__(
        self, config: DebertaConfig, attention: str = "auto", head: str = "classifier"
    ) -> None:
        super().__init__(config, attention)
        if head not in _TOKEN_HEADS:
            raise ConfigError(f"head={head!r} is unknown; supported: {', '.join(_TOKEN_HEADS)}.")
        self.head_kind = head
        self.head = _TOKEN_HEADS[head](config)

    @classmethod
    def _build(
        cls, checkpoint: Checkpoint, attention: str, mask_decoder: str, *, fresh: bool
    ) -> Self:
        head = "ner_proj" if "ner_proj" in checkpoint.heads else "classifier"
        return cls(checkpoint.config, attention, head)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {self.head_kind: self.head}

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
    ) -> TokenClassifierOutput:
        """Label the pieces of a batch.

        Args:
            input_ids: this and the others as in `DebertaModel.forward`.
            attention_mask: (B, L).
            token_type_ids: (B, L).
            position_ids: (B, L).
            inputs_embeds: (B, L, embedding_size).
            labels: (B, L) classes; negative = ignored, and so is padding.
            output_hidden_states: see there.
            output_attentions: see there.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        keep = encoded.rectangle.keep
        logits = self.head(encoded.last()).masked_fill(~keep[..., None], 0.0)
        return TokenClassifierOutput(
            loss=None if labels is None else token_loss(logits, learned(labels, keep)),
            logits=logits,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


class DebertaForQuestionAnswering(DebertaPreTrainedModel):
    """Logits of where an answer starts and where it ends."""

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__(config, attention)
        self.head = SpanHead(config)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {"qa": self.head}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> QuestionAnsweringModelOutput:
        """Find the answers of a batch.

        Args:
            input_ids: this and the others as in `DebertaModel.forward`.
            attention_mask: (B, L).
            token_type_ids: (B, L).
            position_ids: (B, L).
            inputs_embeds: (B, L, embedding_size).
            start_positions: (B,) column of the answer's first piece; one that is negative, beyond
                the rectangle or in padding is ignored.
            end_positions: (B,) column of its last piece; there is a loss if both are given.
            output_hidden_states: see there.
            output_attentions: see there.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        keep = encoded.rectangle.keep
        logits = self.head(encoded.last()).masked_fill(~keep[..., None], 0.0)
        starts, ends = logits.unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = span_loss(starts, ends, start_positions, end_positions, keep=keep)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=starts,
            end_logits=ends,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


class DebertaForReplacedTokenDetection(DebertaPreTrainedModel):
    """One logit for every piece: was it put in the place of another?

    The task of DeBERTa-v3's pre-training; its released files hold this head.
    """

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__(config, attention)
        self.head = ReplacedTokenHead(config)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {"rtd": self.head}

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
    ) -> ReplacedTokenOutput:
        """Find the replaced pieces of a batch.

        Args:
            input_ids: this and the others as in `DebertaModel.forward`.
            attention_mask: (B, L).
            token_type_ids: (B, L).
            position_ids: (B, L).
            inputs_embeds: (B, L, embedding_size).
            labels: (B, L) 1 = replaced, 0 = original; negative = ignored, and so is padding.
            output_hidden_states: see there.
            output_attentions: see there.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        keep, hidden = encoded.rectangle.keep, encoded.last()
        logits = self.head(hidden, encoded.first(hidden)).masked_fill(~keep, 0.0)
        return ReplacedTokenOutput(
            loss=None if labels is None else rtd_loss(logits, learned(labels, keep)),
            logits=logits,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


def learned(labels: Tensor, keep: Tensor) -> Tensor:
    """Labels (B, L) without those of padding; those of another shape are left to the loss."""
    if labels.shape != keep.shape:
        return labels
    signed = labels if labels.is_floating_point() else labels.long()
    return signed.masked_fill(~keep, _IGNORED)


class DebertaV2ForTokenClassification(DebertaForTokenClassification, DebertaV2PreTrainedModel):
    """`DebertaForTokenClassification` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""


class DebertaV2ForQuestionAnswering(DebertaForQuestionAnswering, DebertaV2PreTrainedModel):
    """`DebertaForQuestionAnswering` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""


class DebertaV2ForReplacedTokenDetection(
    DebertaForReplacedTokenDetection, DebertaV2PreTrainedModel
):
    """`DebertaForReplacedTokenDetection` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""
