"""What every DeBERTa model can do: load, save, resize, and encode a rectangle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from spacy_deberta.checkpoints import (
    DISCRIMINATOR,
    GENERATOR,
    GENERATOR_FILE,
    Checkpoint,
    fill_modules,
    open_checkpoint,
    resolve_source,
    state_tensors,
    unfilled,
)
from spacy_deberta.checkpoints.files import (
    WEIGHTS_FILE,
    narrow,
    write_config,
    write_h5,
    write_weights,
)
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.modeling.encode import Encoded, encode
from spacy_deberta.modeling.inputs import Arguments, read_inputs
from spacy_deberta.modeling.loading import read_dtype, with_fresh_heads, with_labels

FORMATS = ("safetensors", "h5")

# What `transformers` notes about the file that a config was read from; a new file has its own.
_ABOUT_FILE = ("architectures", "dtype", "torch_dtype", "transformers_version")


class DebertaPreTrainedModel(nn.Module):
    """Encoder and heads of one model, and the files they come from.

    Made from a config, its weights are drawn at random: N(0, initializer_range), biases 0.

    Args:
        config: the shape.
        attention: name of an attention path, or "auto".

    Attributes:
        config_class: what the config must be.
        mask_decoders: names that `from_pretrained` accepts for `mask_decoder`.
        checkpoint_part: which of the two models of a v3 training run is wanted.
        encoder: takes packed rows; the models themselves take rectangles.

    Raises:
        ConfigError: the config of another family.
    """

    config_class: ClassVar[type[DebertaConfig]] = DebertaConfig
    mask_decoders: ClassVar[tuple[str, ...]] = ("auto",)
    checkpoint_part: ClassVar[str] = DISCRIMINATOR

    def __init__(self, config: DebertaConfig, attention: str = "auto") -> None:
        super().__init__()
        self._check_family(config, "config")
        self.encoder = DebertaEncoder(config, attention)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None,
        *,
        config: DebertaConfig | None = None,
        num_labels: int | None = None,
        id2label: Mapping[int, str] | None = None,
        allow_missing_head: bool = False,
        mask_decoder: str = "auto",
        dtype: torch.dtype | str | None = None,
        attention: str = "auto",
        revision: str | None = None,
    ) -> Self:
        """A trained model, in eval mode.

        Every tensor of the file is accounted for: what is missing, unknown, of a wrong shape or
        not finite stops with its name. Heads for other tasks are left aside.

        Args:
            source: a checkpoint folder or a name on the hub; None = the embedded model.
            config: instead of the config.json there.
            num_labels: instead of the config's.
            id2label: names of the labels instead of the config's.
            allow_missing_head: draw a head at random where the file holds none, or one for
                another number of labels; otherwise that is an error.
            mask_decoder: of masked-LM models, what runs between encoder and head: "emd" (the
                enhanced mask decoder), "plain" (nothing), "legacy" (nothing; the head that
                `transformers` trains), or "auto": what the file was trained with.
            dtype: precision of the weights; float32 whatever the file has, unless given.
            attention: name of an attention path, or "auto".
            revision: of a name on the hub.

        Raises:
            CheckpointError: a file is missing or damaged, or does not hold what this model needs;
                says which tasks it can do.
            ConfigError: a setting that cannot work.
        """
        if mask_decoder not in cls.mask_decoders:
            accepted = ", ".join(cls.mask_decoders)
            raise ConfigError(
                f"mask_decoder={mask_decoder!r}: expected one of {accepted} for a {cls.__name__}."
            )
        precision = read_dtype(dtype)
        folder = resolve_source(
            None if source is None else str(source),
            revision=revision,
            prefer=GENERATOR_FILE if cls.checkpoint_part == GENERATOR else None,
        )
        checkpoint = open_checkpoint(folder, part=cls.checkpoint_part, config=config)
        checkpoint = with_labels(checkpoint, num_labels, id2label)
        cls._check_family(checkpoint.config, checkpoint.file)
        with unfilled():
            model = cls._build(checkpoint, attention, mask_decoder, fresh=allow_missing_head)
        heads = model.heads()
        if allow_missing_head:
            checkpoint = with_fresh_heads(checkpoint, heads)
        fill_modules({"encoder": model.encoder, **heads}, checkpoint)
        return model.to(precision).eval()

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        format: str = "safetensors",
        dtype: torch.dtype | str | None = None,
    ) -> None:
        """Write config.json and the weights in the layout of the released files.

        Args:
            folder: made if absent; the files are replaced as a whole.
            format: "safetensors", or "h5" for what TensorFlow's classes read.
            dtype: precision of the file, float32 unless given.

        Raises:
            ConfigError: an unknown format, or a precision that h5 files do not have.
            CheckpointError: a value is too large for the precision; TensorFlow has no class for
                this model; or an h5 file would stand beside weights that are read before it.
        """
        precision = read_dtype(dtype)
        if format not in FORMATS or (format == "h5" and precision != torch.float32):
            raise ConfigError(
                f"format={format!r}, dtype={dtype!r}: expected 'safetensors', or 'h5' in float32."
            )
        heads = {kind: head.state_dict() for kind, head in self.heads().items()}
        found = state_tensors(self.config, self.encoder.state_dict(), heads)
        tensors = narrow(found, precision, Path(folder) / WEIGHTS_FILE)
        content = self.config.to_dict()
        kept = {key: value for key, value in content.items() if key not in _ABOUT_FILE}
        if format == "h5":
            write_h5(Path(folder), tensors, type(self).__name__)
        else:
            write_weights(Path(folder), tensors)
        write_config(Path(folder), {"architectures": [type(self).__name__], **kept})

    @property
    def config(self) -> DebertaConfig:
        """The shape; a new one after `resize_token_embeddings`."""
        return self.encoder.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.get_input_embeddings().weight.dtype

    def heads(self) -> dict[str, nn.Module]:
        """The heads, by their kind in checkpoints."""
        return {}

    def encode(
        self, arguments: Arguments, *, output_hidden_states: bool, output_attentions: bool
    ) -> Encoded:
        """Check the arguments that all models share, and run the encoder over them.

        Args:
            arguments: the first five of `DebertaModel.forward`.
            output_hidden_states: keep every layer's output.
            output_attentions: keep every layer's attention probabilities.
        """
        return encode(
            self.encoder,
            read_inputs(self.config, *arguments),
            hidden_states=output_hidden_states,
            attentions=output_attentions,
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """The piece table."""
        return self.encoder.embeddings.pieces

    def num_parameters(self, *, only_trainable: bool = False) -> int:
        """Number of values in all weights."""
        counted = (p for p in self.parameters() if p.requires_grad or not only_trainable)
        return sum(parameter.numel() for parameter in counted)

    def resize_token_embeddings(self, n_pieces: int) -> nn.Embedding:
        """Give the vocabulary another size: new pieces are drawn at random, padding keeps its row.

        Make optimizers afterwards.

        Raises:
            ConfigError: no size, or one without the padding piece.
        """
        self.encoder.resize_pieces(n_pieces)
        return self.get_input_embeddings()

    def gradient_checkpointing_enable(self) -> None:
        """In training, compute the inner results of layers twice instead of keeping them."""
        self.encoder.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep the inner results of layers again."""
        self.encoder.gradient_checkpointing = False

    @classmethod
    def _build(
        cls, checkpoint: Checkpoint, attention: str, mask_decoder: str, *, fresh: bool
    ) -> Self:
        """The model that a checkpoint asks for, unfilled."""
        return cls(checkpoint.config, attention)

    @classmethod
    def _check_family(cls, config: DebertaConfig, origin: str) -> None:
        if type(config) is not cls.config_class:
            family = type(config).__name__.removesuffix("Config")
            raise ConfigError(
                f"{origin}: found a {type(config).__name__} (model_type {config.model_type!r}), "
                f"expected a {cls.config_class.__name__} for {cls.__name__}. Use the {family} "
                "class for the same task."
            )


class DebertaV2PreTrainedModel(DebertaPreTrainedModel):
    """`DebertaPreTrainedModel` for the layout of DeBERTa-v2, DeBERTa-v3 and mDeBERTa."""

    config_class = DebertaV2Config
