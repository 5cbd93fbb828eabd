"""What every weight file is held to before anything is allocated: counts, names, shapes."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Sequence

from spacy_deberta.errors import CheckpointError

MAX_TENSORS = 20_000  # 48 layers with every head have fewer than 1,000
_MAX_NAME_BYTES = 512
_MAX_DIMENSIONS = 8  # weights have three at most

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120  # characters
_SHORT.maxlevel = 2


def check_names(names: Collection[str], file: str) -> None:
    """Refuse more tensors than any model has, and names that cannot be a tensor's.

    Raises:
        CheckpointError: naming the first such entry.
    """
    if len(names) > MAX_TENSORS:
        raise CheckpointError(
            f"{file}: lists {len(names)} tensors, expected at most {MAX_TENSORS}."
        )
    for name in names:
        length = len(name.encode("utf-8", "surrogatepass"))
        if not 0 < length <= _MAX_NAME_BYTES or not name.isprintable():
            raise CheckpointError(
                f"{file}: {show(name)} is no name of a tensor ({length} bytes); expected 1 to "
                f"{_MAX_NAME_BYTES} bytes of printable text."
            )


def count_values(shape: Sequence[int], name: str, file: str) -> int:
    """The number of values of a tensor of this shape, at least 1; nothing is allocated.

    Raises:
        CheckpointError: too many dimensions, or no values at all.
    """
    good = len(shape) <= _MAX_DIMENSIONS and all(type(size) is int and size > 0 for size in shape)
    if not good:
        raise CheckpointError(
            f"{file}: {show(name)} has shape {show(shape)}, expected at most {_MAX_DIMENSIONS} "
            "sizes, each at least 1."
        )
    return math.prod(shape)


def show(value: object) -> str:
    """A value of a file in one short line of a message, in no time even where it is huge."""
    return _SHORT.repr(value)
