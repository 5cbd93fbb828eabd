"""What depends on weights alone is computed once, and again only when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import is_
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

T = TypeVar("T")
_State = tuple[int, int, torch.dtype]  # address, changes that torch counted, precision


class WeightCache(Generic[T]):
    """The last value made from some weights.

    Weights count as changed when torch counted an in-place change (a load), when other memory took
    their place (another dtype or device), and after a step of any optimizer, of which torch's fused
    ones are not counted in the weights. Only a write through `.data` goes unseen; `clear`, which
    `train()` calls, covers those.

    Copies and pickles of a cache are empty.
    """

    def __init__(self) -> None:
        self._entry: _Entry[T] | None = None
        _count_steps()

    def get(self, weights: Sequence[Tensor | None], make: Callable[[], T]) -> T:
        """The value for these weights, made if it is not there.

        With gradients, or with weights whose changes torch does not count, nothing is kept.
        """
        given = [weight for weight in weights if weight is not None]
        return self.get_kept(given, make) if can_keep(given) else make()

    def get_kept(self, weights: Sequence[Tensor], make: Callable[[], T]) -> T:
        """As `get`, of weights that `can_keep` holds for."""
        entry = self._entry  # read once: another thread may replace it
        if entry is None or not entry.is_of(weights):
            steps, states = _Steps.n_taken, [_state(weight) for weight in weights]
            with torch.inference_mode(False), torch.no_grad():
                entry = self._entry = _Entry(make(), steps, weights, states)
        return entry.value

    def clear(self) -> None:
        """Forget the value."""
        self._entry = None

    def __reduce__(self) -> tuple[type[WeightCache[T]], tuple[()]]:
        return WeightCache, ()


@dataclass(frozen=True, eq=False)
class _Entry(Generic[T]):
    """A value and what it was made of.

    Attributes:
        value: the value.
        steps: of optimizers, taken before it was made.
        weights: are held, so that no other tensor can take their addresses.
        states: of the weights, when it was made.
    """

    value: T
    steps: int
    weights: Sequence[Tensor]
    states: list[_State]

    def is_of(self, weights: Sequence[Tensor]) -> bool:
        """Whether it was made of these weights as they are now."""
        return (
            self.steps == _Steps.n_taken
            and len(weights) == len(self.weights)
            and all(map(is_, weights, self.weights))
            and [_state(weight) for weight in weights] == self.states
        )


def _state(weight: Tensor) -> _State:
    return weight.data_ptr(), weight._version, weight.dtype


class _Steps:
    """Steps that optimizers took in this process."""

    n_taken = 0


@cache
def _count_steps() -> None:
    def count(*_: object) -> None:
        _Steps.n_taken += 1

    register_optimizer_step_post_hook(count)


def can_keep(weights: Sequence[Tensor]) -> bool:
    """Whether values made of these weights are kept: without gradients, if torch counts changes.

    It does not count those of weights that were made in inference mode.
    """
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not any(map(Tensor.is_inference, weights))
    )
