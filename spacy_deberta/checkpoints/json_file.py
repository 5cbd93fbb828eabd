"""JSON from strangers: capped, strict, no repeated keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spacy_deberta.errors import CheckpointError

MAX_JSON_BYTES = (
    4 * 2**20
)  # a config.json has kilobytes; label lists and shard indexes make it grow
_MAX_DEPTH = 64  # objects within objects


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: too large, unreadable, or not a JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: has {size} bytes, expected at most {MAX_JSON_BYTES}.")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from error
    return parse_object(data, str(path))


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object from bytes; `name` stands in the message."""
    try:
        content = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
        )
        _check_depth(content, _MAX_DEPTH)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: is not JSON ({error}).") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise CheckpointError(f"{name}: found {found}, expected a JSON object.")
    return content


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} stands there twice")
        content[key] = value
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_depth(content: object, room: int) -> None:
    if not room:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            if isinstance(part, dict | list):
                _check_depth(part, room - 1)
