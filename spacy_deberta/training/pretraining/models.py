"""The models that are pre-trained, from random weights or from checkpoints, and back to folders.

An encoder that adds absolute positions to its input predicts masked pieces from its last layer, any
other through the enhanced mask decoder, which has the positions; both as Microsoft trains them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from spacy_deberta.checkpoints import (
    DISCRIMINATOR,
    GENERATOR,
    HEAD_TITLES,
    Checkpoint,
    build_encoder,
    fill_modules,
    open_checkpoint,
    read_config,
    resolve_source,
    resolve_tokenizer_source,
    state_tensors,
)
from spacy_deberta.checkpoints.files import write_config, write_weights
from spacy_deberta.checkpoints.json_file import read_object
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.encoder.attention import DisentangledAttention
from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.heads import EnhancedMaskDecoder, MaskedLMHead
from spacy_deberta.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer
    from spacy_deberta.training.pretraining.settings import DataSettings, ModelSettings

RANDOM = "random"  # the `init` that reads no weights
ROW_MULTIPLE = 64  # rows; a new piece table is padded to a multiple, for aligned matrix products

_ABOUT_FILES = ("architectures", "dtype", "torch_dtype", "transformers_version")  # of the start


class MaskedLM(nn.Module):
    """Encoder, mask decoder where the input has no absolute positions, and masked-LM head.

    The last two are new ones.

    Raises:
        ConfigError: an encoder without positions in its input whose tables are narrower than its
            layers: the mask decoder cannot serve it.
    """

    def __init__(self, encoder: DebertaEncoder) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.head = MaskedLMHead(config)
        self.decoder = None if config.position_biased_input else EnhancedMaskDecoder(config)

    def forward(self, pieces: Tensor, lengths: Sequence[int], targets: Tensor) -> Tensor:
        """Predict some pieces; no other row goes through the decoder and the head.

        Args:
            pieces: (N,) ids, sequences one after the other.
            lengths: pieces of each sequence.
            targets: (M,) places in `pieces`.

        Returns:
            Logits (M, vocab_size).
        """
        if self.decoder is None:
            rows = self.encoder(pieces, lengths).last_hidden_state.index_select(0, targets)
        else:
            output = self.encoder(pieces, lengths, hidden_states=True)
            rows = self.decoder(self.encoder, output.hidden_states[-2], lengths, targets)
        logits: Tensor = self.head(rows, self.encoder.embeddings.pieces.weight)
        return logits

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, fresh_head: bool) -> Self:
        """The encoder of a checkpoint with its head and the positions of its mask decoder.

        Args:
            checkpoint: of any format.
            fresh_head: draw the head and the positions anew.

        Raises:
            CheckpointError: the file does not fit its config, or holds no head that was trained
                the way this encoder is.
        """
        model = cls(build_encoder(checkpoint))
        if fresh_head:
            return model
        absent = absent_heads(checkpoint)
        if absent:
            titles = " and no ".join(HEAD_TITLES[kind] for kind in absent)
            raise CheckpointError(
                f"{checkpoint.file}: holds no {titles}; this file can do: "
                f"{', '.join(checkpoint.tasks)}. Set model.fresh_head = true to begin with a new "
                "head."
            )
        fill_modules(model.heads(checkpoint), checkpoint)
        return model

    def heads(self, checkpoint: Checkpoint | None = None) -> dict[str, nn.Module]:
        """What stands on the encoder, by the kinds of heads in checkpoints.

        Args:
            checkpoint: to be read from. Where it has the head under the names of `transformers`,
                which is fed with the last layer, that is the plain head of this encoder, too.
        """
        if self.decoder is not None:
            return {"mlm": self.head, "mask_decoder": self.decoder}
        found = checkpoint.heads if checkpoint else {}
        return {"legacy_mlm" if "legacy_mlm" in found and "mlm" not in found else "mlm": self.head}

    def save(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Write a checkpoint folder that fills masks."""
        heads = {kind: head.state_dict() for kind, head in self.heads().items()}
        # So that `transformers` builds this head, not one of its own (cls.predictions).
        config = replace(self.encoder.config, legacy=False, tie_word_embeddings=False)
        write_model(folder, config, self.encoder.state_dict(), heads, "ForMaskedLM")
        tokenizer.save(folder)


def absent_heads(checkpoint: Checkpoint) -> list[str]:
    """Kinds of heads that `MaskedLM` needs and a checkpoint lacks."""
    held = checkpoint.heads
    if checkpoint.config.position_biased_input:
        return [] if "legacy_mlm" in held or "mlm" in held else ["mlm"]
    return [kind for kind in ("mlm", "mask_decoder") if kind not in held]


