"""What depends on weights alone is computed once, and again only when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

T = TypeVar("T")


class WeightCache(Generic[T]):
    """The last value made from some weights.

    Weights count as changed when torch counted an in-place change (a load), when other memory took
    their place (another dtype or device), and after a step of any optimizer, of which torch's fused
    ones are not counted in the weights. Only a write through `.data` goes unseen; `clear`, which
    `train()` calls, covers those.

    Copies and pickles of a cache are empty.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[int, list[_State]], T] | None = None
        _count_steps()

    def get(self, weights: Sequence[Tensor | None], make: Callable[[], T]) -> T:
        """The value for these weights, made if it is not there.

        With gradients, or with weights whose changes torch does not count, nothing is kept.
        """
        given = [weight for weight in weights if weight is not None]
        if not can_keep(given):
            return make()
        state = (_Steps.n_taken, [_State(weight) for weight in given])
        entry = self._entry  # read once: another thread may replace it
        if entry is None or entry[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                entry = (state, make())
            self._entry = entry
        return entry[1]

    def clear(self) -> None:
        """Forget the value."""
        self._entry = None

    def __reduce__(self) -> tuple[type[WeightCache[T]], tuple[()]]:
        return WeightCache, ()


class _State:
    """A weight as it is now; holds it, so that no other tensor can take its address."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._seen = (weight.data_ptr(), weight._version, weight.dtype)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _State)
            and self._weight is other._weight
            and self._seen == other._seen
        )

    __hash__ = None  # type: ignore[assignment]  # it changes with the weight's next change


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
        and not any(weight.is_inference() for weight in weights)
    )
