"""The processes of a run: one, or as many as `torchrun` started.

Sums are exact for gradients because every loss is already divided by the counts of the global
batch: nothing is averaged here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from spacy_deberta.errors import ConfigError


@dataclass(frozen=True)
class Group:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: number of this process.
        world: number of processes.
        device: this process computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over the processes, the same bits in each of them."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever each process has
        """Small values of all processes, by rank."""
        values = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.world > 1:
            flag = torch.zeros(1, device=self.device)
            dist.all_reduce(flag)
            flag.item()  # an NCCL operation ends when somebody looks at its result

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join_group(device: str = "auto", timeout_seconds: float = 600.0) -> Group:
    """The group that the variables of `torchrun` describe, or a group of one.

    Args:
        device: "auto", "cpu" or "cuda"; on CUDA, each process of a machine has its own.
        timeout_seconds: after which a process gives up waiting for another one.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    place = _choose_device(device)
    if world > 1:
        dist.init_process_group(
            "nccl" if place.type == "cuda" else "gloo",
            timeout=timedelta(seconds=timeout_seconds),
        )
    return Group(rank, world, place)


def _choose_device(asked: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise ConfigError(
            "run.device='cuda': found no CUDA device; expected one. Use run.device='auto' or 'cpu'."
        )
    if asked == "cpu" or not has_cuda:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
