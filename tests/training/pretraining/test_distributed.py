"""Several processes do what one does, and none waits for a dead one."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining.distributed import Group, join_group
from spacy_deberta.training.pretraining.signals import StopRequest
from tests.training.pretraining.toy import (
    ToyObjective,
    toy_run,
    toy_settings,
    toy_trainer,
    toy_weights,
)
from tests.training.pretraining.toy_worker import CHANGES

WORKER = Path(__file__).with_name("toy_worker.py")
TOLERANCE = 1e-6


class Threads:
    """What the members of a group in one process share."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=30)
        self.slots: list[Any] = [None] * world

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.slots[rank] = value
        self.barrier.wait()
        values = list(self.slots)
        self.barrier.wait()
        return values


class ThreadGroup(Group):
    """A group of threads."""

    threads: Threads

    def sum(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self.threads.exchange(self.rank, tensor.clone())).sum(0))

    def gather(self, value: Any) -> list[Any]:
        return self.threads.exchange(self.rank, value)

    def wait(self) -> None:
        self.threads.barrier.wait()


def run_in_threads(out: Path, world: int, stop_at: int | None = None) -> list[ToyObjective]:
    """One run of so many processes; returns what each has trained.

    Args:
        stop_at: the call of `losses` in which the last process is asked to stop.
    """
    stop = StopRequest()

    def ask(call: int) -> float:
        if call == stop_at:
            stop.signal = "SIGTERM"
        return 1.0

    threads = Threads(world)
    objectives = [ToyObjective(dropout=0.0) for _ in range(world - 1)]
    objectives.append(ToyObjective(ask, dropout=0.0))
    failed: list[BaseException] = []

    def work(rank: int) -> None:
        group = ThreadGroup(rank, world, torch.device("cpu"))
        object.__setattr__(group, "threads", threads)
        try:
            trainer, _ = toy_trainer(toy_settings(out), objectives[rank], group)
            trainer.run(stop if rank == world - 1 else StopRequest())
        except BaseException as error:
            failed.append(error)
            threads.barrier.abort()

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
    return objectives


def assert_same(first: Path, second: Path) -> None:
    for folder in ("model", "model-ema"):
        a, b = toy_weights(first, folder), toy_weights(second, folder)
        for name, tensor in a.items():
            torch.testing.assert_close(b[name], tensor, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_train_as_one(tmp_path: Path, world: int) -> None:
    """Three processes share batches of two samples: one has nothing to read, also at first."""
    run_in_threads(tmp_path / "one", 1)
    objectives = run_in_threads(tmp_path / "many", world)
    assert_same(tmp_path / "one", tmp_path / "many")
    for objective in objectives[1:]:
        for mine, first in zip(objective.named(), objectives[0].named(), strict=True):
            assert mine[1].equal(first[1])


def test_another_number_of_processes_may_go_on(tmp_path: Path) -> None:
    run_in_threads(tmp_path / "one", 1)
    run_in_threads(tmp_path / "changed", 2, stop_at=4)
    run_in_threads(tmp_path / "changed", 3, stop_at=3)
    run_in_threads(tmp_path / "changed", 1)
    assert_same(tmp_path / "one", tmp_path / "changed")


def test_one_process_is_a_group_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    group = join_group("cpu")
    assert (group.rank, group.world, group.is_first) == (0, 1, True)
    numbers = torch.ones(3)
    group.sum(numbers)
    assert numbers.eq(1).all()
    assert group.gather("x") == ["x"]
    group.wait()
    group.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"run\.device='cuda': found no CUDA device"):
        join_group("cuda")
    assert join_group("auto").device == torch.device("cpu")


# --- real processes -----------------------------------------------------------------------------


def start(arguments: Sequence[str], world: int, port: int, **variables: str) -> list[Any]:
    """The processes that torchrun would start."""
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                **variables,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    processes = start([str(WORKER), "run", str(tmp_path / "two")], 2, free_port())
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    settings = toy_settings(tmp_path / "one", **CHANGES)
    trainer, _ = toy_trainer(settings, ToyObjective(dropout=0.0))
    with StopRequest() as stop:
        trainer.run(stop)
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_when_one_process_dies_the_other_stops_and_the_checkpoint_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "two"
    processes = start([str(WORKER), "run", str(out)], 2, free_port(), DIES="1")
    began = time.monotonic()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert time.monotonic() - began < 100
    assert processes[1].returncode == -9
    assert processes[0].returncode > 0, errors[0]
    ended, said = toy_run(out, **CHANGES)
    assert ended
    assert "going on from here" in said
