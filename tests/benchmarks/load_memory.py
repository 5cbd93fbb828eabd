"""Memory and time of loading a checkpoint of the size of DeBERTa-v3-base, against transformers.

    python -m tests.benchmarks.peers transformers-5.23.0 transformers-4.57.6   # once
    python -m tests.benchmarks.load_memory

The weights are random. Each load is a new process; the table has medians. The file is in the page
cache for all of them, and its memory-mapped pages count as memory of the process: they are the
system's, which can drop them, and are shared by all processes that load the file. "private" is the
memory after loading without them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from spacy_deberta.config import DebertaV2Config
from spacy_deberta.modeling import DebertaV2ForSequenceClassification
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS, peer_python

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("load_worker.py")
PEERS = (TRANSFORMERS, "transformers-4.57.6")
DTYPES = {"float32": torch.float32, "float16": torch.float16}
V3_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "relative_attention": True,
    "position_buckets": 256,
    "pos_att_type": "c2p|p2c",
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
}
AGREEMENT = 1e-4  # of the logits: all must have loaded the same weights
ROW = "| {:8} | {:19} | {:>7} | {:>8} | {:>11} | {:>15} |"
COLUMNS = ("seconds", "peak MiB", "private MiB", "with a text MiB")


def write_files(folder: Path) -> None:
    """The same random weights in each precision."""
    torch.manual_seed(0)
    model = DebertaV2ForSequenceClassification(DebertaV2Config(**V3_BASE))
    for name, dtype in DTYPES.items():
        model.save_pretrained(folder / name, dtype=dtype)


def load(python: Path, which: str, folder: Path) -> dict[str, float]:
    """What one process measured."""
    done = subprocess.run(
        [str(python), str(WORKER), which, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """All packages in turn, so that slow changes of the machine meet each of them."""
    pythons = {"spacy-deberta": Path(sys.executable)} | {p: peer_python(p) for p in PEERS}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            which = "ours" if name == "spacy-deberta" else "transformers"
            found[name].append(load(python, which, folder))
    return found


def check(found: dict[str, list[dict[str, float]]]) -> None:
    """All loaded the same weights.

    Raises:
        SystemExit: their outputs differ.
    """
    logits = [answer["first logit"] for answers in found.values() for answer in answers]
    if max(logits) - min(logits) > AGREEMENT:
        sys.exit(f"outputs differ: {logits}")


def print_rows(precision: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Medians, one row per package."""
    for name, answers in found.items():
        middle = {key: statistics.median(a[key] for a in answers) for key in answers[0]}
        keys = ("peak", "private", "peak with a forward pass")
        sizes = [f"{middle[key] / 2**20:.0f}" for key in keys]
        print(ROW.format(precision, name, f"{middle['seconds']:.2f}", *sizes))


def main() -> None:
    """Write, load, check, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = describe_machine(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder)
        sizes = {name: (folder / name / "model.safetensors").stat().st_size for name in DTYPES}
        found = {name: measure(folder / name, arguments.rounds) for name in DTYPES}
    for answers in found.values():
        check(answers)
    listed = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sizes.items())
    print(f"loading into float32, medians of {arguments.rounds}; files: {listed}")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print(ROW.format("file", "package", *COLUMNS))
    print(ROW.format(*["-" * n for n in (8, 19, 7, 8, 11, 15)]))
    for name, answers in found.items():
        print_rows(name, answers)


if __name__ == "__main__":
    main()
