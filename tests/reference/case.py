"""One case of the comparison with `transformers`: a tiny model, a batch, and what to look at.

Both interpreters read this file, the peer's and ours: it needs torch and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CASE_FILE = "case.json"
RECORDED_FILE = "recorded.safetensors"  # by the peer: outputs, loss, gradients, directions
WRITTEN_FILE = "written.safetensors"  # by us: outputs of the model that we saved
READ_FILE = "read.safetensors"  # by the peer: outputs of that model as it reads it
FAILURE_FILE = "failure.txt"  # why the peer cannot read it
PEER_FOLDER = "peer"  # checkpoint written by the peer
OUR_FOLDER = "ours"  # checkpoint written by us

TASKS = ("model", "masked-lm", "sequence", "tokens", "span", "choice")
POOLED = ("sequence", "choice")  # tasks with one row per sequence: its first piece
LOGITS = {"model": ("last_hidden_state",), "span": ("start_logits", "end_logits")}


@dataclass(frozen=True)
class Case:
    """What both sides compute.

    Attributes:
        family: "v1" (model_type deberta) or "v2" (deberta-v2).
        config: keyword arguments of the peer's configuration class.
        inputs: arguments of forward, nested lists by name.
        labels: more arguments of forward; without them, the loss is a random projection of the
            outputs' real rows.
        layout: how the peer writes its checkpoint: safetensors | shards | bin | bin-shards |
            renamed | half.
        seed: of the weights and of the projection.
        stretch: factor on the weights of queries and keys; other than 1, the outputs in half
            precision are recorded too, to see whether they are finite.
    """

    name: str
    family: str
    task: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    labels: Mapping[str, Any]
    layout: str
    seed: int
    stretch: float = 1.0

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the task's own outputs."""
        return LOGITS.get(self.task, ("logits",))

    def arguments(self) -> dict[str, Tensor]:
        """The inputs as tensors."""
        return {name: torch.tensor(value) for name, value in self.inputs.items()}

    def targets(self) -> dict[str, Tensor]:
        """The labels as tensors."""
        return {name: torch.tensor(value) for name, value in self.labels.items()}

    def real(self, name: str, tensor: Tensor) -> Tensor:
        """The rows of an output that stand for real pieces.

        Args:
            name: of the output; "hidden_states.3" and "attentions.0" are among them.
            tensor: (B, L, ...), attentions (B, A, L, L), pooled logits (B, n).
        """
        if self.task in POOLED and name == "logits":
            return tensor
        if name.startswith("attentions"):
            tensor = tensor.transpose(1, 2)  # (B, L, A, L): one row per query
        mask = self.mask(tensor.shape[:2])
        return tensor[mask]

    def mask(self, shape: torch.Size) -> Tensor:
        """(B, L), true = real; choices count as sequences of their own."""
        if "attention_mask" not in self.inputs:
            return torch.ones(shape, dtype=torch.bool)
        return torch.tensor(self.inputs["attention_mask"]).flatten(0, -2).bool()

    def write(self, folder: Path) -> None:
        """Write the case beside what is recorded of it."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), separators=(",", ":"))
        (folder / CASE_FILE).write_text(text + "\n", encoding="utf-8")


def read_case(folder: Path) -> Case:
    """The case of a folder."""
    return Case(**json.loads((folder / CASE_FILE).read_text(encoding="utf-8")))


def read_cases(folder: Path) -> list[tuple[Path, Case]]:
    """All cases under a folder, with their folders."""
    folders = sorted(path.parent for path in folder.glob(f"*/{CASE_FILE}"))
    return [(path, read_case(path)) for path in folders]


def collect(case: Case, output: Any) -> dict[str, Tensor]:
    """What a forward pass gave, real rows only, by name; the same for their outputs and ours."""
    found = {name: getattr(output, name) for name in case.outputs}
    for name in ("hidden_states", "attentions"):
        states = getattr(output, name)
        found |= {f"{name}.{number}": state for number, state in enumerate(states or ())}
    return {name: case.real(name, tensor) for name, tensor in found.items()}
