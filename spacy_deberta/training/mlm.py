"""Masked-LM training of an encoder whose input carries absolute positions, from any start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import MaskedLMHead
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.corpus import PieceCorpus
from spacy_deberta.training.masking import Bool, Int64, MaskedBatch, mask_words


@dataclass(frozen=True, kw_only=True)
class MaskedLMSettings:
    """How to train.

    Attributes:
        minutes: wall time; the rate falls to zero over its last `decay_share`.
        windows: window lengths in pieces, special ones included, one per step in turn.
        batch_pieces: pieces per step.
        mask_share: share of words to predict.
        learn_rate: peak rate of AdamW.
        bf16: run the forward pass under bfloat16 autocast.
    """

    minutes: float
    windows: tuple[int, ...] = (128, 128, 64, 128, 128, 384)
    batch_pieces: int = 4096
    mask_share: float = 0.18
    learn_rate: float = 5e-4
    warmup_steps: int = 100
    decay_share: float = 0.3
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    bf16: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """One line of the log."""

    step: int
    pieces: int
    loss: float
    seconds: float


class MaskedLM(torch.nn.Module):
    """Encoder and head as one module."""

    def __init__(self, encoder: DebertaEncoder, head: MaskedLMHead) -> None:
        super().__init__()
        if not encoder.config.position_biased_input:
            raise ConfigError(
                "position_biased_input=False: this encoder needs the enhanced mask decoder to be "
                "trained on masked pieces; expected absolute positions in the input."
            )
        self.encoder = encoder
        self.head = head

    def forward(self, batch: MaskedBatch, lengths: list[int]) -> Tensor:
        """Logits (M, vocab_size) of the batch's targets."""
        hidden = self.encoder(torch.from_numpy(batch.pieces), lengths).last_hidden_state
        rows = hidden.index_select(0, torch.from_numpy(batch.targets))
        logits: Tensor = self.head(rows, self.encoder.embeddings.pieces.weight)
        return logits


class BatchSampler:
    """Endless packed, masked batches from a corpus."""

    def __init__(
        self, corpus: PieceCorpus, tokenizer: UnigramTokenizer, settings: MaskedLMSettings
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._settings = settings
        self._rng = np.random.default_rng(settings.seed)
        self._windows = {size: self._shuffled(size) for size in set(settings.windows)}
        self._next = dict.fromkeys(self._windows, 0)
        pieces = [tokenizer.piece(number) for number in range(tokenizer.n_pieces)]
        self._word_start = np.asarray([piece.startswith("\u2581") for piece in pieces])
        self._special = np.zeros(tokenizer.n_pieces, dtype=bool)
        self._special[[tokenizer.cls_id, tokenizer.sep_id]] = True
        self._first_text_id = 1 + max(
            tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id
        )

    def batch(self, step: int) -> tuple[MaskedBatch, list[int]]:
        """The packed batch of one step and the lengths of its windows."""
        size = self._settings.windows[step % len(self._settings.windows)]
        sequences = []
        while sum(map(len, sequences)) < self._settings.batch_pieces:
            sequences.append(self._sequence(size))
        pieces = np.concatenate(sequences)
        return self.mask(pieces, self._rng), [len(sequence) for sequence in sequences]

    def mask(self, pieces: Int64, rng: np.random.Generator) -> MaskedBatch:
        """Hide words of packed pieces."""
        return mask_words(
            pieces,
            self._word_start[pieces],
            self._maskable(pieces),
            mask_id=self._tokenizer.mask_id,
            random_ids=(self._first_text_id, self._tokenizer.mask_id),
            share=self._settings.mask_share,
            rng=rng,
        )

    def _maskable(self, pieces: Int64) -> Bool:
        return ~self._special[pieces]

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
    model: MaskedLM, sampler: BatchSampler, settings: MaskedLMSettings
) -> Iterator[Progress]:
    """Train in place, one progress record per step."""
    torch.manual_seed(settings.seed)
    model.train()
    optimizer = _optimizer(model, settings)
    started = time.monotonic()
    pieces = 0
    for step in _steps(lambda: (time.monotonic() - started) / (60 * settings.minutes)):
        rate = settings.learn_rate * _rate_factor(step.number, step.share, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch, lengths = sampler.batch(step.number)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            logits = model(batch, lengths)
        loss = F.cross_entropy(logits.float(), torch.from_numpy(batch.labels))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        pieces += len(batch.pieces)
        yield Progress(step.number, pieces, loss.item(), time.monotonic() - started)
    model.eval()


@torch.inference_mode()
def masked_accuracy(
    model: MaskedLM, sampler: BatchSampler, n_batches: int
) -> tuple[float, float]:
    """Share of masked pieces predicted right, and mean loss in nats, on the next batches."""
    model.eval()
    right = count = 0
    loss = 0.0
    for step in range(n_batches):
        batch, lengths = sampler.batch(step)
        logits = model(batch, lengths)
        labels = torch.from_numpy(batch.labels)
        right += int((logits.argmax(-1) == labels).sum())
        loss += float(F.cross_entropy(logits.float(), labels, reduction="sum"))
        count += len(batch.labels)
    return right / count, loss / count


@dataclass(frozen=True)
class _Step:
    number: int
    share: float


def _steps(share_done: Callable[[], float]) -> Iterator[_Step]:
    number = 0
    while (share := share_done()) < 1:
        yield _Step(number, share)
        number += 1


def _rate_factor(step: int, share: float, settings: MaskedLMSettings) -> float:
    """Linear warm-up by steps, then flat, then linear to zero by the share of time used."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return warm * min(1.0, (1 - share) / settings.decay_share)


def _optimizer(model: MaskedLM, settings: MaskedLMSettings) -> torch.optim.AdamW:
    """AdamW; norms, biases and single rows do not decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learn_rate, betas=(0.9, 0.98), fused=True)
