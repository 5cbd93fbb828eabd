"""Peak memory of the encoder over its weights, against transformers and by length of a document.

    python -m tests.benchmarks.peers transformers-5.23.0      # once
    python -m tests.benchmarks.encoder_memory
    python -m tests.benchmarks.encoder_memory --case document

Each measurement is the first forward pass of a new process, whatever it prepares for later passes
included. The weights are random, and already in memory.

Before that, the outputs of both are compared at the same length, on two layers whose buckets of
distances end at that length: beyond their end, transformers reads rows that were never trained.

The document goes through nlp.pipe with the component `deberta` alone. Its result, one row per
token in `doc.tensor`, grows with it; what the work takes beyond that should not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spacy_deberta.checkpoints import EMBEDDED_FOLDER
from spacy_deberta.config import DebertaV2Config
from spacy_deberta.modeling import DebertaV2Model
from spacy_deberta.tokenizers import load_tokenizer
from tests.benchmarks.encoder_memory_worker import OUTPUT
from tests.benchmarks.load_memory import V3_BASE
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS, peer_python

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("encoder_memory_worker.py")
HEAD_WIDTH = 64  # features
CHECKED_LAYERS = 2
SHORTEST_REACH = 512  # pieces, the distance at which the buckets of v3 end
MIB = 2**20
CONSTANT = 1.1  # most that the work on the longest document may take, by that on the shortest


class Cell(NamedTuple):
    """A batch, a precision, and what is asked of the comparison."""

    dtype: str
    batch: int
    length: int
    mark: float  # largest ratio, ours / theirs
    tolerance: float  # largest difference of the outputs, each about 1 in size


CELLS = {
    "long": Cell("float32", 1, 4096, 1 / 15, 1e-4),
    "half": Cell("bfloat16", 2, 512, 0.7, 0.1),
}
ENCODER_ROW = "| {:8} | {:>7} | {:>24} | {:>24} | {:>7} | {:>10} |"
ENCODER_COLUMNS = ("dtype", "cell", "transformers 5.23.0", "ours", "ratio", "mark")
DOCUMENT_ROW = "| {:>7} | {:>7} | {:>7} | {:>8} | {:>8} | {:>13} |"
DOCUMENT_COLUMNS = ("tokens", "pieces", "seconds", "peak MiB", "rows MiB", "peak - rows")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=(*CELLS, "document"), help="all unless given")
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--length", type=int, default=4096, help="of the long case")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=8192, help="without documents")
    return parser.parse_args()


def write_checkpoint(folder: Path, *, layers: int, width: int, vocab: int, reach: int) -> None:
    """Random weights of the shape of v3-base, or of a smaller one, that both packages read."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": vocab,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // HEAD_WIDTH,
        "max_relative_positions": reach,
    }
    DebertaV2Model(DebertaV2Config(**V3_BASE | sizes)).save_pretrained(folder)


def run_worker(python: Path, threads: int, *command: object) -> dict[str, Any]:
    """What one process measured."""
    done = subprocess.run(
        [str(python), str(WORKER), *map(str, command), str(threads)],
        check=True,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        },
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_both(cell: Cell, folder: Path, threads: int) -> dict[str, dict[str, Any]]:
    """What both packages measured, each in a process of the peer's environment."""
    python = peer_python(TRANSFORMERS)
    command = (folder, cell.dtype, cell.batch, cell.length)
    return {
        which: run_worker(python, threads, "encoder", which, *command)
        for which in ("transformers", "ours")
    }


def check(cell: Cell, folder: Path, threads: int) -> None:
    """Both compute the same from a checkpoint.

    Raises:
        SystemExit: their outputs differ.
    """
    theirs, ours = (np.load(folder / f"{w}-{OUTPUT}") for w in run_both(cell, folder, threads))
    error = float(np.abs(ours - theirs).max())
    print(f"check: {cell.dtype} {cell.batch}x{cell.length}, outputs differ by {error:.1e} at most")
    if not error <= cell.tolerance:
        sys.exit(f"expected {cell.tolerance} at most")


