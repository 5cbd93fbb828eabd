"""The torch encoder inside a thinc model: loaded when first used, saved as safetensors."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import srsly
import torch
from thinc.api import Optimizer, PyTorchShim, Shim
from thinc.optimizers import KeyT
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn

from spacy_deberta.errors import CheckpointError, PipelineError
from spacy_deberta.thinc_layers.compute import (
    Compute,
    lowered,
    make_forks_safe,
    narrowest_dtype,
    refuse_lost_device,
)
from spacy_deberta.thinc_layers.optimizer import AdamW, TorchStep, parameter_depth, warn_skipped
from spacy_deberta.thinc_layers.types import EncoderBatch
from spacy_deberta.thinc_layers.wrapper import attention_squares, encode_batch, predict_batch

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder
    from spacy_deberta.encoder.cache import WeightCache
    from spacy_deberta.tokenizers import Tokenizer

logger = logging.getLogger(__name__)

_LOADING = threading.RLock()
_MAX_BLOB = 2**32 - 1  # bytes in one entry of a msgpack


class DebertaShim(PyTorchShim):
    """Encoder and tokenizer of one model.

    Both are read from `source` when they are first needed; `load`, `from_bytes` or the copy of a
    loaded shim replace that. Each copy, however made, has an id of its own: the optimizer keys its
    state by it.

    Args:
        source: checkpoint folder or hub name; None = the embedded model.
        pooling: the way from piece rows to token rows.
        compute: where, and in which precision.

    Attributes:
        revision: of the source, on the hub.
    """

    def __init__(self, source: str | None, pooling: str, compute: Compute | None = None) -> None:
        super().__init__(None)
        self.source = source
        self.revision: str | None = None
        self.pooling = pooling
        self.compute = compute or Compute()
        self._saved_in: Path | None = None
        self._tokenizer: Tokenizer | None = None
        self._trained_layers: int | None = None
        self._forget_derived()

    def _forget_derived(self) -> None:
        """Drop what belongs to the weights there were."""
        self._step: TorchStep | None = None
        self._scaler: torch.amp.GradScaler | None = None
        self._lowered: WeightCache[DebertaEncoder] | None = None

    # Weights

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._model is not None

    @property
    def encoder(self) -> DebertaEncoder:
        """The encoder; read from `source` if there is none yet."""
        if self._model is None:
            with _LOADING:
                if self._model is None:
                    self.load_source()
        encoder: DebertaEncoder = self._model
        return encoder

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that belongs to the encoder."""
        if self._tokenizer is None:
            self.load_source()
        assert self._tokenizer is not None
        return self._tokenizer

    def load_source(self) -> None:
        """Read `source`; if it is gone, a saved pipeline goes back to the weights in its folder.

        Raises:
            CheckpointError: nothing usable is there.
        """
        from spacy_deberta.checkpoints import resolve_source

        try:
            self._read(resolve_source(self.source, revision=self.revision))
        except CheckpointError as error:
            if not self.is_loaded:
                raise
            saved_in = self._saved_in
            if saved_in is not None and saved_in.is_dir():
                self._read(saved_in)
                logger.warning("The encoder starts from its weights in %s: %s", saved_in, error)
            else:
                logger.warning("The encoder keeps the weights it has: %s", error)

    def load(self, folder: Path) -> None:
        """Read the folder of a saved component; weights are memory-mapped."""
        self._read(folder)
        self._saved_in = folder.resolve()

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that `load`, or any DeBERTa implementation, can read.

        Weights that fit into 16 bits, as those of a file of that kind do until they are trained,
        are saved in 16 bits.
        """
        from spacy_deberta.checkpoints import save_encoder

        save_encoder(self.encoder, folder, dtype=narrowest_dtype(self.encoder.parameters()))
        self.tokenizer.save(folder)

    def to_bytes(self) -> bytes:
        """Encoder and tokenizer in one blob.

        Raises:
            PipelineError: it does not fit into one.
        """
        from spacy_deberta.checkpoints import encoder_to_bytes

        parts = {"encoder": encoder_to_bytes(self.encoder), "tokenizer": self.tokenizer.to_bytes()}
        if len(parts["encoder"]) > _MAX_BLOB:
            raise PipelineError(
                f"the encoder has {len(parts['encoder']):,} bytes, and to_bytes can hold "
                f"{_MAX_BLOB:,}. Use to_disk, which has no limit."
            )
        data: bytes = srsly.msgpack_dumps(parts)
        return data

    def from_bytes(self, bytes_data: bytes) -> DebertaShim:
        """Take encoder and tokenizer from such a blob; `source` is not looked at."""
        from spacy_deberta.checkpoints import encoder_from_bytes
        from spacy_deberta.tokenizers import tokenizer_from_bytes

        parts = srsly.msgpack_loads(bytes_data)
        self._take(encoder_from_bytes(parts["encoder"]), tokenizer_from_bytes(parts["tokenizer"]))
        return self

    def _read(self, folder: Path) -> None:
        from spacy_deberta.checkpoints import load_encoder
        from spacy_deberta.tokenizers import load_tokenizer

        self._take(load_encoder(folder), load_tokenizer(folder))

    def _take(self, encoder: DebertaEncoder, tokenizer: Tokenizer) -> None:
        n_rows = encoder.config.vocab_size
        if tokenizer.n_pieces > n_rows:
            raise CheckpointError(
                f"source={self.source!r}: the tokenizer has {tokenizer.n_pieces} pieces, but the "
                f"encoder's table has vocab_size={n_rows} rows. Use the tokenizer files that "
                "belong to these weights."
            )
        make_forks_safe()
        self._model = encoder.to(self.compute.place())
        encoder.gradient_checkpointing = self.compute.gradient_checkpointing
        self._tokenizer = tokenizer
        self._forget_derived()
        self.train_last(self._trained_layers)

    # Prediction

    def predict(  # type: ignore[override]  # not ArgsKwargs
        self, inputs: EncoderBatch, layers: Sequence[int] = ()
    ) -> list[Tensor]:
        """Token rows of each Doc in eval mode, in which the encoder is left.

        Returns:
            (n_tokens, columns) float32: the rows of these layers, then of the last one.
        """
        return predict_batch(self.for_prediction(), inputs, self.pooling, layers)

    def attentions(self, inputs: EncoderBatch) -> list[Tensor]:
        """Attention probabilities (layers, heads, L, L) float32 of each window of a batch."""
        return attention_squares(self.for_prediction(), inputs)

    def for_prediction(self) -> DebertaEncoder:
        """The encoder in eval mode, in the precision that is asked for."""
        encoder = self.encoder
        if encoder.training:
            encoder.eval()
        refuse_lost_device(encoder.embeddings.pieces.weight.device)
        dtype = self.compute.dtype
        if dtype == torch.float32:
            return encoder
        if self._lowered is None:
            from spacy_deberta.encoder.cache import WeightCache

            self._lowered = WeightCache()
        with torch.no_grad():
            return self._lowered.get([*encoder.parameters()], lambda: lowered(encoder, dtype))

    # Training

    def begin_update(  # type: ignore[override]  # not ArgsKwargs
        self, inputs: EncoderBatch, layers: Sequence[int] = ()
    ) -> tuple[Tensor, Callable[[Tensor], None]]:
        """Token rows (T, columns), as in `predict`, in training mode, and their backward."""
        encoder, autocast = self.for_training()
        with autocast:
            rows = encode_batch(encoder, inputs, self.pooling, layers)

        def backward(d_rows: Tensor) -> None:
            if rows.requires_grad:
                rows.backward(self.scaled(d_rows))

        return rows.detach(), backward

    def for_training(self) -> tuple[DebertaEncoder, torch.autocast]:
        """The encoder in training mode, and the context in which it is to be called."""
        encoder = self.encoder.train()
        device = encoder.embeddings.pieces.weight.device
        if self.compute.precision == "fp16" and self._scaler is None:
            self._scaler = torch.amp.GradScaler(device.type)
        return encoder, self.compute.autocast(device)

    def scaled(self, gradient: Tensor) -> Tensor:
        """The gradient of rows as the backward takes it; in fp16 it would vanish otherwise."""
        return gradient if self._scaler is None else self._scaler.scale(gradient)

    def train_last(self, n_layers: int | None) -> None:
        """Train the last layers only, the others not even forming gradients; None = everything.

        The embeddings and the position table count as one layer below the first.
        """
        self._trained_layers = n_layers
        if not self.is_loaded:
            return
        encoder = self.encoder
        depths = encoder.config.num_hidden_layers
        for name, parameter in encoder.named_parameters():
            trained = n_layers is None or parameter_depth(name, depths) < n_layers
            parameter.requires_grad_(trained)
            if not trained:
                parameter.grad = None

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the weights with the gradients collected so far, if any, and forget these.

        Our AdamW steps all parameters at once; any other optimizer is called for each of them.
        """
        named = dict(self.encoder.named_parameters()) if self.is_loaded else {}
        trained = {name: weight for name, weight in named.items() if weight.grad is not None}
        if not trained:
            return
        if self._scaler is not None:
            self._scaler.unscale_(torch.optim.SGD(trained.values()))
            self._scaler.update()
        if isinstance(optimizer, AdamW):
            if self._step is None or self._step.optimizer is not optimizer:
                self._step = TorchStep(optimizer, self.encoder, self.id)
            self._step.apply(warn=self._scaler is None)  # fp16 finds its scale by such steps
        else:
            self._step_each(optimizer, trained)

    def _step_each(self, optimizer: Optimizer, trained: Mapping[str, nn.Parameter]) -> None:
        gradients = [p.grad for p in trained.values() if p.grad is not None]
        finite = bool(nn.utils.get_total_norm(gradients).isfinite())
        if not finite and self._scaler is None:
            warn_skipped("the encoder")
        for name, parameter in trained.items():
            if finite:
                weights = cast(FloatsXd, torch2xp(parameter.detach()))
                gradient = cast(FloatsXd, torch2xp(cast(Tensor, parameter.grad)))
                updated, _ = optimizer((self.id, name), weights, gradient)
                with torch.no_grad():
                    parameter.copy_(xp2torch(updated, device=parameter.device))
            parameter.grad = None

    @contextmanager
    def use_params(self, params: Mapping[KeyT, FloatsXd]) -> Iterator[None]:
        """Work with other weights, such as an optimizer's averages, inside a `with` block."""
        named = dict(self._model.named_parameters()) if self.is_loaded else {}
        found = {name: params[self.id, name] for name in named if (self.id, name) in params}
        kept = {name: named[name].detach().clone() for name in found}
        self._assign({n: xp2torch(w, device=named[n].device) for n, w in found.items()})
        try:
            yield
        finally:
            self._assign(kept)

    def _assign(self, weights: Mapping[str, Tensor]) -> None:
        if not weights:
            return
        self.encoder.train()  # drops whatever eval mode derived from the old weights
        with torch.no_grad():
            for name, parameter in self.encoder.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    # Copies

    def copy(self) -> DebertaShim:
        """A copy of everything, with an id of its own."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_step": None, "_scaler": None, "_lowered": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with Shim.global_id_lock:
            Shim.global_id += 1
            self.id = Shim.global_id
