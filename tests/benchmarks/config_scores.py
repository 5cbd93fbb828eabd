"""Train the configs on real data: the embedded encoder, random weights, spaCy's tok2vec.

    python -m tests.benchmarks.embedded_data --tasks DIR --out DATA          # once
    python -m tests.benchmarks.config_scores --data DATA --tasks-dir DIR --out OUT --seeds 0,1,2

Every training is `spacy train` in a process of its own. Ours makes the task's steps and is scored
by its last weights; tok2vec, as `spacy init config` writes it, goes on until its dev score has not
risen for 1,000 steps, 3,000 at most, and is scored by its best. What stands in OUT is not trained
again. --encoder FOLDER adds a row for another encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc, DocBin
from spacy.util import load_config
from spacy.vocab import Vocab
from thinc.api import Config

from examples.ner_demo.data import prepare_data
from examples.ner_demo.training import plan_random
from spacy_deberta.corpora.docs import build_docs
from tests.benchmarks.embedded_data import PARTS, SEED, iob

CONFIGS = Path(__file__).parents[2] / "configs"
EMBEDDED, RANDOM, TOK2VEC = "embedded", "random", "tok2vec"
WARM_UP = 0.1  # of the steps
DEV_DOCS = 200  # looked at during training
TOK2VEC_STEPS = {"max_steps": 3000, "patience": 1000, "eval_frequency": 200}
ROW = "| {:14} | {:14} | {:20} | {:>6} | {:>16} | {:>8} |"


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        config: name of the file in configs/.
        files: stem of the .spacy files.
        steps: of ours.
        scores: as `spacy evaluate` calls them.
        rivals: components of spaCy's own pipeline for the task.
        kept: components of the config that are trained; none = all.
    """

    config: str
    files: str
    steps: int
    scores: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


TASKS = {
    "tweets": Task("ner_v2", "tweets", 480, ("ents_f",), ("ner",)),
    "wikigold": Task("ner_v2", "wg", 400, ("ents_f",), ("ner",)),
    "uner": Task("ner_v2", "uner", 500, ("ents_f",), ("ner",)),
    "tags": Task("tagger_parser_v2", "ewt", 300, ("tag_acc",), ("tagger",), ("deberta", "tagger")),
    "sentiment": Task("textcat_v2", "sent", 500, ("cats_macro_f",), ("textcat",)),
    "trees": Task(
        "tagger_parser_v2", "ewt", 500, ("tag_acc", "pos_acc", "dep_las", "lemma_acc"),
        ("tagger", "morphologizer", "parser", "trainable_lemmatizer"),
    ),
    "pairs": Task("pairs_v2", "nli", 800, ("cats_micro_f",)),
    "questions": Task("qa_v2", "qa", 150, ("qa_has_answer_f1", "qa_f1")),
    "choices": Task("choice_v2", "mc_codah", 400, ("choice_acc",)),
}  # fmt: skip


def write_data(arguments: argparse.Namespace) -> None:
    """Add the demo's tweets, and UNER English: trained on its dev part but for some sentences."""
    arguments.data.mkdir(parents=True, exist_ok=True)
    if not (arguments.data / "tweets_test.spacy").exists():
        for part, file in prepare_data(None, arguments.out / "tweets").items():
            file.replace(arguments.data / f"tweets_{part}.spacy")
    if not (arguments.data / "uner_test.spacy").exists():
        folder = arguments.tasks_dir / "ner_en_uner_ewt"
        dev, test = (list(build_docs(iob(folder / f"{p}.iob.gz"), Vocab())) for p in PARTS[1:])
        random.Random(SEED).shuffle(dev)  # it is sorted by kind of text
        parts = (dev[:-DEV_DOCS], dev[-DEV_DOCS:], test)
        for part, docs in zip(PARTS, parts, strict=True):
            DocBin(docs=docs).to_disk(arguments.data / f"uner_{part}.spacy")


def our_config(task: Task, source: str | None, arguments: argparse.Namespace) -> Config:
    """The config as it is shipped, but for its length."""
    overrides = {
        "paths.source": source,
        "training.max_steps": task.steps,
        "training.eval_frequency": task.steps,
        "training.optimizer.learn_rate.total_steps": task.steps,
        "training.optimizer.learn_rate.warmup_steps": int(WARM_UP * task.steps),
        "corpora.dev.limit": DEV_DOCS,
    }
    config = load_config(CONFIGS / f"{task.config}.cfg", overrides=overrides)
    if task.kept:
        config["nlp"]["pipeline"] = list(task.kept)
        for name in set(config["components"]) - set(task.kept):
            del config["components"][name]
        config["training"]["score_weights"] = {task.scores[0]: 1.0}
    for block in _blocks(config["components"]):
        if "precision" in block:
            block["precision"] = arguments.precision
    return config


