"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spacy_deberta.errors import CheckpointError

LOCK_FILE = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder.

    The operating system holds the lock for as long as this process lives: what a killed one left
    behind is taken over, even where its number now belongs to another process. The file says who
    holds it; it stays there, empty, when the lock is given back.

    Raises:
        CheckpointError: another process has the lock, or had it on another machine.
    """
    path = folder / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}); expected a folder to write to as run.out."
        ) from error
    try:
        _take(handle, path)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    host = socket.gethostname()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CheckpointError(
            f"{path}: {_holder(handle)} is writing here; expected no other run. Stop it, or choose "
            "another run.out."
        ) from None
    before = _content(handle)
    if before.get("host", host) != host:
        raise CheckpointError(
            f"{path}: {_holder(handle)} was writing here, and from '{host}' nobody can see whether "
            "it still is. If it is gone, delete this file."
        )
    content = json.dumps({"pid": os.getpid(), "host": host}).encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, content, 0)


def _content(handle: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}  # empty, or its writer was killed
    return content if isinstance(content, dict) else {}


def _holder(handle: int) -> str:
    content = _content(handle)
    return f"process {content.get('pid', '?')} on '{content.get('host', '?')}'"
