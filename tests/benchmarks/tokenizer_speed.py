"""Batch encoding with offsets against transformers' fast tokenizers, on one core.

    python -m tests.benchmarks.peers transformers-5.23.0 transformers-4.57.6   # once
    python -m tests.benchmarks.tokenizer_speed MODEL_FOLDER TEXT_FILE

Every package reads the same lines in a process of its own, in turn, round after round; the table
has medians. transformers 5.23 leaves the checkpoint's normalizer out, so its pieces can differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS, peer_python

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("tokenizer_worker.py")
OURS = "spacy-deberta"
PEERS = (TRANSFORMERS, "transformers-4.57.6")
ROW = "| {:20} | {:>10} | {:>10} | {:>12} |"


def start(python: Path, which: str, folder: Path, texts: Path) -> subprocess.Popen[str]:
    """A worker that encodes once for every line it is sent."""
    single = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        [str(python), str(WORKER), which, str(folder), str(texts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **single, "PYTHONPATH": str(ROOT)},
    )


def ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    """One round of one worker."""
    if worker.stdin is None or worker.stdout is None:
        sys.exit("a worker has no pipes")
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return dict(json.loads(worker.stdout.readline()))


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkpoint's tokenizer files")
    parser.add_argument("texts", type=Path, help="one text per line, UTF-8")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    machine = describe_machine(1)
    pythons = {OURS: Path(sys.executable)} | {name: peer_python(name) for name in PEERS}
    workers = {
        name: start(python, name, arguments.folder.resolve(), arguments.texts.resolve())
        for name, python in pythons.items()
    }
    for worker in workers.values():
        ask(worker)  # caches, first calls
    rounds = [{n: ask(worker) for n, worker in workers.items()} for _ in range(arguments.rounds)]
    for worker in workers.values():
        worker.kill()
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print(ROW.format("package", "M chars/s", "pieces", "theirs/ours"))
    print(ROW.format("-" * 20, "-" * 10, "-" * 10, "-" * 12))
    for name in workers:
        speed = statistics.median(r[name]["characters"] / r[name]["seconds"] for r in rounds) / 1e6
        ratio = statistics.median(r[name]["seconds"] / r[OURS]["seconds"] for r in rounds)
        print(ROW.format(name, f"{speed:.2f}", int(rounds[0][name]["pieces"]), f"{ratio:.2f}"))


if __name__ == "__main__":
    main()