def their_config(task: Task, folder: Path) -> Config:
    """SpaCy's default CPU pipeline, stopped when it does not get better."""
    file = folder / "tok2vec.cfg"
    command = [sys.executable, "-m", "spacy", "init", "config", str(file), "--force"]
    command += ["--lang", "en", "--pipeline", ",".join(task.rivals)]
    subprocess.run(command, capture_output=True, check=True)
    overrides = {f"training.{key}": value for key, value in TOK2VEC_STEPS.items()}
    return load_config(file, overrides={**overrides, "corpora.dev.limit": DEV_DOCS})


def _blocks(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for value in config.values():
        if isinstance(value, dict):
            yield value
            yield from _blocks(value)


def train(name: str, who: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores of the test part, percent, and seconds of training; read if they are there."""
    task, folder = TASKS[name], arguments.out / f"{name}-{who}-{seed}"
    result = folder / "result.json"
    if result.exists():
        known: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return known
    folder.mkdir(parents=True, exist_ok=True)
    if who == TOK2VEC:
        config = their_config(task, folder)
    else:
        config = our_config(task, source_of(who, seed, arguments), arguments)
    config.to_disk(folder / "config.cfg")
    seconds, best = run_training(task, folder, seed, arguments)
    pipeline = folder / ("model-best" if who == TOK2VEC else "model-last")
    scores = evaluate(pipeline, arguments.data / f"{task.files}_test.spacy", folder)
    found = {"seconds": seconds, "best": best}
    found |= {score: 100 * scores[score] for score in task.scores}
    result.write_text(json.dumps(found), encoding="utf-8")
    for part in ("model-best", "model-last"):
        shutil.rmtree(folder / part)
    return found


def source_of(who: str, seed: int, arguments: argparse.Namespace) -> str | None:
    """The encoder's folder; None = the embedded one."""
    if who == EMBEDDED:
        return None
    if who == RANDOM:
        return plan_random(Path(), arguments.out / f"random-{seed}", seed).settings[1]
    return str(dict(arguments.encoder)[who].resolve())


def run_training(
    task: Task, folder: Path, seed: int, arguments: argparse.Namespace
) -> tuple[float, str]:
    """`spacy train`; its seconds, and the last row that it printed."""
    command = [sys.executable, "-m", "spacy", "train", str(folder / "config.cfg")]
    command += ["--output", str(folder), "--system.seed", str(seed)]
    for part in ("train", "dev"):
        command += [f"--paths.{part}", str(arguments.data / f"{task.files}_{part}.spacy")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (folder / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{folder.name}: spacy train failed, see {folder / 'output.txt'}")
    rows = [line for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    return time.monotonic() - start, rows[-1]


def evaluate(pipeline: Path, test: Path, folder: Path) -> dict[str, Any]:
    """What `spacy evaluate` finds."""
    metrics = folder / "metrics.json"
    command = [sys.executable, "-m", "spacy", "evaluate", str(pipeline), str(test)]
    subprocess.run([*command, "--output", str(metrics)], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    return found


def majority(docs: Sequence[Doc]) -> str:
    """Share of the most frequent class or choice, percent; none where there are no classes."""
    golds = Counter(max(doc.cats, key=doc.cats.__getitem__) for doc in docs if doc.cats)
    return f"{100 * max(golds.values()) / len(docs):.1f}" if golds else "-"


def report(name: str, who: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the table: mean and range."""
    for score in TASKS[name].scores:
        values = [result[score] for result in results]
        spread = f"{min(values):.1f} to {max(values):.1f}" if len(values) > 1 else ""
        seconds = statistics.fmean(result["seconds"] for result in results)
        cells = (name, who, score, f"{statistics.fmean(values):.1f}", spread, f"{seconds:.0f} s")
        print(ROW.format(*cells), flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="files of embedded_data")
    parser.add_argument("--tasks-dir", type=Path, required=True, help="the data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--who", nargs="*", default=[EMBEDDED, RANDOM, TOK2VEC])
    parser.add_argument("--encoder", nargs="*", type=_named, default=[], help="NAME=FOLDER")
    parser.add_argument("--seeds", type=_seeds, default=[0], help="0,1,2")
    parser.add_argument("--precision", default="fp32", help="of our encoder in training")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def main() -> None:
    """Train and print the table, a row as soon as it is complete."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_data(arguments)
    print(ROW.format("task", "weights", "score", "mean", "range", "training"))
    print(ROW.format("---", "---", "---", "---", "---", "---"), flush=True)
    nlp = spacy.blank("en")
    for name in arguments.tasks:
        for who in [*arguments.who, *dict(arguments.encoder)]:
            if who != TOK2VEC or TASKS[name].rivals:
                report(name, who, [train(name, who, seed, arguments) for seed in arguments.seeds])
        file = arguments.data / f"{TASKS[name].files}_test.spacy"
        share = majority(list(DocBin().from_disk(file).get_docs(nlp.vocab)))
        print(ROW.format(name, "majority", "", share, "", ""), flush=True)


if __name__ == "__main__":
    main()
