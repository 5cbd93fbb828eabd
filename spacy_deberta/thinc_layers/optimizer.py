"""AdamW for a whole pipeline: one thinc optimizer, which the encoder's shim recognizes.

    thinc heads   call the optimizer parameter by parameter, as thinc does it
    encoder       TorchStep: one fused torch.optim.AdamW over all its parameters, with the rates,
                  decay and clipping read from the same thinc optimizer at every step

Both are decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
"""

import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from thinc.api import Optimizer, get_array_module
from thinc.optimizers import FloatOrSeq, KeyT
from thinc.types import FloatsXd
from thinc.util import torch2xp, xp2torch
from torch import Tensor, nn

from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from spacy_deberta.encoder import DebertaEncoder

_LAYER = re.compile(r"layers\.(\d+)\.")
_MAX_AVERAGE_DECAY = 0.9999  # thinc's, for its own averages


class AdamW(Optimizer):
    """A thinc optimizer with what fine-tuning an encoder needs besides.

    Attributes:
        layer_decay: factor on the rate from each layer of the encoder to the one below it.
        head_learn_rate_scale: factor on the rate for parameters of thinc layers, the heads.
        n_skipped: gradients that were left out because they were not finite.
    """

    layer_decay: float
    head_learn_rate_scale: float
    n_skipped: int

    def __call__(
        self, key: KeyT, weights: FloatsXd, gradient: FloatsXd, *, lr_scale: float = 1.0
    ) -> tuple[FloatsXd, FloatsXd]:
        """One step of one parameter of a thinc layer; skipped if the gradient is not finite."""
        if not get_array_module(gradient).isfinite(gradient).all():
            self.warn_skipped(f"parameter '{key[1]}' of thinc layer {key[0]}")
            gradient.fill(0)
            return weights, gradient
        scale = lr_scale * self.head_learn_rate_scale
        updated: tuple[FloatsXd, FloatsXd] = super().__call__(
            key, weights, gradient, lr_scale=scale
        )
        return updated

    def warn_skipped(self, what: str) -> None:
        """Count a step that is left out, and say so."""
        self.n_skipped += 1
        warn_skipped(what, f" ({self.n_skipped} skipped so far)")


def build_adamw(  # noqa: PLR0913  (one argument per hyper-parameter, as in every optimizer)
    learn_rate: FloatOrSeq = 5e-5,
    *,
    beta1: FloatOrSeq = 0.9,
    beta2: FloatOrSeq = 0.999,
    eps: FloatOrSeq = 1e-6,
    weight_decay: FloatOrSeq = 0.01,
    grad_clip: FloatOrSeq = 1.0,
    layer_decay: float = 1.0,
    head_learn_rate_scale: float = 1.0,
    use_averages: bool = False,
) -> Optimizer:
    """AdamW, registered as `spacy-deberta.AdamW.v1`.

    Args:
        learn_rate: rate, or a schedule of rates, of the encoder's last layer.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay; in the encoder, norms and biases have none.
        grad_clip: largest gradient norm: of the encoder as a whole, of each parameter of a head;
            0 = no clipping.
        layer_decay: factor on the rate per layer of the encoder, from the last one down.
        head_learn_rate_scale: factor on the rate of everything outside the encoder: heads start
            from random weights and need larger steps.
        use_averages: keep averages of the weights, for evaluation and saving.

    Raises:
        ConfigError: a factor out of range.
    """
    if not 0 < layer_decay <= 1:
        raise ConfigError(f"layer_decay={layer_decay} is out of range; expected 0 < x <= 1.")
    if head_learn_rate_scale <= 0:
        raise ConfigError(
            f"head_learn_rate_scale={head_learn_rate_scale} is out of range; expected x > 0."
        )
    optimizer = AdamW(
        learn_rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        L2=weight_decay,
        grad_clip=grad_clip,
        L2_is_weight_decay=True,
        use_averages=use_averages,
    )
    optimizer.layer_decay = layer_decay
    optimizer.head_learn_rate_scale = head_learn_rate_scale
    optimizer.n_skipped = 0
    return optimizer


