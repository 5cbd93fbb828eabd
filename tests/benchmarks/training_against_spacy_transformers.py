"""A task with the same weights in spacy-deberta and in spacy-transformers: score, speed, memory.

    python -m tests.benchmarks.peers spacy-transformers-1.4.0      # once
    python -m tests.benchmarks.training_against_spacy_transformers --source FOLDER --seeds 0,1,2
    python -m tests.benchmarks.training_against_spacy_transformers --source FOLDER --treebank DIR

Entities of the demo's tweets; or fine-grained tags of a treebank, whose parts are named
PART.conllu.gz, tested on the first 600 sentences of its test part. Every training is a process of
its own; within a seed they run one after the other, so that slow changes of the machine meet all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spacy.tokens import DocBin
from spacy.util import load_config
from thinc.api import Config

from examples.ner_demo.data import prepare_data
from tests.benchmarks.embedded_data import read_treebank
from tests.benchmarks.encoder_check import check_outputs
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import SPACY_TRANSFORMERS, peer_python
from tests.benchmarks.training_worker import Result
from tests.benchmarks.versus_spacy_transformers import (
    DIFFERENCES,
    OURS,
    THEIRS,
    peer_source,
    their_config,
    worker_environment,
)

WORKER = Path(__file__).with_name("training_worker.py")
TESTED = 600  # sentences of a treebank
SHIPPED = f"{OURS}, as shipped"
ROW = "| {:27} | {:>16} | {:>9} | {:>9} | {:>10} | {:>7} | {:>5} |"


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        component: of the pipeline.
        config: file that has its settings.
        score: what `nlp.evaluate` calls the score.
    """

    component: str
    config: Path
    score: str


ENTITIES = Task("ner", Path("configs/ner_v2.cfg"), "ents_f")
TAGS = Task("tagger", Path("configs/tagger_parser_v2.cfg"), "tag_acc")


@dataclass(frozen=True)
class Contestant:
    """One row of the table: who, with which interpreter and which config."""

    name: str
    python: Path
    config: Config


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--treebank", type=Path, help="folder; default: the demo's entities")
    parser.add_argument("--steps", type=int, default=520)
    parser.add_argument("--seeds", type=_parse_seeds, default=[0], help="0,1,2")
    parser.add_argument("--learn-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--as-shipped", action="store_true", help="a third row: ours, the NER at its higher rate"
    )
    return parser.parse_args()


