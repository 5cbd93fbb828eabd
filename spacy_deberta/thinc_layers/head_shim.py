"""A torch head inside a thinc layer: built late, saved as safetensors, stepped as other heads."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import safetensors.torch
import torch
from thinc.api import Optimizer, PyTorchShim, Shim, get_torch_default_device
from thinc.optimizers import KeyT
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn

from spacy_deberta.errors import CheckpointError, PipelineError

if TYPE_CHECKING:
    from spacy_deberta.config import DebertaConfig

# By kind: the forms of head in checkpoints (`checkpoints.HEAD_NAMES`), the first for new heads.
KINDS = {
    "token": ("classifier", "ner_proj"),
    "sequence": ("pooler_classifier",),
    "span": ("qa",),
    "choice": ("pooler_classifier",),
    "mlm": ("mlm", "legacy_mlm"),
}

_LENGTH = struct.Struct("<Q")  # bytes of the description in front of the weights


class HeadShim(PyTorchShim):
    """One head; each copy, however made, has an id of its own: the optimizer keys its state by it.

    Args:
        kind: a key of KINDS.

    Attributes:
        keeps_weights: the weights are a checkpoint's; the next `init` of the layer keeps them.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(None)
        self.kind = kind
        self.form = KINDS[kind][0]
        self.keeps_weights = False
        self._config: DebertaConfig | None = None

    @property
    def module(self) -> nn.Module:
        """The head.

        Raises:
            PipelineError: it is not built yet.
        """
        if self._model is None:
            raise PipelineError(
                f"the '{self.kind}' head has no weights yet; call nlp.initialize(), or load a "
                "pipeline or a checkpoint that has them."
            )
        module: nn.Module = self._model
        return module

    @property
    def config(self) -> DebertaConfig:
        """The shape of the head."""
        assert self._config is not None
        return self._config

    @property
    def n_out(self) -> int:
        """Logits per row."""
        sizes = {"span": 2, "choice": 1, "mlm": self.config.vocab_size}
        return sizes.get(self.kind, self.config.num_labels)

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return next(self.module.parameters()).device

    def build(self, width: int, n_out: int) -> None:
        """A new head, drawn at random."""
        from spacy_deberta.config import DebertaV2Config

        config = DebertaV2Config(
            vocab_size=1,
            hidden_size=width,
            num_attention_heads=1,
            intermediate_size=width,
            num_labels=n_out,
        )
        self._take(config, KINDS[self.kind][0])

    def build_tied(self, encoder: DebertaConfig) -> None:
        """A new head in front of an encoder's piece table."""
        self._take(encoder, KINDS[self.kind][0])

    def load(self, folder: Path, n_out: int | None) -> DebertaConfig:
        """Take the head of a checkpoint; its config.

        Raises:
            CheckpointError: there is none, or one with another number of logits than n_out.
        """
        from spacy_deberta.checkpoints import (
            DISCRIMINATOR,
            GENERATOR,
            fill_head,
            open_checkpoint,
            unfilled,
        )

        part = GENERATOR if self.kind == "mlm" else DISCRIMINATOR
        found = open_checkpoint(folder, part=part)
        if "mask_decoder" in found.heads and self.kind == "mlm":
            raise CheckpointError(
                f"{found.file}: its masked-LM head was trained behind the enhanced mask decoder, "
                "which this component does not run. Leave `head` out to train a new head."
            )
        forms = KINDS[self.kind]
        form = next((form for form in forms if form in found.heads), forms[0])
        with unfilled():
            module = _build(form, self.kind, found.config)
        fill_head(module, found, form)
        self._take(found.config, form, module)
        if n_out is not None and n_out != self.n_out:
            raise CheckpointError(
                f"{found.file}: its head has {self.n_out} logits, expected {n_out}, the number of "
                "labels of the component. Let the component take its labels from the checkpoint."
            )
        self.keeps_weights = True
        return found.config

    def logits(self, rows: Tensor, table: Tensor | None) -> Tensor:
        """Logits (N, n_out) of rows (N, width)."""
        if self.kind == "mlm":
            return cast(Tensor, self.module(rows, table))
        found = self.module(rows, 1) if self.kind == "choice" else self.module(rows)
        return cast(Tensor, found)

    def set_dropout(self, rate: float) -> None:
        """Give every dropout of the head this rate, apart from the pooler's own in front."""
        for name, module in self.module.named_modules():
            if isinstance(module, nn.Dropout) and not name.startswith("pooler."):
                module.p = rate

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the weights with the gradients collected so far, and forget these."""
        if self._model is None:
            return
        for name, parameter in self.module.named_parameters():
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
        named = {} if self._model is None else dict(self.module.named_parameters())
        found = {name: p for name, p in named.items() if (self.id, name) in params}
        kept = {name: parameter.detach().clone() for name, parameter in found.items()}
        with torch.no_grad():
            for name, parameter in found.items():
                parameter.copy_(xp2torch(params[self.id, name], device=parameter.device))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in found.items():
                    parameter.copy_(kept[name])

    def to_bytes(self) -> bytes:
        """Form, config and weights in one blob; empty before there are weights."""
        if self._model is None:
            return b""
        about = {"form": self.form, "config": self.config.to_dict()}
        text = json.dumps(about, sort_keys=True).encode("utf-8")
        tensors = {n: t.detach().cpu().contiguous() for n, t in self.module.state_dict().items()}
        weights: bytes = safetensors.torch.save(tensors)
        return _LENGTH.pack(len(text)) + text + weights

    def from_bytes(self, bytes_data: bytes) -> HeadShim:
        """Take the head from such a blob.

        Raises:
            CheckpointError: the bytes are cut or damaged.
        """
        if not bytes_data:
            return self
        try:
            end = _LENGTH.size + _LENGTH.unpack_from(bytes_data)[0]
            about = json.loads(bytes_data[_LENGTH.size : end])
            weights = safetensors.torch.load(bytes_data[end:])
        except (struct.error, ValueError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"bytes of a '{self.kind}' head: damaged ({error}).") from error
        from spacy_deberta.checkpoints import unfilled
        from spacy_deberta.config import DebertaConfig

        config = DebertaConfig.from_dict(about["config"])
        with unfilled():
            module = _build(about["form"], self.kind, config)
        module.load_state_dict(weights, assign=True)
        self._take(config, about["form"], module)
        return self

    def _take(self, config: DebertaConfig, form: str, module: nn.Module | None = None) -> None:
        made = _build(form, self.kind, config) if module is None else module
        self._model = made.requires_grad_().to(get_torch_default_device())
        self._config, self.form = config, form
        self.keeps_weights = False

    def copy(self) -> HeadShim:
        """A copy of everything, with an id of its own."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with Shim.global_id_lock:
            Shim.global_id += 1
            self.id = Shim.global_id


def _build(form: str, kind: str, config: DebertaConfig) -> nn.Module:
    from spacy_deberta import heads

    modules: dict[str, type[nn.Module]] = {
        "classifier": heads.TokenHead,
        "ner_proj": heads.ProjectedTokenHead,
        "pooler_classifier": heads.ChoiceHead if kind == "choice" else heads.SequenceHead,
        "qa": heads.SpanHead,
        "mlm": heads.MaskedLMHead,
        "legacy_mlm": heads.LegacyMaskedLMHead,
    }
    return modules[form](config)
