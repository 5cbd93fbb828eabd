"""Checkpoints that survive whatever happens while they are written.

    checkpoints/step-00001200/ model.safetensors optimizer.safetensors ema.safetensors state.json
                               manifest.json: size and SHA-256 of the others, written last

A checkpoint is written into a folder with a temporary name, brought to the disk, and then renamed:
there is a whole one, or none. Reading one checks every byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from spacy_deberta.checkpoints.json_file import read_object
from spacy_deberta.checkpoints.safetensors_file import read_safetensors, write_safetensors
from spacy_deberta.errors import CheckpointError

FOLDER = "checkpoints"
FORMAT = 1  # of a checkpoint
MANIFEST_FILE = "manifest.json"
RECORD_FILE = "state.json"
TENSOR_FILES = ("model", "optimizer", "ema")

_SUFFIX = ".safetensors"
_TEMPORARY = ".tmp"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a run needs to go on.

    Attributes:
        tensors: by name, for each of `TENSOR_FILES`.
        record: the rest, as JSON.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]


class CheckpointStore:
    """The checkpoints of a run; for one process at a time.

    Args:
        folder: of the checkpoints, made if absent.
        keep: newest ones to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep
        self._sound: str | None = None  # the newest, known to be whole

    def clean(self) -> None:
        """Make the folder, and remove what a killed run left half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f".*{_TEMPORARY}"):
            shutil.rmtree(path)

    def write(self, step: int, snapshot: Snapshot) -> None:
        """Write the checkpoint of a step, then remove old ones.

        Raises:
            CheckpointError: it cannot be written; the older checkpoints are as they were.
        """
        path = self.folder / f"step-{step:08}"
        if path.name == self._sound:
            return
        replace_folder(path, lambda temporary: _fill(temporary, snapshot))
        self._sound = path.name
        self._prune()

    def newest(self, warn: Callable[[str], None], *, strict: bool = False) -> Path | None:
        """The newest whole checkpoint.

        Args:
            warn: told of each damaged one that is passed over.
            strict: refuse to pass over any.

        Raises:
            CheckpointError: there are checkpoints, but none is whole; or `strict`.
        """
        paths = self._paths()
        for path in reversed(paths):
            fault = find_fault(path)
            if fault is None:
                self._sound = path.name
                return path
            if strict:
                raise CheckpointError(f"{fault} Without --strict, an older checkpoint is used.")
            warn(f"{fault} Going back to the checkpoint before it.")
        if paths:
            raise CheckpointError(
                f"{self.folder}: none of {len(paths)} checkpoints is whole; expected one to go on "
                "from. Choose another run.out to begin again."
            )
        return None

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())

    def _prune(self) -> None:
        """Keep the newest; one of a later step than ours is a damaged one that was passed over."""
        paths = self._paths()
        ours = [path.name for path in paths].index(str(self._sound))
        for path in paths[: max(0, ours + 1 - self._keep)] + paths[ours + 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def read_snapshot(path: Path) -> Snapshot:
    """A checkpoint that `CheckpointStore.newest` found whole.

    Raises:
        CheckpointError: it is damaged, or of another version.
    """
    tensors = {name: read_safetensors(path / (name + _SUFFIX)) for name in TENSOR_FILES}
    record = read_object(path / RECORD_FILE)
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{path / RECORD_FILE}: format={record.get('format')!r}, expected {FORMAT}: another "
            "version of spacy-deberta has written it. Go on with that, or with another run.out."
        )
    return Snapshot(tensors, record)


def find_fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file; None = every byte is as it was written."""
    try:
        listed = read_object(path / MANIFEST_FILE).get("files")
    except CheckpointError as error:
        return str(error)
    wanted = {RECORD_FILE, *(name + _SUFFIX for name in TENSOR_FILES)}
    if not isinstance(listed, dict) or set(listed) != wanted:
        return f"{path / MANIFEST_FILE}: expected to list {', '.join(sorted(wanted))}."
    for name, entry in listed.items():
        try:
            found = _describe(path / name)
        except OSError as error:
            return f"{path / name}: cannot be read ({error})."
        if found != entry:
            return f"{path / name}: found {found}, expected {entry} of {MANIFEST_FILE}; damaged."
    return None


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside the target, then move it into its place.

    Args:
        target: a folder that may be there.
        write: fills the empty folder that it is given.

    Raises:
        CheckpointError: it cannot be written; the target is as it was, nothing else is left.
    """
    temporary = target.parent / f".{target.name}{_TEMPORARY}"
    aside = target.parent / f".{target.name}.old{_TEMPORARY}"
    try:
        for path in (temporary, aside):
            shutil.rmtree(path, ignore_errors=True)
        temporary.mkdir()
        write(temporary)
        _sync(temporary)
        _exchange(target, temporary, aside)
        _sync(target.parent)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error}). What was there before is unchanged; see to "
            "the disk's free space and to the limit on file sizes."
        ) from error
    finally:
        for path in (temporary, aside):
            shutil.rmtree(path, ignore_errors=True)


def _exchange(target: Path, new: Path, aside: Path) -> None:
    """Move the new folder into place, or the old one back."""
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def _fill(folder: Path, snapshot: Snapshot) -> None:
    for name in TENSOR_FILES:
        write_safetensors(folder / (name + _SUFFIX), snapshot.tensors[name])
    _write_json(folder / RECORD_FILE, snapshot.record)
    paths = sorted(folder.iterdir())
    for path in paths:
        _sync(path)
    _write_json(folder / MANIFEST_FILE, {"files": {path.name: _describe(path) for path in paths}})
    _sync(folder / MANIFEST_FILE)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