def our_config(
    arguments: argparse.Namespace, files: Mapping[str, Path], *, head_scale: float | None
) -> Config:
    """The task's config for this benchmark; None = the head's rate as the file has it."""
    task = task_of(arguments)
    overrides = {
        "nlp.pipeline": ["deberta", task.component],
        "paths.source": str(arguments.source.resolve()),
        "paths.train": str(files["train"]),
        "paths.dev": str(files["dev"]),
        "training.max_steps": arguments.steps,
        "training.optimizer.learn_rate.total_steps": arguments.steps,
        "training.optimizer.learn_rate.warmup_steps": max(1, arguments.steps // 10),
        "training.optimizer.learn_rate.initial_rate": arguments.learn_rate,
    }
    if head_scale is not None:
        overrides["training.optimizer.head_learn_rate_scale"] = head_scale
    config = load_config(task.config, overrides=overrides, interpolate=True)
    for name in set(config["components"]) - {"deberta", task.component}:
        del config["components"][name]
    return config


def task_of(arguments: argparse.Namespace) -> Task:
    """Tags of a treebank if there is one."""
    return TAGS if arguments.treebank else ENTITIES


def prepare(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The .spacy file of each part."""
    if arguments.treebank is None:
        return prepare_data(None, folder)
    folder.mkdir()
    files = {}
    for part in ("train", "dev", "test"):
        files[part] = folder / f"{part}.spacy"
        docs = list(read_treebank(arguments.treebank / f"{part}.conllu.gz"))
        DocBin(docs=docs if part == "train" else docs[:TESTED]).to_disk(files[part])
    return files


def contestants(
    arguments: argparse.Namespace, files: Mapping[str, Path], folder: Path
) -> list[Contestant]:
    """The rows of the table, theirs first."""
    ours = our_config(arguments, files, head_scale=1.0)
    theirs = their_config(ours, peer_source(arguments.source, folder / "peer-source"))
    python = Path(sys.executable)
    rows = [
        Contestant(THEIRS, peer_python(SPACY_TRANSFORMERS), theirs),
        Contestant(OURS, python, ours),
    ]
    if arguments.as_shipped:
        shipped = our_config(arguments, files, head_scale=None)
        rows.append(Contestant(SHIPPED, python, shipped))
    return rows


def run(
    contestant: Contestant, seed: int, test: Path, score: str, folder: Path, threads: int
) -> Result:
    """Train and measure one of them with one seed."""
    print(f"  {contestant.name}, seed {seed}", flush=True)
    config, result = folder / "config.cfg", folder / "result.json"
    seeded = contestant.config.copy()
    seeded["system"]["seed"] = seeded["training"]["seed"] = seed
    seeded.to_disk(config)
    command = [str(contestant.python), str(WORKER), str(config), str(test), score, str(result)]
    subprocess.run(command, check=True, env=worker_environment(threads))
    return Result(**json.loads(result.read_text(encoding="utf-8")))


def print_table(results: Mapping[str, list[Result]]) -> None:
    """Means over the seeds, the range of scores, and ratios to theirs."""
    print(ROW.format("", "test score", "training", "words/s", "words/s", "memory", "disk"))
    print(ROW.format("", "(range)", "", "training", "prediction", "MiB", "MiB"))
    print(ROW.format(*["-" * n for n in (27, 16, 9, 9, 10, 7, 5)]))
    for name, runs in results.items():
        scores = [result.score for result in runs]
        print(
            ROW.format(
                name,
                f"{statistics.mean(scores):.1f} ({min(scores):.1f}-{max(scores):.1f})",
                f"{statistics.mean(result.seconds for result in runs):.0f} s",
                f"{statistics.mean(result.train_words for result in runs):.0f}",
                f"{statistics.mean(result.predict_words for result in runs):.0f}",
                f"{max(result.memory for result in runs):.0f}",
                f"{max(result.disk for result in runs):.0f}",
            )
        )
    for name, runs in results.items():
        if name != THEIRS:
            train = _median_ratio(results[THEIRS], runs, lambda result: result.train_words)
            predict = _median_ratio(results[THEIRS], runs, lambda result: result.predict_words)
            print(f"{name}: {train:.2f} times the words/s in training, {predict:.2f} in prediction")


def _median_ratio(
    theirs: list[Result], ours: list[Result], value: Callable[[Result], float]
) -> float:
    """Median over the seeds of ours / theirs."""
    return statistics.median(value(b) / value(a) for a, b in zip(theirs, ours, strict=True))


def _parse_seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def main() -> None:
    """Check, train everything, print the table."""
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = prepare(arguments, folder / "data")
        check_outputs(arguments.source, files["dev"], folder, arguments.threads)
        rows = contestants(arguments, files, folder)
        results: dict[str, list[Result]] = {row.name: [] for row in rows}
        for seed in arguments.seeds:
            for row in rows:
                score = task_of(arguments).score
                result = run(row, seed, files["test"], score, folder, arguments.threads)
                results[row.name].append(result)
                print(f"    {result}", flush=True)
    task = task_of(arguments)
    print(f"\n{task.component}: {task.score}, {len(arguments.seeds)} seeds")
    print(f"{arguments.steps} steps, rate {arguments.learn_rate:g}")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print_table(results)
    print(f"\n{DIFFERENCES}")


if __name__ == "__main__":
    main()