def start_masked_lm(model: ModelSettings, tokenizer: Tokenizer) -> MaskedLM:
    """The masked-LM model that a run begins with, in training mode.

    What is drawn at random comes from torch's global generator: seed it before. Of a pair of
    generator and discriminator the first is meant, which fills masks; with `fresh_head` the second.

    Args:
        model: [model] of the settings.
        tokenizer: of the run.

    Raises:
        CheckpointError: a start that cannot be read, or lacks its head.
        ConfigError: a shape that cannot work, or one too small for the vocabulary.
    """
    if model.init == RANDOM:
        started = MaskedLM(DebertaEncoder(read_shape(model, tokenizer)))
    else:
        part = DISCRIMINATOR if model.fresh_head else GENERATOR
        checkpoint = open_checkpoint(resolve_source(model.init), part=part)
        started = MaskedLM.from_checkpoint(checkpoint, fresh_head=model.fresh_head)
        check_vocabulary(started.encoder.config, tokenizer, checkpoint.file)
    set_dropout(started, model.dropout)
    return started.train()


def read_shape(model: ModelSettings, tokenizer: Tokenizer) -> DebertaConfig:
    """The config of a random start: a file, with the keys of [model.shape] instead of its own.

    Without a vocab_size there it is the tokenizer's, rounded up.

    Args:
        model: [model] of the settings.
        tokenizer: of the run.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigError: no shape, a value that cannot work, or too few pieces.
    """
    if model.config is None and not model.shape:
        raise ConfigError(
            f"model.init='{RANDOM}' without model.config and [model.shape]: expected the path of a "
            "config.json, or its keys."
        )
    content: dict[str, Any] = {}
    file = "[model.shape]"
    if model.config is not None:
        path = Path(model.config).expanduser()
        content = read_config(path) if path.is_dir() else read_object(path)
        file = str(path)
    size = -(-tokenizer.n_pieces // ROW_MULTIPLE) * ROW_MULTIPLE
    defaults = {"vocab_size": size, "pad_token_id": tokenizer.pad_id}
    config = DebertaConfig.from_dict({**defaults, **content, **model.shape}, file)
    check_vocabulary(config, tokenizer, file)
    return config


def check_vocabulary(config: DebertaConfig, tokenizer: Tokenizer, file: str) -> None:
    """Refuse a model without a row for every piece.

    Raises:
        ConfigError: naming the file.
    """
    if config.vocab_size < tokenizer.n_pieces:
        raise ConfigError(
            f"{file}: vocab_size={config.vocab_size}, but the tokenizer has {tokenizer.n_pieces} "
            "pieces; expected at least as many rows. Use the tokenizer that belongs to the model, "
            "or another shape."
        )


def choose_tokenizer(model: ModelSettings, data: DataSettings) -> Tokenizer:
    """The tokenizer of a run: the one that [data] names, or that of the start.

    Raises:
        TokenizerError: a folder without a tokenizer that can be read.
        ConfigError: random weights, and no tokenizer named.
    """
    if data.tokenizer is None and model.init == RANDOM:
        raise ConfigError(
            f"data.tokenizer=None with model.init='{RANDOM}': expected the folder of a tokenizer; "
            "`python -m spacy_deberta train-tokenizer` makes one."
        )
    return load_tokenizer(resolve_tokenizer_source(data.tokenizer or model.init))


def set_dropout(module: nn.Module, share: float) -> None:
    """One dropout everywhere, also none.

    The config, which is saved with the weights, keeps its own: fine-tuning wants it.
    """
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = share
        if isinstance(part, DisentangledAttention):
            part.dropout = share


def write_model(
    folder: Path,
    config: DebertaConfig,
    encoder: Mapping[str, Tensor],
    heads: Mapping[str, Mapping[str, Tensor]],
    title: str,
) -> None:
    """Write config.json and float32 weights in the layout of the released files.

    Args:
        folder: made if absent; each file is replaced as a whole.
        config: the shape.
        encoder: tensors by the names of `DebertaEncoder`.
        heads: the same by kind of head.
        title: how the class is called behind the model's name, such as "ForMaskedLM".
    """
    tensors = state_tensors(config, encoder, heads)
    write_weights(folder, {n: t.detach().to("cpu", torch.float32) for n, t in tensors.items()})
    family = type(config).__name__.removesuffix("Config")
    kept: dict[str, Any] = {k: v for k, v in config.to_dict().items() if k not in _ABOUT_FILES}
    write_config(folder, {"architectures": [f"{family}{title}"], **kept})
