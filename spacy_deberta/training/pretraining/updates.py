"""From gradients to weights: sum over processes, clipping, AdamW, running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from spacy_deberta.errors import CheckpointError
from spacy_deberta.training.pretraining.distributed import Group
from spacy_deberta.training.pretraining.settings import OptimizerSettings

if TYPE_CHECKING:
    from spacy_deberta.training.pretraining.objectives import Objective

_ALIGNMENT = 32  # values; the start of each gradient in the buffer, for vector instructions
_SLOTS = 16  # numbers that travel with the gradients
_SHORT_MEMORY = 10  # updates; the running mean begins with about so many


@dataclass(frozen=True)
class Named:
    """A parameter, by part and name."""

    part: str
    name: str
    parameter: nn.Parameter
    start: int

    @property
    def key(self) -> str:
        """Name in checkpoints."""
        return f"{self.part}/{self.name}"


class Gradients:
    """All gradients in one buffer, so that summing, clearing and measuring them is one operation.

    A parameter that the loss does not reach has a gradient of zeros.

    Args:
        objective: whose parameters get a view of the buffer as their `grad`.
        device: where they are.
    """

    def __init__(self, objective: Objective, device: torch.device) -> None:
        self.named: list[Named] = []
        self._spans: dict[str, slice] = {}
        end = 0
        for part in objective.parts():
            start = end
            for name, parameter in part.parameters:
                self.named.append(Named(part.name, name, parameter, end))
                end += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
            self._spans[part.name] = slice(start, end)
        self._buffer = torch.zeros(end + _SLOTS, device=device)
        for named in self.named:
            values = self._buffer[named.start : named.start + named.parameter.numel()]
            named.parameter.grad = values.view_as(named.parameter)

    def clear(self) -> None:
        """Before the first micro-batch of a step."""
        self._buffer.zero_()

    def sum(self, group: Group, beside: Tensor) -> Tensor:
        """Sum the gradients over the processes.

        Args:
            group: the processes.
            beside: (S,) numbers to be summed as well.

        Returns:
            (S + P,) the sums, then the norm of each part's gradient.
        """
        slots = self._buffer[-_SLOTS:][: len(beside)]
        slots.copy_(beside)
        group.sum(self._buffer)
        norms = [torch.linalg.vector_norm(self._buffer[span]) for span in self._spans.values()]
        return torch.cat([slots, torch.stack(norms)])

    def scale(self, part: str, factor: float) -> None:
        """Multiply the gradient of one part."""
        self._buffer[self._spans[part]].mul_(factor)


class Updater:
    """The optimizer's state and the running mean of the weights.

    Args:
        objective: whose parameters are updated.
        gradients: of the same.
        settings: of the optimizer.
        decay: of the running mean; 0 = none is kept.
    """

    def __init__(
        self, objective: Objective, gradients: Gradients, settings: OptimizerSettings, decay: float
    ) -> None:
        self._named = gradients.named
        self._module = objective.module
        self._decay = decay
        self._peaks = {part.name: part.rate * settings.learn_rate for part in objective.parts()}
        self._optimizer = torch.optim.AdamW(
            self._groups(settings.weight_decay),
            lr=settings.learn_rate,
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )
        self._mean = [named.parameter.detach().clone() for named in self._named] if decay else []

    def update(self, factor: float, n_before: int) -> None:
        """One step with the gradients as they are.

        Args:
            factor: on the peak rates.
            n_before: updates before this one.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._peaks[group["part"]] * factor
        self._optimizer.step()
        if self._mean:
            decay = min(self._decay, (1 + n_before) / (_SHORT_MEMORY + n_before))
            weights = [named.parameter for named in self._named]
            get_ema_multi_avg_fn(decay)(self._mean, weights, None)

    @contextmanager
    def mean_weights(self) -> Iterator[None]:
        """The running mean in the place of the weights."""
        kept = [named.parameter.detach().clone() for named in self._named]
        self._set(self._mean)
        try:
            yield
        finally:
            self._set(kept)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint holds, each tensor once."""
        pairs = zip(self._named, self._mean, strict=False)
        return {
            "model": _distinct(self._module),
            "optimizer": {
                f"{named.key}.{key}": value
                for named in self._named
                for key, value in self._optimizer.state.get(named.parameter, {}).items()
            },
            "ema": {named.key: value for named, value in pairs},
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what a checkpoint holds.

        Raises:
            CheckpointError: it is of another model.
        """
        weights = _distinct(self._module)
        means = {named.key: mean for named, mean in zip(self._named, self._mean, strict=False)}
        _copy(tensors["model"], weights, "model.safetensors")
        _copy(tensors["ema"], means, "ema.safetensors")
        saved = tensors["optimizer"]
        for named in self._named if saved else ():
            device = named.parameter.device
            self._optimizer.state[named.parameter] = {
                key: saved[f"{named.key}.{key}"].clone().to(device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for named, value in zip(self._named, values, strict=True):
            named.parameter.copy_(value)

    def _groups(self, weight_decay: float) -> list[dict[str, object]]:
        """One group per part and kind of decay."""
        tables = {
            id(module.weight)
            for module in self._module.modules()
            if isinstance(module, nn.Embedding)
        }
        groups: dict[tuple[str, float], list[nn.Parameter]] = {}
        for named in self._named:
            is_matrix = named.parameter.ndim > 1 and id(named.parameter) not in tables
            decay = weight_decay if is_matrix else 0.0
            groups.setdefault((named.part, decay), []).append(named.parameter)
        return [
            {"params": chosen, "weight_decay": decay, "part": part}
            for (part, decay), chosen in groups.items()
        ]


def _distinct(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's state, each once, by its first name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def _copy(saved: Mapping[str, Tensor], targets: Mapping[str, Tensor], file: str) -> None:
    wrong = sorted(saved.keys() ^ targets.keys()) or [
        name for name, target in targets.items() if saved[name].shape != target.shape
    ]
    if wrong:
        raise CheckpointError(
            f"{file}: '{wrong[0]}' does not fit the model of this run, nor do "
            f"{len(wrong) - 1} more tensors. Use the settings of the checkpoint."
        )
    for name, target in targets.items():
        target.copy_(saved[name])
