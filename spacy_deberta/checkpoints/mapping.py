"""Whether weight files are memory-mapped, and whether one stayed as it was while it was read.

A mapped file is read when its values are first used. Whoever cuts it short until then, on a network
drive for example, ends the process with SIGBUS; SPACY_DEBERTA_MMAP=0 reads files as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spacy_deberta.errors import CheckpointError

MAP_VARIABLE = "SPACY_DEBERTA_MMAP"


def is_mapped() -> bool:
    """Whether files are mapped: yes, unless the variable says 0.

    Raises:
        CheckpointError: it says neither 0 nor 1.
    """
    value = os.environ.get(MAP_VARIABLE, "1")
    if value not in ("0", "1"):
        raise CheckpointError(f"{MAP_VARIABLE}={value!r}: expected 0 (read as a whole) or 1 (map).")
    return value == "1"


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Notice that a file was replaced or written to while it was read.

    Raises:
        CheckpointError: it was.
    """
    before = _identity(path)
    yield
    if _identity(path) != before:
        raise CheckpointError(
            f"{path}: was changed while it was read. Load it again once it is written as a whole."
        )


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
