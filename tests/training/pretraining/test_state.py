"""Checkpoints, whatever happens while they are written or afterwards."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.training.pretraining import state
from spacy_deberta.training.pretraining.lock import LOCK_FILE, locked
from spacy_deberta.training.pretraining.resume import check_unchanged, to_json
from spacy_deberta.training.pretraining.state import (
    CheckpointStore,
    Snapshot,
    read_snapshot,
    replace_folder,
)
from tests.training.pretraining.toy import toy_settings


def snapshot(value: float) -> Snapshot:
    tensors = {
        "model": {"weight": torch.full((50, 3), value)},
        "optimizer": {"part/weight.step": torch.tensor(value)},
        "ema": {},
    }
    return Snapshot(tensors, {"format": state.FORMAT, "value": value})


def value_of(path: Path) -> float:
    found = read_snapshot(path)
    value = found.record["value"]
    assert found.tensors["model"]["weight"].eq(value).all()
    assert found.tensors["optimizer"]["part/weight.step"] == value
    return float(value)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """With checkpoints of steps 10 and 20."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.clean()
    store.write(10, snapshot(1.0))
    store.write(20, snapshot(2.0))
    return store


def newest(store: CheckpointStore, **options: Any) -> tuple[float | None, list[str]]:
    """What is found by a run that begins now, and its warnings."""
    warnings: list[str] = []
    fresh = CheckpointStore(store.folder, keep=2)
    fresh.clean()
    path = fresh.newest(warnings.append, **options)
    return (None if path is None else value_of(path)), warnings


