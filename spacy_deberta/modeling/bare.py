"""The encoder without a head."""

from __future__ import annotations

from torch import Tensor

from spacy_deberta.modeling.base import DebertaPreTrainedModel, DebertaV2PreTrainedModel
from spacy_deberta.modeling.outputs import BaseModelOutput


class DebertaModel(DebertaPreTrainedModel):
    """One row for every piece."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BaseModelOutput:
        """Encode a batch. All models take these arguments, and more for their loss.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L) integers or bool, 1 = a real piece; padding may stand at either
                end, and masked pieces anywhere. None = all pieces are real.
            token_type_ids: (B, L); without effect where type_vocab_size is 0, as in all released
                models.
            position_ids: (B, L) absolute positions; None = the column. Distances between pieces
                are those of their columns all the same.
            inputs_embeds: (B, L, embedding_size) in the place of input_ids.
            output_hidden_states: also return the embeddings and every layer's output.
            output_attentions: also return every layer's attention probabilities.

        Returns:
            Zeros in padding, and for sequences without any real piece.

        Raises:
            DataError: an argument of a wrong shape or type, or ids out of range.
            ConfigError: sequences longer than the table of absolute positions in use.
            PathError: attentions of an attention path that does not form them.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        return BaseModelOutput(
            last_hidden_state=encoded.last(),
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )


class DebertaV2Model(DebertaModel, DebertaV2PreTrainedModel):
    """`DebertaModel` for the layout of DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""
