"""The generator and the discriminator of DeBERTa-v3: their tables, their starts.

The discriminator's tables are the generator's plus differences of its own, which start at zero. Its
loss does not reach the generator's tables: what finds replaced pieces pulls related pieces apart,
what predicts pieces pulls them together.

Source: He et al. 2023 (arXiv:2111.09543), section 3.2; microsoft/DeBERTa,
apps/models/replaced_token_detection_model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spacy_deberta.checkpoints import (
    GENERATOR,
    HEAD_TITLES,
    Checkpoint,
    build_encoder,
    fill_head,
    open_checkpoint,
    resolve_source,
)
from spacy_deberta.checkpoints.files import CONFIG_FILE
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.heads import ReplacedTokenHead, disentangled_table
from spacy_deberta.training.pretraining.models import (
    RANDOM,
    MaskedLM,
    absent_heads,
    check_vocabulary,
    read_shape,
    set_dropout,
    write_model,
)

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer
    from spacy_deberta.training.pretraining.settings import ModelSettings, ObjectiveSettings

GENERATOR_FOLDER = "generator"  # inside the discriminator's

_SHARED_TABLES = ("pieces", "positions")


class SharedTable(nn.Module):
    """Embedding rows: another model's, without their gradient, plus differences that are trained.

    Args:
        source: the other model's table; belongs to that model alone.
        rows: (V, E) what the sum is at first.
    """

    def __init__(self, source: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        self._source = (source,)  # a tuple hides it from torch's list of submodules
        self.delta = nn.Embedding.from_pretrained(
            (rows - source.weight).detach(), freeze=False, padding_idx=source.padding_idx
        )

    @property
    def weight(self) -> Tensor:
        """(V, E), the sum."""
        return disentangled_table(self._source[0].weight, self.delta.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows (..., E) of the sum, which is not made as a whole."""
        theirs = F.embedding(ids, self._source[0].weight.detach())
        mine: Tensor = self.delta(ids)
        return theirs + mine


class Discriminator(nn.Module):
    """An encoder and a new head that finds replaced pieces."""

    def __init__(self, encoder: DebertaEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ReplacedTokenHead(encoder.config)

    def forward(self, pieces: Tensor, lengths: Sequence[int]) -> Tensor:
        """Logits (N,) of ids (N,), above 0 = replaced."""
        hidden = self.encoder(pieces, lengths).last_hidden_state
        sizes = torch.as_tensor(lengths)
        first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes).to(hidden.device)
        logits: Tensor = self.head(hidden, hidden[first])
        return logits

    def share_tables(self, other: DebertaEncoder) -> None:
        """Make the tables sums of another encoder's and differences; their values stay.

        Raises:
            ConfigError: tables of other shapes.
        """
        for name in _SHARED_TABLES:
            mine, theirs = getattr(self.encoder.embeddings, name), getattr(other.embeddings, name)
            if mine is None and theirs is None:
                continue
            mine_shape, their_shape = _shape(mine), _shape(theirs)
            if mine_shape != their_shape:
                raise ConfigError(
                    f"the discriminator's table of {name} has shape {mine_shape}, the generator's "
                    f"{their_shape}; expected the same, as they are shared."
                )
            setattr(self.encoder.embeddings, name, SharedTable(theirs, mine.weight))

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's tensors by the names of `DebertaEncoder`, the sums as its tables."""
        state: dict[str, Tensor] = dict(self.encoder.state_dict())
        for name in _SHARED_TABLES:
            table = getattr(self.encoder.embeddings, name)
            if table is not None:
                del state[f"embeddings.{name}.delta.weight"]
                state[f"embeddings.{name}.weight"] = table.weight.detach()
        return state


