"""Where an encoder computes, and in which precision."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from thinc.api import get_torch_default_device
from torch import Tensor, nn

from spacy_deberta.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder

AUTO = "auto"  # device: where thinc computes
ROWS_AT_ONCE = 2**14  # of a table that is looked through
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """How an encoder computes; the weights that are trained and saved are float32 in any case.

    Attributes:
        precision: of the products: fp32, bf16 or fp16; rows come out in float32.
        device: "auto" = where thinc computes; or torch's name of a device. No cupy is needed.
        gradient_checkpointing: in training, compute the inside of a layer again in the backward
            pass instead of keeping it: less memory, more time.

    Raises:
        ConfigError: an unknown precision or device.
    """

    precision: str = "fp32"
    device: str = AUTO
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision={self.precision!r} is unknown; supported: {', '.join(PRECISIONS)}."
            )
        if self.device != AUTO:
            try:
                torch.device(self.device)
            except RuntimeError as error:
                raise ConfigError(
                    f"device={self.device!r} is no device ({str(error).splitlines()[0]}); use "
                    '"auto", "cpu", "cuda" or one of several such as "cuda:1".'
                ) from error

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers in products."""
        return PRECISIONS[self.precision]

    def place(self) -> torch.device:
        """The device, once it is clear that it is there and has this precision.

        Raises:
            ConfigError: it is not, or has not.
        """
        named = self.device != AUTO
        device = torch.device(self.device) if named else get_torch_default_device()
        if device.type == "cuda" and not _has_cuda(device):
            raise ConfigError(
                f"device={self.device!r}: torch finds {torch.cuda.device_count()} CUDA devices "
                'here. Use device="cpu"; for a saved pipeline, spacy.load(..., '
                'config={"components.deberta.model.device": "cpu"}).'
            )
        if self.precision == "fp16" and device.type != "cuda":
            raise ConfigError(
                f"precision='fp16' needs a CUDA device, this encoder is on '{device}'. Use "
                "precision='bf16' or 'fp32'; for a saved pipeline, spacy.load(..., "
                'config={"components.deberta.model.precision": "fp32"}).'
            )
        return device

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which the encoder is trained: its weights stay float32."""
        low = self.precision != "fp32"
        return torch.autocast(device.type, self.dtype if low else torch.bfloat16, enabled=low)


def lowered(encoder: DebertaEncoder, dtype: torch.dtype) -> DebertaEncoder:
    """A copy for prediction with weights of another type; float32 ones are never copied."""
    weights: dict[int, object] = {
        id(weight): nn.Parameter(weight.detach().to(dtype), requires_grad=False)
        for weight in encoder.parameters()
    }
    return copy.deepcopy(encoder, weights).eval()


def narrowest_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The type in which numbers can be saved without loss: 16 bits if they came from there."""
    parts = [part for tensor in tensors for part in tensor.detach().split(ROWS_AT_ONCE)]
    for dtype in (torch.float16, torch.bfloat16):
        if all(torch.equal(part.to(dtype).float(), part.float()) for part in parts):
            return dtype
    return torch.float32


def _has_cuda(device: torch.device) -> bool:
    return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()


class _Fork:
    """What a forked process has lost."""

    had_cuda = False
    lost_cuda = False


@functools.cache
def make_forks_safe() -> None:
    """Let forked workers run: torch's threads do not survive a fork, and waiting for them hangs."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def refuse_lost_device(device: torch.device) -> None:
    """Refuse, instead of hanging, to compute on a GPU that only the parent process can use."""
    if device.type == "cuda" and _Fork.lost_cuda:
        raise PipelineError(
            f"this worker process was forked from one that uses {device}, so it cannot use it. "
            'Call multiprocessing.set_start_method("spawn") before nlp.pipe(n_process=...), or '
            "use one process: a GPU is no faster with several."
        )


def _before_fork() -> None:
    _Fork.had_cuda = torch.cuda.is_initialized()


def _after_fork() -> None:
    torch.set_num_threads(1)
    _Fork.lost_cuda = _Fork.had_cuda
