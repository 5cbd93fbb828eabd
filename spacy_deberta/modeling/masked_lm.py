"""Models that fill masks.

What runs between the encoder and the head depends on how the two were trained (`mask_decoder`):

    emd      the enhanced mask decoder: Microsoft's releases, of v3 the generators
    plain    nothing, the head reads the last layer: positions in the input, or `transformers`
             with legacy=false
    legacy   nothing, a head of other names (cls.predictions): `transformers` with legacy=true

The enhanced mask decoder costs two more layers for every piece that it predicts, so it predicts
those that are asked for; see `DebertaForMaskedLM.forward`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from spacy_deberta.checkpoints import GENERATOR, GENERATOR_FILE, Checkpoint
from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.heads import (
    EnhancedMaskDecoder,
    LegacyMaskedLMHead,
    MaskedLMHead,
    masked_lm_loss,
)
from spacy_deberta.modeling.base import DebertaPreTrainedModel, DebertaV2PreTrainedModel
from spacy_deberta.modeling.encode import Encoded
from spacy_deberta.modeling.outputs import MaskedLMOutput
from spacy_deberta.modeling.packed import Packed
from spacy_deberta.modeling.token import learned

MASK_DECODERS = ("auto", "emd", "plain", "legacy")


class DebertaForMaskedLM(DebertaPreTrainedModel):
    """Logits over the vocabulary.

    Args:
        config: the shape. The model's own says with `legacy` which head it has, and with
            `tie_word_embeddings` what `transformers` needs to read that head.
        attention: name of an attention path, or "auto".
        mask_decoder: "emd", "plain" or "legacy"; "auto" = "emd", or "plain" where absolute
            positions are in the input or the tables are narrower than the layers.

    Raises:
        ConfigError: the config of another family, or one that the mask decoder cannot serve.
    """

    mask_decoders = MASK_DECODERS
    checkpoint_part = GENERATOR

    def __init__(
        self, config: DebertaConfig, attention: str = "auto", mask_decoder: str = "auto"
    ) -> None:
        if mask_decoder not in MASK_DECODERS:
            accepted = ", ".join(MASK_DECODERS)
            raise ConfigError(f"mask_decoder={mask_decoder!r} is unknown; supported: {accepted}.")
        chosen = fitting_decoder(config) if mask_decoder == "auto" else mask_decoder
        legacy = chosen == "legacy"
        tied = config.tie_word_embeddings and legacy
        super().__init__(replace(config, legacy=legacy, tie_word_embeddings=tied), attention)
        self.mask_decoder = chosen
        self.decoder = EnhancedMaskDecoder(config) if chosen == "emd" else None
        self.head = LegacyMaskedLMHead(config) if legacy else MaskedLMHead(config)

    @classmethod
    def _build(
        cls, checkpoint: Checkpoint, attention: str, mask_decoder: str, *, fresh: bool
    ) -> Self:
        chosen = mask_decoder
        if mask_decoder == "auto":
            chosen = held_decoder(checkpoint) or ("auto" if fresh else refuse_absent(checkpoint))
        return cls(checkpoint.config, attention, chosen)

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        decoder = {} if self.decoder is None else {"mask_decoder": self.decoder}
        return {"legacy_mlm" if self.mask_decoder == "legacy" else "mlm": self.head, **decoder}

    def resize_token_embeddings(self, n_pieces: int) -> nn.Embedding:
        """`DebertaPreTrainedModel.resize_token_embeddings`; the bias of new pieces is 0."""
        table = super().resize_token_embeddings(n_pieces)
        old = self.head.bias
        grown = old.new_zeros(n_pieces)
        kept = min(n_pieces, len(old))
        grown[:kept] = old.detach()[:kept]
        self.head.bias = nn.Parameter(grown, requires_grad=old.requires_grad)
        return table

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        prediction_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> MaskedLMOutput:
        """Predict pieces of a batch.

        Args:
            input_ids: this and the others as in `DebertaModel.forward`.
            attention_mask: (B, L).
            token_type_ids: (B, L).
            position_ids: (B, L); the enhanced mask decoder reads them, too.
            inputs_embeds: (B, L, embedding_size).
            labels: (B, L) ids of the pieces; negative = ignored, and so is padding.
            prediction_mask: (B, L) integers or bool, 1 = predict this piece. None = every real
                piece; behind the enhanced mask decoder those with a label, without labels those
                with the id that the config knows as `mask_token_id`, every real one without it.
            output_hidden_states: see there.
            output_attentions: see there.

        Returns:
            Logits are zeros where nothing was asked for.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds),
            output_hidden_states=output_hidden_states or self.decoder is not None,
            output_attentions=output_attentions,
        )
        keep = encoded.rectangle.keep
        asked = keep & self._asked(keep, input_ids, labels, prediction_mask)
        targets = None if labels is None else learned(labels, keep)
        if encoded.packed is None:
            logits = self._predict_all(encoded).masked_fill(~asked[..., None], 0.0)
            loss = None if targets is None else masked_lm_loss(logits, learned(targets, asked))
        else:
            slots = asked.flatten().nonzero().squeeze(1)
            rows = self._predict(encoded.states, encoded.packed, slots)
            loss = None if targets is None else masked_lm_loss(rows, targets.flatten()[slots])
            if len(slots) < asked.numel():
                empty = rows.new_zeros(asked.numel(), rows.shape[-1])
                rows = empty.index_copy(0, slots, rows)
            logits = rows.unflatten(0, asked.shape)
        return MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=encoded.hidden_states(asked=output_hidden_states),
            attentions=encoded.attentions,
        )

    def predict_rows(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        prediction_mask: Tensor,
        *,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """The logits that `forward` gives at some pieces, without a place for all the others.

        Args:
            input_ids: (B, L), as the others.
            attention_mask: (B, L) integers or bool, 1 = a real piece; None = all are.
            prediction_mask: (B, L) integers or bool, 1 = predict this piece; M of them are real.
            token_type_ids: (B, L).

        Returns:
            (M, V), sequence after sequence, from left to right.
        """
        encoded = self.encode(
            (input_ids, attention_mask, token_type_ids, None, None),
            output_hidden_states=self.decoder is not None,
            output_attentions=False,
        )
        keep = encoded.rectangle.keep
        slots = (keep & self._asked(keep, input_ids, None, prediction_mask)).flatten()
        if encoded.packed is None:  # being recorded by torch.export or torch.compile
            return self._predict_all(encoded).flatten(0, 1)[slots]
        return self._predict(encoded.states, encoded.packed, slots.nonzero().squeeze(1))

    def _asked(
        self,
        keep: Tensor,
        input_ids: Tensor | None,
        labels: Tensor | None,
        prediction_mask: Tensor | None,
    ) -> Tensor:
        """(B, L) bool: which pieces to predict."""
        for name, given in (("prediction_mask", prediction_mask), ("labels", labels)):
            if given is not None and given.shape != keep.shape:
                found, expected = tuple(given.shape), tuple(keep.shape)
                raise DataError(
                    f"{name}: found shape {found}, expected {expected}, one value for each piece."
                )
        mask_id = self.config.extra.get("mask_token_id")
        if prediction_mask is not None:
            return prediction_mask.bool()
        if self.decoder is None:
            return keep
        if labels is not None:
            return labels >= 0
        return keep if mask_id is None or input_ids is None else input_ids == mask_id

    def _predict(self, states: tuple[Tensor, ...], packed: Packed, slots: Tensor) -> Tensor:
        """Logits (M, V) of the pieces at some slots of the rectangle."""
        spans = packed.spans
        rows = slots if spans.slots is None else torch.searchsorted(spans.slots, slots)
        if self.decoder is None:
            hidden = states[-1][rows]
        else:
            hidden = self.decoder(
                self.encoder,
                states[-2],
                spans.lengths,
                rows,
                packed.extras.positions,
                holes=spans.holes,
            )
        logits: Tensor = self.head(hidden, self.get_input_embeddings().weight)
        return logits

    def _predict_all(self, encoded: Encoded) -> Tensor:
        """Logits (B, L, V) of all pieces, while `torch.export` or `torch.compile` records."""
        hidden = encoded.last()
        if self.decoder is not None:
            rectangle = encoded.rectangle
            hidden = self.decoder.rectangle(
                self.encoder, encoded.states[-2], rectangle.keep, rectangle.positions
            )
        logits: Tensor = self.head(hidden, self.get_input_embeddings().weight)
        return logits


def fitting_decoder(config: DebertaConfig) -> str:
    """The mask decoder that Microsoft trains a model of this shape with."""
    narrow = config.embedding_size != config.hidden_size
    return "plain" if config.position_biased_input or narrow else "emd"


def held_decoder(checkpoint: Checkpoint) -> str | None:
    """The mask decoder that a checkpoint was trained with; None = no head, or not to be known."""
    held, config = checkpoint.heads, checkpoint.config
    if "mlm" in held and "mask_decoder" in held:
        return "emd"
    if "mlm" in held and (config.position_biased_input or not config.legacy):
        return "plain"
    return "legacy" if "legacy_mlm" in held else None


def refuse_absent(checkpoint: Checkpoint) -> str:
    """Say what a checkpoint lacks for filling masks.

    Raises:
        CheckpointError: always.
    """
    can = f"this file can do: {', '.join(checkpoint.tasks)}"
    if "mlm" in checkpoint.heads:
        raise CheckpointError(
            f"{checkpoint.file}: holds a masked-LM head ('lm_predictions') without "
            "'embeddings.position_embeddings.weight', the positions of the mask decoder that such "
            f"heads are trained behind; {can}. Use the original file; mask_decoder='plain' would "
            "feed the head what it was not trained on."
        )
    raise CheckpointError(
        f"{checkpoint.file}: holds no masked-LM head ('lm_predictions' or 'cls.predictions') "
        f"trained with its encoder; {can}. The masks of DeBERTa-v3 are filled by its generator: "
        f"put its {GENERATOR_FILE} into the folder. allow_missing_head=True draws a new head."
    )


class DebertaV2ForMaskedLM(DebertaForMaskedLM, DebertaV2PreTrainedModel):
    """`DebertaForMaskedLM` for DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""