class Pair(nn.Module):
    """A generator and a discriminator that shares its tables."""

    def __init__(self, generator: MaskedLM, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        discriminator.share_tables(generator.encoder)

    def save(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Write the discriminator as a checkpoint folder, and the generator as one inside it."""
        self.generator.save(folder / GENERATOR_FOLDER, tokenizer)
        write_model(
            folder,
            self.discriminator.encoder.config,
            self.discriminator.encoder_state(),
            {"rtd": self.discriminator.head.state_dict()},
            "ForReplacedTokenDetection",
        )
        tokenizer.save(folder)


def start_pair(settings: ObjectiveSettings, model: ModelSettings, tokenizer: Tokenizer) -> Pair:
    """The generator and the discriminator that a run begins with, in training mode.

    Two random models share one table from the start. A checkpoint gives the discriminator, and the
    generator too: the one beside it (OUT/generator of a run here, Microsoft's generator file), or
    every second of its own layers up to the last, or as many as the settings say. With
    `fresh_head` the heads that it lacks are new, those that it has are used.

    Args:
        settings: [objective].
        model: [model].
        tokenizer: of the run.

    Raises:
        CheckpointError: a start that cannot be read, or lacks a head.
        ConfigError: a shape that cannot work, or a generator deeper than there are layers.
    """
    if model.init == RANDOM:
        config = read_shape(model, tokenizer)
        n_layers = settings.generator_layers or half(config.num_hidden_layers)
        generator = MaskedLM(DebertaEncoder(replace(config, num_hidden_layers=n_layers)))
        discriminator = Discriminator(DebertaEncoder(config))
        _copy_tables(generator.encoder, discriminator.encoder)
    else:
        folder = resolve_source(model.init)
        checkpoint = open_checkpoint(folder)
        check_vocabulary(checkpoint.config, tokenizer, checkpoint.file)
        discriminator = _read_discriminator(checkpoint, fresh_head=model.fresh_head)
        generator = _read_generator(folder, settings, fresh_head=model.fresh_head)
    pair = Pair(generator, discriminator)
    set_dropout(pair, model.dropout)
    return pair.train()


def half(n_layers: int) -> int:
    """The depth of a generator."""
    return max(1, n_layers // 2)


def keep_layers(encoder: DebertaEncoder, n_layers: int) -> None:
    """Leave layers at even distances, the last one always: heads are trained on that.

    Raises:
        ConfigError: more than there are.
    """
    found = encoder.config.num_hidden_layers
    if n_layers > found:
        raise ConfigError(
            f"objective.generator_layers={n_layers}: expected at most {found}, the layers of the "
            "checkpoint that it starts from."
        )
    chosen = [found * (number + 1) // n_layers - 1 for number in range(n_layers)]
    encoder.layers = nn.ModuleList(encoder.layers[number] for number in chosen)
    encoder.config = replace(encoder.config, num_hidden_layers=n_layers)


def _read_discriminator(checkpoint: Checkpoint, *, fresh_head: bool) -> Discriminator:
    """The encoder of a checkpoint, and its head."""
    discriminator = Discriminator(build_encoder(checkpoint))
    if "rtd" in checkpoint.heads:
        fill_head(discriminator.head, checkpoint, "rtd")
    elif not fresh_head:
        raise CheckpointError(
            f"{checkpoint.file}: holds no {HEAD_TITLES['rtd']}; this file can do: "
            f"{', '.join(checkpoint.tasks)}. Set model.fresh_head = true to begin with a new one."
        )
    return discriminator


def _read_generator(folder: Path, settings: ObjectiveSettings, *, fresh_head: bool) -> MaskedLM:
    """The generator beside a discriminator, or one made of its layers."""
    inner = folder / GENERATOR_FOLDER
    found = inner if (inner / CONFIG_FILE).is_file() else folder
    checkpoint = open_checkpoint(found, part=GENERATOR)
    lacks_head = bool(absent_heads(checkpoint))
    generator = MaskedLM.from_checkpoint(checkpoint, fresh_head=fresh_head and lacks_head)
    depth = generator.encoder.config.num_hidden_layers
    is_discriminator = checkpoint.file == open_checkpoint(folder).file
    n_layers = settings.generator_layers or (half(depth) if is_discriminator else depth)
    keep_layers(generator.encoder, n_layers)
    return generator


def _copy_tables(source: DebertaEncoder, target: DebertaEncoder) -> None:
    for name in _SHARED_TABLES:
        table = cast("nn.Embedding | None", getattr(source.embeddings, name))
        if table is not None:
            getattr(target.embeddings, name).load_state_dict(table.state_dict())


def _shape(table: nn.Embedding | None) -> tuple[int, ...] | None:
    return None if table is None else tuple(table.weight.shape)
