"""Modules with shapes but without values: to be filled from a file, or to ask for their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _WithoutInitialization(TorchFunctionMode):
    """Leaves out what torch.nn.init would do.

    Drawing numbers on the meta device gives none, but torch imports its whole compiler for it:
    800 modules, 80 MB and more than a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Run any other function as it is."""
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


@contextmanager
def unfilled() -> Iterator[None]:
    """Build modules on the meta device: nothing is allocated, nothing drawn at random."""
    with _WithoutInitialization(), torch.device("meta"):
        yield