@contextmanager
def small_files(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_newest_is_found_and_old_ones_are_removed(store: CheckpointStore) -> None:
    assert newest(store) == (2.0, [])
    store.write(30, snapshot(3.0))
    assert newest(store) == (3.0, [])
    names = sorted(path.name for path in store.folder.iterdir())
    assert names == ["step-00000020", "step-00000030"]


def test_a_new_folder_has_none(tmp_path: Path) -> None:
    assert newest(CheckpointStore(tmp_path / "new", keep=1)) == (None, [])


FILES = ["model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"]
DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "one bit flipped": lambda path: path.write_bytes(_flipped(path.read_bytes())),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_by_name(
    store: CheckpointStore, name: str, damage: str
) -> None:
    path = store.folder / "step-00000020" / name
    DAMAGES[damage](path)
    value, warnings = newest(store)
    assert value == 1.0
    assert len(warnings) == 1
    assert "step-00000020" in warnings[0]
    if name != "manifest.json":
        assert str(path) in warnings[0]
    with pytest.raises(CheckpointError, match="step-00000020"):
        newest(store, strict=True)


def test_no_whole_checkpoint_at_all_is_an_error_not_a_new_run(store: CheckpointStore) -> None:
    for path in store.folder.iterdir():
        (path / "state.json").unlink()
    with pytest.raises(CheckpointError, match="none of 2 checkpoints is whole"):
        newest(store)


def test_a_damaged_checkpoint_is_replaced_by_a_whole_one(store: CheckpointStore) -> None:
    (store.folder / "step-00000020" / "state.json").write_text("{}")
    again = CheckpointStore(store.folder, keep=2)
    assert again.newest(lambda text: None) == store.folder / "step-00000010"
    again.write(20, snapshot(5.0))
    assert newest(store) == (5.0, [])


def test_a_damaged_checkpoint_of_a_later_step_does_not_stay(store: CheckpointStore) -> None:
    (store.folder / "step-00000020" / "state.json").write_text("{}")
    again = CheckpointStore(store.folder, keep=2)
    again.newest(lambda text: None)
    again.write(15, snapshot(4.0))
    assert newest(store) == (4.0, [])


class Killed(BaseException):
    """In the place of SIGKILL."""


class Deadline:
    """Every call that changes the disk counts; from some number on none is made any more."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.calls = 0

    def tick(self) -> None:
        self.calls += 1
        if self.calls >= self.last:
            raise Killed

    def guarded(self, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.tick()
            return function(*arguments, **options)

        return call

    def halved(self, write: Any) -> Any:
        """A writer that may die with half a file written."""

        def call(path: Path, content: Any) -> None:
            path.write_bytes(b"half")
            self.tick()
            write(path, content)

        return call

    def tidied(self, remove: Any) -> Any:
        """The dead do not tidy up."""

        def call(path: Path, ignore_errors: bool = False) -> None:
            if self.calls < self.last:
                self.tick()
                remove(path, ignore_errors=ignore_errors)

        return call

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("write_safetensors", "_write_json"):
            patch.setattr(state, name, self.halved(getattr(state, name)))
        for name in ("rename", "mkdir"):
            patch.setattr(Path, name, self.guarded(getattr(Path, name)))
        patch.setattr(os, "fsync", self.guarded(os.fsync))
        patch.setattr(shutil, "rmtree", self.tidied(shutil.rmtree))


def test_wherever_writing_is_killed_the_old_or_the_new_one_is_whole(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = store.folder.with_name("backup")
    shutil.copytree(store.folder, backup)
    found = []
    for last in range(1, 40):
        shutil.rmtree(store.folder)
        shutil.copytree(backup, store.folder)
        deadline = Deadline(last)
        with monkeypatch.context() as patch, suppress(Killed):
            deadline.install(patch)
            CheckpointStore(store.folder, keep=2).write(30, snapshot(3.0))
        value, warnings = newest(store)
        assert warnings == []
        found.append(value)
        if deadline.calls < last:
            break
    assert len(found) > 15
    assert found == sorted(found, key=float)
    assert set(found) == {2.0, 3.0}


@pytest.mark.parametrize("limit", [0, 100, 700])
def test_on_a_full_disk_nothing_changes_and_nothing_stays(
    store: CheckpointStore, limit: int
) -> None:
    with small_files(limit), pytest.raises(CheckpointError, match=r"step-00000030.*free space"):
        store.write(30, snapshot(3.0))
    names = sorted(path.name for path in store.folder.iterdir())
    assert names == ["step-00000010", "step-00000020"]
    assert newest(store) == (2.0, [])
    store.write(30, snapshot(3.0))
    assert newest(store) == (3.0, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_on_a_really_full_disk_too(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = CheckpointStore(disk / "checkpoints", keep=2)
        store.clean()
        store.write(10, snapshot(1.0))
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 4096))
        with pytest.raises(CheckpointError, match="free space"):
            store.write(20, snapshot(2.0))
        assert newest(store) == (1.0, [])
        assert [path.name for path in store.folder.iterdir()] == ["step-00000010"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_filled_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    replace_folder(target, lambda folder: (folder / "a").touch())

    def fail(folder: Path) -> None:
        (folder / "b").touch()
        raise OSError("broken")

    with pytest.raises(CheckpointError, match=r"model: cannot be written \(broken"):
        replace_folder(target, fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "a"]


def test_a_checkpoint_of_another_version_is_refused(store: CheckpointStore) -> None:
    odd = snapshot(3.0)
    store.write(30, Snapshot(odd.tensors, {**odd.record, "format": 99}))
    with pytest.raises(CheckpointError, match=r"state\.json: format=99, expected 1"):
        read_snapshot(store.folder / "step-00000030")


# --- the lock -----------------------------------------------------------------------------------


def test_a_second_run_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    with locked(tmp_path):
        who = f"process {os.getpid()} on '{socket.gethostname()}' is writing here"
        with pytest.raises(CheckpointError, match=who), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from spacy_deberta.training.pretraining.lock import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] != os.getpid()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK_FILE).read_text() == ""


def test_the_lock_of_another_machine_is_not_ours_to_take(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text('{"pid": 7, "host": "elsewhere"}')
    message = r"process 7 on 'elsewhere' was writing here.*delete this file"
    with pytest.raises(CheckpointError, match=message), locked(tmp_path):
        pass


def test_a_lock_file_that_was_broken_off_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text('{"pid"')
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"), locked(tmp_path / "absent"):
        pass


# --- what may change ----------------------------------------------------------------------------


def record(folder: Path, content: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "settings": to_json(toy_settings(folder, **changes)),
        "content": {"data.text": content},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"run__out": "elsewhere"},
        {"run__steps": 13},
        {"run__log_steps": 7},
        {"data__text": ("moved.txt",)},
        {"data__micro_pieces": 6},
        {"evaluation__sequences": 3},
    ],
)
def test_some_settings_may_change(tmp_path: Path, changes: dict[str, Any]) -> None:
    check_unchanged(record(tmp_path), record(tmp_path, **changes))


def test_the_others_are_listed_one_by_one(tmp_path: Path) -> None:
    changed = record(tmp_path, "b", run__steps=4, optimizer__learn_rate=0.2, model__shape={"x": 1})
    with pytest.raises(ConfigError) as caught:
        check_unchanged(record(tmp_path, "a"), changed)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  model.shape: {} then, {'x': 1} now",
        "  optimizer.learn_rate: 0.05 then, 0.2 now",
        "  run.steps: 12 then, 4 now",
        "  data.text: content a then, content b now",
    ]
    assert "--force section.key" in lines[-1]
    forced = ("model.shape", "optimizer.learn_rate", "run.steps")
    with pytest.raises(ConfigError, match=r"checkpoint:\n  data\.text") as caught:
        check_unchanged(record(tmp_path, "a"), changed, forced)
    assert "learn_rate" not in str(caught.value)
    check_unchanged(record(tmp_path, "a"), changed, (*forced, "data.text"))


def test_only_a_setting_can_be_forced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--force run\.stebs: unknown"):
        check_unchanged(record(tmp_path), record(tmp_path), ("run.stebs",))
