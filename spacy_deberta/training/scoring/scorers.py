"""Copies of texts with hidden pieces in, log-probabilities of what stood there out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spacy_deberta.errors import ConfigError
from spacy_deberta.modeling import DebertaForMaskedLM
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.masking import Bool, Int64

Float64 = npt.NDArray[np.float64]

BATCH_PIECES = 2048  # of one batch, special ones included: its rows stay in the processor's cache
_HEAD_ROWS = 512  # rows to predict at once: with 128,000 pieces, 262 MB of logits
_SPECIALS = 2  # [CLS] and [SEP]


@dataclass(frozen=True, eq=False)
class Copy:
    """A text with some pieces hidden.

    Attributes:
        ids: (N,) its pieces, without special ones, none of them hidden yet.
        hidden: (K,) places where the model reads [MASK].
        targets: (T,) places to predict, each of them hidden.
    """

    ids: Int64
    hidden: Int64
    targets: Int64


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of all targets of all copies, in the order in which they were given.

    Attributes:
        log_probabilities: (T,) of the piece that stood there, in nats.
        right: (T,) true where no piece is more probable.
    """

    log_probabilities: Float64
    right: Bool


class Scorer(Protocol):
    """What predicts hidden pieces.

    Attributes:
        longest: pieces of the longest text that it reads, special ones not counted; None = any.
    """

    longest: int | None

    def predict(self, copies: Sequence[Copy]) -> Predictions:
        """The targets of some copies."""


class MaskedScorer:
    """A masked-LM model: encoder and head over packed batches, copies of like length together.

    A bidirectional encoder can share nothing among the copies of a text, so a text of N pieces
    costs N passes over it. Only hidden rows go through the head (and the mask decoder), and the
    logarithm of the softmax is taken in float32 whatever the weights have.

    Args:
        model: in eval mode.
        tokenizer: of the texts.
        batch_pieces: most pieces of a batch, special ones included; a longer copy goes alone.

    Raises:
        ConfigError: the tokenizer has pieces that the model does not know, or no batch size.
    """

    def __init__(
        self, model: DebertaForMaskedLM, tokenizer: Tokenizer, batch_pieces: int = BATCH_PIECES
    ) -> None:
        if tokenizer.n_pieces > model.config.vocab_size:
            raise ConfigError(
                f"config.json: found vocab_size={model.config.vocab_size}, expected at least the "
                f"{tokenizer.n_pieces} pieces of the tokenizer beside it. Use the tokenizer that "
                "the model was trained with."
            )
        if batch_pieces < 1:
            raise ConfigError(f"batch_pieces={batch_pieces}: expected at least 1 piece in a batch.")
        self.model = model
        self.longest: int | None = model.config.max_position_embeddings - _SPECIALS
        self._batch_pieces = batch_pieces
        self._ends = (tokenizer.cls_id, tokenizer.sep_id)
        self._mask_id = tokenizer.mask_id

    def predict(self, copies: Sequence[Copy]) -> Predictions:
        """The targets of some copies.

        Raises:
            ConfigError: a copy with more than `longest` pieces, where that is a limit.
        """
        firsts = np.cumsum([0, *(len(copy.targets) for copy in copies)])
        found = np.zeros(firsts[-1])
        right = np.zeros(firsts[-1], dtype=bool)
        for numbers in self._batches(copies):
            values, best = self._predict([copies[number] for number in numbers])
            places = [np.arange(firsts[number], firsts[number + 1]) for number in numbers]
            found[np.concatenate(places)] = values
            right[np.concatenate(places)] = best
        return Predictions(found, right)

    def checksum(self) -> str:
        """SHA-256 of all weights as they are used, in whatever files they came."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _batches(self, copies: Sequence[Copy]) -> Iterator[list[int]]:
        """Numbers of the copies of each batch, the longest batch first: memory fails early."""
        sizes = np.asarray([len(copy.ids) + _SPECIALS for copy in copies], dtype=np.int64)
        batch: list[int] = []
        filled = 0
        for number in np.argsort(-sizes, kind="stable").tolist():
            size = int(sizes[number])
            if batch and filled + size > self._batch_pieces:
                yield batch
                batch, filled = [], 0
            batch.append(number)
            filled += size
        if batch:
            yield batch

    def _predict(self, copies: Sequence[Copy]) -> tuple[Float64, Bool]:
        lengths = [len(copy.ids) + _SPECIALS for copy in copies]
        starts = np.cumsum(lengths) - lengths + 1
        pieces = np.concatenate([self._sequence(copy) for copy in copies])
        rows = np.concatenate([c.targets + start for c, start in zip(copies, starts, strict=True)])
        labels = np.concatenate([copy.ids[copy.targets] for copy in copies])
        device = self.model.device
        with torch.inference_mode():
            hidden = self._hidden(
                torch.from_numpy(pieces).to(device), lengths, torch.from_numpy(rows).to(device)
            )
            return self._judge(hidden, torch.from_numpy(labels).to(device))

    def _sequence(self, copy: Copy) -> Int64:
        """(N + 2,) what the encoder reads."""
        sequence = np.empty(len(copy.ids) + _SPECIALS, dtype=np.int64)
        sequence[0], sequence[-1] = self._ends
        sequence[1:-1] = copy.ids
        sequence[1 + copy.hidden] = self._mask_id
        return sequence

    def _hidden(self, pieces: Tensor, lengths: list[int], rows: Tensor) -> Tensor:
        """(M, hidden_size) what the head reads of the rows to predict."""
        model = self.model
        if model.decoder is None:
            return model.encoder(pieces, lengths).last_hidden_state[rows]
        states = model.encoder(pieces, lengths, hidden_states=True).hidden_states
        decoded: Tensor = model.decoder(model.encoder, states[-2], lengths, rows)
        return decoded

    def _judge(self, hidden: Tensor, labels: Tensor) -> tuple[Float64, Bool]:
        """Log-probability of each label, and whether none is more probable."""
        table = self.model.get_input_embeddings().weight
        chances, right = [], []
        for rows, wanted in zip(hidden.split(_HEAD_ROWS), labels.split(_HEAD_ROWS), strict=True):
            logits = self.model.head(rows, table).float()
            label_logits = logits.gather(1, wanted[:, None]).squeeze(1)
            chances.append(label_logits - logits.logsumexp(-1))
            right.append(label_logits >= logits.amax(-1))
        return torch.cat(chances).double().cpu().numpy(), torch.cat(right).cpu().numpy()


class UnigramScorer:
    """Piece frequencies, blind to all context: what a model must beat to have learned grammar.

    Args:
        counts: (V,) how often each piece occurs in some text; each is taken once more than that.
    """

    longest: int | None = None

    def __init__(self, counts: Int64) -> None:
        smoothed = counts + 1.0
        self._log_probabilities: Float64 = np.log(smoothed / smoothed.sum())

    def predict(self, copies: Sequence[Copy]) -> Predictions:
        """The targets of some copies."""
        labels = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(copy.ids[copy.targets] for copy in copies)]
        )
        found = self._log_probabilities[labels]
        return Predictions(found, found >= self._log_probabilities.max())
