"""The torch encoder inside a thinc model: loaded when first used, saved as safetensors."""

from __future__ import annotations

import copy
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import srsly
import torch
from thinc.api import Optimizer, PyTorchShim, Shim, get_torch_default_device
from thinc.optimizers import KeyT
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from spacy_deberta.errors import CheckpointError
from spacy_deberta.thinc_layers.optimizer import AdamW, TorchStep
from spacy_deberta.thinc_layers.types import EncoderBatch
from spacy_deberta.thinc_layers.wrapper import encode_batch, predict_batch

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder
    from spacy_deberta.tokenizers import Tokenizer

logger = logging.getLogger(__name__)

_LOADING = threading.RLock()


class DebertaShim(PyTorchShim):
    """Encoder and tokenizer of one model.

    Both are read from `source` when they are first needed; `load`, `from_bytes` or the copy of a
    loaded shim replace that. Each copy, however made, has an id of its own: the optimizer keys its
    state by it.

    Args:
        source: checkpoint folder; None = the embedded model.
        pooling: the way from piece rows to token rows.
    """

    def __init__(self, source: str | None, pooling: str) -> None:
        super().__init__(None)
        self.source = source
        self.pooling = pooling
        self._tokenizer: Tokenizer | None = None
        self._step: TorchStep | None = None

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
        """Read `source`; a model that is already loaded survives a source that is gone.

        Raises:
            CheckpointError: nothing usable is there.
        """
        from spacy_deberta.checkpoints import resolve_source

        try:
            self.load(resolve_source(self.source))
        except CheckpointError as error:
            if not self.is_loaded:
                raise
            logger.warning("The encoder keeps the weights it has: %s", error)

    def load(self, folder: Path) -> None:
        """Read encoder and tokenizer from a checkpoint folder; weights are memory-mapped."""
        from spacy_deberta.checkpoints import load_encoder
        from spacy_deberta.tokenizers import load_tokenizer

        self._take(load_encoder(folder), load_tokenizer(folder))

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that `load`, or any DeBERTa implementation, can read."""
        from spacy_deberta.checkpoints import save_encoder

        save_encoder(self.encoder, folder)
        self.tokenizer.save(folder)

    def to_bytes(self) -> bytes:
        """Encoder and tokenizer in one blob."""
        from spacy_deberta.checkpoints import encoder_to_bytes

        parts = {"encoder": encoder_to_bytes(self.encoder), "tokenizer": self.tokenizer.to_bytes()}
        data: bytes = srsly.msgpack_dumps(parts)
        return data

    def from_bytes(self, bytes_data: bytes) -> DebertaShim:
        """Take encoder and tokenizer from such a blob; `source` is not looked at."""
        from spacy_deberta.checkpoints import encoder_from_bytes
        from spacy_deberta.tokenizers import tokenizer_from_bytes

        parts = srsly.msgpack_loads(bytes_data)
        self._take(encoder_from_bytes(parts["encoder"]), tokenizer_from_bytes(parts["tokenizer"]))
        return self

    def predict(  # type: ignore[override]  # not ArgsKwargs
        self, inputs: EncoderBatch
    ) -> list[Tensor]:
        """Token rows (n_tokens, width) of each Doc in eval mode, in which the encoder is left."""
        encoder = self.encoder
        if encoder.training:
            encoder.eval()
        return predict_batch(encoder, inputs, self.pooling)

    def begin_update(  # type: ignore[override]  # not ArgsKwargs
        self, inputs: EncoderBatch
    ) -> tuple[Tensor, Callable[[Tensor], None]]:
        """Token rows (T, width) in training mode, and the backward from their gradient."""
        encoder = self.encoder
        encoder.train()
        rows = encode_batch(encoder, inputs, self.pooling)

        def backward(d_rows: Tensor) -> None:
            if rows.requires_grad:
                rows.backward(d_rows)

        return rows.detach(), backward

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the weights with the gradients collected so far, if any, and forget these.

        Our AdamW steps all parameters at once; any other optimizer is called for each of them.
        """
        if not self.is_loaded:
            return
        if isinstance(optimizer, AdamW):
            if self._step is None or self._step.optimizer is not optimizer:
                self._step = TorchStep(optimizer, self.encoder, self.id)
            self._step.apply()
        else:
            self._step_each(optimizer)

    def _step_each(self, optimizer: Optimizer) -> None:
        for name, parameter in self.encoder.named_parameters():
            if parameter.grad is None:
                continue
            weights = cast(FloatsXd, torch2xp(parameter.detach()))
            gradient = cast(FloatsXd, torch2xp(parameter.grad))
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

    def _take(self, encoder: DebertaEncoder, tokenizer: Tokenizer) -> None:
        _make_forks_safe()
        self._model = encoder.to(get_torch_default_device())
        self._tokenizer = tokenizer
        self._step = None

    def copy(self) -> DebertaShim:
        """A copy of everything, with an id of its own."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_step": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with Shim.global_id_lock:
            Shim.global_id += 1
            self.id = Shim.global_id


@functools.cache
def _make_forks_safe() -> None:
    """Let forked workers run: torch's threads do not survive a fork, and waiting for them hangs."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
