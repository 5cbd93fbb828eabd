"""An index of shards: which file holds which tensor, and no file outside the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from torch import Tensor

from spacy_deberta.checkpoints.entries import check_names, show
from spacy_deberta.checkpoints.json_file import read_object
from spacy_deberta.errors import CheckpointError

_MAX_SHARDS = 1_000
_MAX_LENGTH = 200  # characters of a file's name


def read_shards(index: Path, read: Callable[[Path], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all shards that an index lists.

    Args:
        index: model.safetensors.index.json or pytorch_model.bin.index.json.
        read: reads one shard.

    Raises:
        CheckpointError: a shard is missing or outside the folder, or the index and the shards do
            not list the same tensors.
    """
    places = _places(index)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = read(member(index.parent, name, str(index)))
        expected = {tensor for tensor, place in places.items() if place == name}
        if shard.keys() != expected:
            raise CheckpointError(
                f"{index.parent / name}: {_difference(set(shard), expected)}. Download the shards "
                f"and {index.name} again; they belong to different models."
            )
        tensors |= shard
    return tensors


def shard_names(index: Path) -> list[str]:
    """The files that an index lists, none of them read."""
    return sorted(set(_places(index).values()))


def member(folder: Path, name: str, asked_by: str) -> Path:
    """The path of a file that somebody names, which must be in the folder itself.

    A link may lead to another file of the folder, or to where the hub's cache keeps its files.

    Raises:
        CheckpointError: not the name of a regular file in the folder.
    """
    if not _is_plain(name):
        raise CheckpointError(
            f"{asked_by}: names {show(name)}, expected the name of a file in {folder}."
        )
    path = folder / name
    try:
        real, home = path.resolve(), folder.resolve()
        inside = real.is_relative_to(home) or _in_hub_cache(real, home)
        regular = path.is_file()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{asked_by}: {show(name)} cannot be found ({error}).") from error
    if not inside:
        raise CheckpointError(f"{asked_by}: {show(name)} is a link that leaves {folder}.")
    if not regular:
        raise CheckpointError(
            f"{asked_by}: names {show(name)}, and {folder} holds no such file. Download it again."
        )
    return path


def _is_plain(name: str) -> bool:
    """No folder, no drive, nothing hidden, on any system."""
    if not name.isprintable() or name.startswith(".") or len(name) > _MAX_LENGTH:
        return False
    return PurePosixPath(name).name == name == PureWindowsPath(name).name


def _in_hub_cache(path: Path, folder: Path) -> bool:
    """The cache keeps files in REPOSITORY/blobs, and links to them in REPOSITORY/snapshots/*."""
    return folder.parent.name == "snapshots" and path.parent == folder.parent.parent / "blobs"


def _places(index: Path) -> dict[str, str]:
    """Tensor -> shard."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(
            f"{index}: weight_map={show(places)}, expected names of tensors with the names of "
            "their files."
        )
    check_names(places, str(index))
    files = set(places.values())
    if not 0 < len(files) <= _MAX_SHARDS:
        raise CheckpointError(f"{index}: lists {len(files)} files, expected 1 to {_MAX_SHARDS}.")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for file in sorted(files):
        if not _is_plain(file) or Path(file).suffix != suffix:
            raise CheckpointError(
                f"{index}: names {show(file)}, expected the name of a file in {index.parent} that "
                f"ends in {suffix}."
            )
    return places


def _difference(found: set[str], expected: set[str]) -> str:
    missing, extra = sorted(expected - found), sorted(found - expected)
    parts = [f"lacks {show(missing)}"] * bool(missing) + [f"also holds {show(extra)}"] * bool(extra)
    return "the file " + " and ".join(parts)