class TorchStep:
    """The step of one encoder under one AdamW.

    Args:
        optimizer: where every setting is read from, at every step.
        encoder: whose parameters are stepped.
        shim_id: the first half of the keys of averages.
    """

    def __init__(self, optimizer: AdamW, encoder: "DebertaEncoder", shim_id: int) -> None:
        self.optimizer = optimizer
        self._shim_id = shim_id
        self._named = list(encoder.named_parameters())  # frozen ones may be trained later
        self._n_steps = 0
        groups = _groups(self._named, encoder.config.num_hidden_layers, optimizer.layer_decay)
        self._torch = torch.optim.AdamW(groups, fused=True)

    def apply(self, *, warn: bool = True) -> bool:
        """Step once if there are gradients, all finite; forget the gradients in any case.

        Args:
            warn: say so if they are not finite.

        Returns:
            Whether the weights were stepped.
        """
        gradients = [p.grad for _, p in self._named if p.grad is not None]
        stepped = bool(gradients) and self._clip(gradients, warn=warn)
        if stepped:
            self._read_settings()
            self._torch.step()
            self._n_steps += 1
            self._average()
        self._torch.zero_grad(set_to_none=True)
        return stepped

    def _clip(self, gradients: list[Tensor], *, warn: bool) -> bool:
        """Clip by the norm of all gradients together; False if that norm is not finite."""
        norm = nn.utils.get_total_norm(gradients)
        if not bool(norm.isfinite()):
            if warn:
                self.optimizer.warn_skipped("the encoder")
            return False
        if self.optimizer.grad_clip:
            parameters = [parameter for _, parameter in self._named]
            nn.utils.clip_grads_with_norm_(parameters, self.optimizer.grad_clip, norm)
        return True

    def _read_settings(self) -> None:
        optimizer = self.optimizer
        for group in self._torch.param_groups:
            group["lr"] = optimizer.learn_rate * group["rate_scale"]
            group["weight_decay"] = optimizer.L2 if group["decays"] else 0.0
            group["betas"] = (optimizer.b1, optimizer.b2)
            group["eps"] = optimizer.eps

    def _average(self) -> None:
        """Move the averages towards the weights; at first they are the weights."""
        averages = self.optimizer.averages
        if averages is None:
            return
        pull = 1 - min((1 + self._n_steps) / (10 + self._n_steps), _MAX_AVERAGE_DECAY)
        for name, parameter in self._named:
            if not parameter.requires_grad:
                continue
            key = (self._shim_id, name)
            if key in averages:
                xp2torch(averages[key], device=parameter.device).lerp_(parameter.detach(), pull)
            else:
                averages[key] = cast(FloatsXd, torch2xp(parameter.detach().clone()))


def _groups(
    named: Iterable[tuple[str, nn.Parameter]], n_layers: int, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups of parameters with the same scale of the rate and the same kind of decay."""
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in named:
        scale = layer_decay ** parameter_depth(name, n_layers)
        key = (scale, parameter.ndim > 1)  # norms and biases have one dimension
        group = groups.setdefault(key, {"params": [], "rate_scale": key[0], "decays": key[1]})
        group["params"].append(parameter)
    return list(groups.values())


def parameter_depth(name: str, n_layers: int) -> int:
    """Layers above the one that a parameter is in; n_layers for what belongs to none."""
    match = _LAYER.search(name)
    return n_layers - 1 - int(match[1]) if match else n_layers


def warn_skipped(what: str, so_far: str = "") -> None:
    """Say that a step is left out."""
    warnings.warn(
        f"the gradient of {what} is not finite, so its step is skipped{so_far}. If it goes on, "
        "lower the learning rate.",
        RuntimeWarning,
        stacklevel=4,
    )
