"""Masked-LM training of an encoder whose input carries absolute positions, from any start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.checkpoints import load_encoder, load_masked_lm_head, save_encoder
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import MaskedLMHead, masked_lm_loss
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.corpus import PieceCorpus
from spacy_deberta.training.loop import Progress, RatedModule, RunSettings, silence_dropout, train
from spacy_deberta.training.masking import Int64, MaskedBatch, WordHider

_SHORTEST_WINDOW = 3  # pieces: [CLS], one of text, [SEP]


@dataclass(frozen=True, kw_only=True)
class MaskedLMSettings:
    """What to train on.

    Attributes:
        windows: window lengths in pieces, special ones included, one per step in turn.
        batch_pieces: pieces per step.
        mask_share: share of words to predict.
        seed: of the order of windows and of the masks.
    """

    windows: tuple[int, ...] = (128, 128, 64, 128, 128, 384)
    batch_pieces: int = 4096
    mask_share: float = 0.18
    seed: int = 0

    def fitting(self, longest: int) -> MaskedLMSettings:
        """The same with windows of at most so many pieces."""
        return replace(self, windows=tuple(min(size, longest) for size in self.windows))

    def __post_init__(self) -> None:
        if not self.windows or min(self.windows) < _SHORTEST_WINDOW:
            raise ConfigError(
                f"windows={self.windows}: expected lengths of at least {_SHORTEST_WINDOW} pieces."
            )


class MaskedLM(torch.nn.Module):
    """Encoder and head as one module.

    Raises:
        ConfigError: an encoder that needs the enhanced mask decoder.
    """

    def __init__(self, encoder: DebertaEncoder, head: MaskedLMHead) -> None:
        super().__init__()
        if not encoder.config.position_biased_input:
            raise ConfigError(
                "position_biased_input=False: this encoder needs the enhanced mask decoder to be "
                "trained on masked pieces; expected absolute positions in the input."
            )
        self.encoder = encoder
        self.head = head

    @classmethod
    def open(cls, folder: Path, *, fresh_head: bool) -> MaskedLM:
        """The encoder of a checkpoint folder, without dropout, and its head or a random one.

        Raises:
            CheckpointError: the folder holds no head, and a fresh one was not asked for.
        """
        encoder = load_encoder(folder)
        silence_dropout(encoder)
        if fresh_head:
            return cls(encoder, MaskedLMHead(encoder.config))
        return cls(encoder, load_masked_lm_head(folder, encoder))

    def save(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Write encoder, head and tokenizer as a checkpoint folder in fp16."""
        save_encoder(self.encoder, folder, head=self.head, dtype=torch.float16)
        tokenizer.save(folder)

    def forward(self, batch: MaskedBatch, lengths: list[int]) -> Tensor:
        """Logits (M, vocab_size) of the batch's targets."""
        hidden = self.encoder(torch.from_numpy(batch.pieces), lengths).last_hidden_state
        rows = hidden.index_select(0, torch.from_numpy(batch.targets))
        logits: Tensor = self.head(rows, self.encoder.embeddings.pieces.weight)
        return logits


class BatchSampler:
    """Endless packed, masked batches from a corpus."""

    def __init__(
        self, corpus: PieceCorpus, tokenizer: Tokenizer, settings: MaskedLMSettings
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._settings = settings
        self._rng = np.random.default_rng(settings.seed)
        self._windows = {size: self._shuffled(size) for size in set(settings.windows)}
        self._next = dict.fromkeys(self._windows, 0)
        self._hider = WordHider(tokenizer, settings.mask_share)

    def batch(self, step: int) -> tuple[MaskedBatch, list[int]]:
        """The packed batch of one step and the lengths of its windows."""
        size = self._settings.windows[step % len(self._settings.windows)]
        sequences: list[Int64] = []
        lengths: list[int] = []
        while sum(lengths) < self._settings.batch_pieces:
            sequences.append(self._sequence(size))
            lengths.append(len(sequences[-1]))
        return self._hider.hide(np.concatenate(sequences), self._rng), lengths

    def _sequence(self, size: int) -> Int64:
        windows, number = self._windows[size], self._next[size]
        self._next[size] = (number + 1) % len(windows)
        start, end = windows[number]
        content = self._corpus.pieces[start:end].astype(np.int64)
        return np.concatenate([[self._tokenizer.cls_id], content, [self._tokenizer.sep_id]])

    def _shuffled(self, size: int) -> Int64:
        windows = self._corpus.windows(size - 2)
        self._rng.shuffle(windows)
        return windows


def train_masked_lm(
    model: MaskedLM, sampler: BatchSampler, run: RunSettings, *, learn_rate: float, bf16: bool
) -> Iterator[Progress]:
    """Train in place, one progress record per step; read it to the end."""

    def objective(step: int) -> tuple[Tensor, int]:
        batch, lengths = sampler.batch(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(batch, lengths)
        return masked_lm_loss(logits, torch.from_numpy(batch.labels)), len(batch.pieces)

    return train([RatedModule(model, learn_rate)], objective, run)


@torch.inference_mode()
def masked_accuracy(model: MaskedLM, sampler: BatchSampler, n_batches: int) -> tuple[float, float]:
    """Share of masked pieces predicted right, and mean loss in nats, on the next batches."""
    model.eval()
    right = count = 0
    loss = 0.0
    for step in range(n_batches):
        batch, lengths = sampler.batch(step)
        logits = model(batch, lengths)
        labels = torch.from_numpy(batch.labels)
        right += int((logits.argmax(-1) == labels).sum())
        loss += float(masked_lm_loss(logits, labels)) * len(labels)
        count += len(batch.labels)
    return right / max(1, count), loss / max(1, count)