def make_row(cell: Cell, found: dict[str, dict[str, Any]]) -> str:
    """The row of the table."""
    ratio = found["ours"]["peak"] / found["transformers"]["peak"]
    met = "met" if ratio <= cell.mark else "not"
    sizes = [
        f"{answer['peak'] / MIB:.0f}, {answer['kept'] / MIB:.0f}, {answer['seconds']:.1f} s"
        for answer in found.values()
    ]
    cells = (cell.dtype, f"{cell.batch}x{cell.length}", *sizes, f"{ratio:.3f}")
    return ENCODER_ROW.format(*cells, f"{cell.mark:.3f} {met}")


def measure_encoder(cell: Cell, folder: Path, arguments: argparse.Namespace) -> str:
    """Check one cell, measure both packages; the row of the table."""
    threads, sizes = arguments.threads, {"width": arguments.width, "vocab": arguments.vocab}
    reach = max(cell.length, SHORTEST_REACH)
    write_checkpoint(folder / "check", layers=CHECKED_LAYERS, reach=reach, **sizes)
    check(cell, folder / "check", threads)
    write_checkpoint(folder / "full", layers=arguments.layers, reach=SHORTEST_REACH, **sizes)
    return make_row(cell, run_both(cell, folder / "full", threads))


def measure_documents(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Documents of every length, each in a process of ours."""
    tokenizer = load_tokenizer(EMBEDDED_FOLDER)
    sizes = {"layers": arguments.layers, "width": arguments.width, "vocab": tokenizer.n_pieces}
    write_checkpoint(folder, reach=SHORTEST_REACH, **sizes)
    tokenizer.save(folder)
    python = Path(sys.executable)
    return [
        run_worker(python, arguments.threads, "document", folder, n_tokens)
        for n_tokens in arguments.tokens
    ]


def print_encoders(rows: Sequence[str]) -> None:
    """The table of the encoder."""
    print("\nMiB over the weights: peak of the first pass, kept after it; time of that pass\n")
    print(ENCODER_ROW.format(*ENCODER_COLUMNS))
    print(ENCODER_ROW.format(*["-" * n for n in (8, 7, 24, 24, 7, 10)]))
    for row in rows:
        print(row)


def print_documents(found: Sequence[dict[str, Any]]) -> None:
    """The table of documents, and how memory grows with a token."""
    print("\none document through nlp.pipe, MiB over what is held after a short text\n")
    print(DOCUMENT_ROW.format(*DOCUMENT_COLUMNS))
    print(DOCUMENT_ROW.format(*["-" * n for n in (7, 7, 7, 8, 8, 13)]))
    work = [answer["peak"] - answer["rows"] for answer in found]
    for answer, rest in zip(found, work, strict=True):
        sizes = (f"{size / MIB:.0f}" for size in (answer["peak"], answer["rows"], rest))
        print(
            DOCUMENT_ROW.format(
                answer["tokens"], answer["pieces"], f"{answer['seconds']:.1f}", *sizes
            )
        )
    if len(found) == 1:
        return
    tokens = [answer["tokens"] for answer in found]
    peak_slope = statistics.linear_regression(tokens, [answer["peak"] for answer in found]).slope
    work_slope = statistics.linear_regression(tokens, work).slope
    growth = work[-1] / work[0]
    print(f"\nbytes per token: peak {peak_slope:.0f}, without the rows {work_slope:.0f}")
    met = "met" if growth <= CONSTANT else "not"
    print(f"longest / shortest, without the rows: {growth:.2f}, mark {CONSTANT} {met}")


def main() -> None:
    """Measure the cases that were asked for."""
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    cells = CELLS | {"long": CELLS["long"]._replace(length=arguments.length)}
    chosen = [cell for name, cell in cells.items() if arguments.case in (None, name)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [measure_encoder(cell, folder, arguments) for cell in chosen]
        documents = []
        if arguments.case in (None, "document"):
            documents = measure_documents(folder / "document", arguments)
    print(f"peak memory, {arguments.layers} layers, width {arguments.width}, random weights")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}")
    if rows:
        print_encoders(rows)
    if documents:
        print_documents(documents)


if __name__ == "__main__":
    main()
