"""Time of spacy.load for a pipeline of the size of DeBERTa-v3-base, against spacy-transformers.

    python -m tests.benchmarks.peers spacy-transformers-1.4.0      # once
    python -m tests.benchmarks.pipeline_load

Both packages save a pipeline that is their encoder, with the same random weights, and load it in
new processes, in turn; the table has medians. The files are in the page cache for both. Ours maps
the weights into memory, so that they are read when they are used: the time of a first, short text
is in the table, too.

"spacy.load" has all imports behind it: a tiny pipeline of the same kind was loaded in that process
before. "and imports" is the same in a process that has only imported spaCy.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacy_deberta.checkpoints import EMBEDDED_FOLDER
from spacy_deberta.config import DebertaV2Config
from spacy_deberta.modeling import DebertaV2Model
from spacy_deberta.tokenizers import load_tokenizer
from tests.benchmarks.load_memory import V3_BASE
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import SPACY_TRANSFORMERS, peer_python
from tests.benchmarks.versus_spacy_transformers import (
    OURS,
    THEIRS,
    our_component,
    peer_source,
    their_component,
    worker_environment,
)

WORKER = Path(__file__).with_name("pipeline_load_worker.py")
HEAD_WIDTH = 64  # features
MARK = 0.25  # largest ratio of the time of spacy.load, ours / theirs
AGREEMENT = 1e-4  # of the rows of a short text, each about 1 in size
WINDOW = {"window": 256, "stride": 192}
ROW = "| {:24} | {:>12} | {:>13} | {:>12} | {:>8} |"
COLUMNS = ("package", "spacy.load s", "and imports s", "first text s", "peak MiB")

Answers = Mapping[str, Sequence[dict[str, Any]]]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=128_100, help="rows of the piece table")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=EMBEDDED_FOLDER,
        help="checkpoint folder that has the spm.model; the embedded model unless given",
    )
    return parser.parse_args()


def python_of(package: str) -> Path:
    """The interpreter that has a package."""
    return Path(sys.executable) if package == OURS else peer_python(SPACY_TRANSFORMERS)


def run_worker(package: str, threads: int, *command: object) -> str:
    """What a process of that package printed last."""
    done = subprocess.run(
        [str(python_of(package)), str(WORKER), *map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        env=worker_environment(threads),
    )
    return done.stdout.decode().strip().rpartition("\n")[2]


def write_source(folder: Path, tokenizer: Path, *, layers: int, width: int, vocab: int) -> None:
    """A checkpoint with random weights of the shape of v3-base, or of a smaller one."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": vocab,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // HEAD_WIDTH,
    }
    DebertaV2Model(DebertaV2Config(**V3_BASE | sizes)).save_pretrained(folder)
    load_tokenizer(tokenizer).save(folder)


def save_pipelines(source: Path, threads: int) -> dict[str, Path]:
    """The pipelines of both packages."""
    components = {
        OURS: our_component(source, **WINDOW),
        THEIRS: their_component(peer_source(source, source / "peer"), **WINDOW),
    }
    saved = {}
    for package, component in components.items():
        config = source / "component.json"
        config.write_text(json.dumps(component), encoding="utf-8")
        saved[package] = source / package
        run_worker(package, threads, "save", config, saved[package])
    return saved


def measure(
    saved: Mapping[str, Path], small: Mapping[str, Path], *, rounds: int, threads: int
) -> dict[str, list[dict[str, Any]]]:
    """Both packages in turn; who begins changes from round to round."""
    found: dict[str, list[dict[str, Any]]] = {package: [] for package in saved}
    for number in range(rounds):
        for package in list(saved)[:: -1 if number % 2 else 1]:
            cold = json.loads(run_worker(package, threads, "load", saved[package]))
            command = ("load", saved[package], small[package])
            warm = json.loads(run_worker(package, threads, *command))
            found[package].append({**warm, "with imports": cold["load"]})
            print(f"  {number} {package}: {warm['load']:.2f} s", flush=True)
    return found


def check(found: Answers) -> None:
    """All loaded the same weights.

    Raises:
        SystemExit: their outputs differ.
    """
    columns = np.array([answer["first column"] for answers in found.values() for answer in answers])
    error = float(np.ptp(columns, axis=0).max())
    print(f"check: outputs of {len(columns)} loads differ by {error:.1e} at most")
    if not error <= AGREEMENT:
        sys.exit(f"expected {AGREEMENT} at most")


def print_table(found: Answers) -> None:
    """Medians, ratios, the mark."""
    print(ROW.format(*COLUMNS))
    print(ROW.format(*["-" * n for n in (24, 12, 13, 12, 8)]))
    keys = ("load", "with imports", "text", "peak")
    middle = {
        package: {key: statistics.median(answer[key] for answer in answers) for key in keys}
        for package, answers in found.items()
    }
    for package, of in middle.items():
        times = [f"{of[key]:.2f}" for key in keys[:3]]
        print(ROW.format(package, *times, f"{of['peak'] / 2**20:.0f}"))
    ratios = {key: middle[OURS][key] / middle[THEIRS][key] for key in keys}
    print(ROW.format("ratio", *(f"{ratio:.3f}" for ratio in ratios.values())))
    print(f"\nspacy.load: {ratios['load']:.3f}, mark {MARK}", end=" ")
    print("met" if ratios["load"] <= MARK else "not met")


def main() -> None:
    """Write, save, load, check, print."""
    arguments = parse_arguments()
    threads = arguments.threads
    machine = describe_machine(threads)
    sizes = {"layers": arguments.layers, "width": arguments.width, "vocab": arguments.vocab}
    with tempfile.TemporaryDirectory() as temporary:
        source, small = Path(temporary) / "source", Path(temporary) / "small"
        write_source(source, arguments.tokenizer, **sizes)
        write_source(small, arguments.tokenizer, **sizes | {"layers": 1, "width": HEAD_WIDTH})
        weights = (source / "model.safetensors").stat().st_size
        found = measure(
            save_pipelines(source, threads),
            save_pipelines(small, threads),
            rounds=arguments.rounds,
            threads=threads,
        )
    check(found)
    print(f"\nloading a pipeline, weights {weights / 2**20:.0f} MiB, medians of {arguments.rounds}")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print_table(found)


if __name__ == "__main__":
    main()
