"""Train and score pipelines with spaCy's own commands, each under the same time budget."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy_deberta.errors import DebertaError

OURS = "spacy-deberta"
RANDOM = "spacy-deberta, random weights"
TOK2VEC = "spaCy tok2vec"

# `spacy train` prints such a row after each evaluation, when the checkpoint is safely written.
TABLE_ROW = re.compile(r"\s*\d+\s+\d+\s+\d")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Plan:
    """One pipeline to train: its name in the table, its config, and settings over the config."""

    name: str
    config: Path
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """The entity F1 (percent) of one trained pipeline on the test part."""

    name: str
    seed: int
    f1: float
    seconds: float


def train(plan: Plan, files: dict[str, Path], target: Path, *, seed: int, budget: float) -> float:
    """Run `spacy train` until it ends or the budget is spent, showing its progress.

    The budget is looked at after each evaluation, so that no checkpoint is torn.

    Args:
        plan: what to train.
        files: the train and dev parts.
        target: the folder that gets model-best.
        seed: of the weights and of the order of the data.
        budget: seconds.

    Returns:
        The seconds it took.
    """
    command = [sys.executable, "-m", "spacy", "train", str(plan.config), "--output", str(target)]
    command += ["--paths.train", str(files["train"]), "--paths.dev", str(files["dev"])]
    command += ["--system.seed", str(seed), *plan.settings]
    start = time.perf_counter()
    stopped = False
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
    ) as process:
        for line in process.stdout or ():
            if not stopped:
                print(_plain(line), end="", flush=True)
            if not stopped and TABLE_ROW.match(line) and time.perf_counter() - start > budget:
                print(f"  the budget of {budget:.0f} s is spent: stopping here")
                process.send_signal(signal.SIGINT)
                stopped = True
    if process.returncode and not stopped:
        raise DebertaError(f"{plan.name}: spacy train ended with code {process.returncode}.")
    return time.perf_counter() - start


def evaluate(pipeline: Path, data: Path, *, show: bool) -> float:
    """Run `spacy evaluate` and return the entity F1 in percent."""
    metrics = pipeline.parent / "metrics.json"
    command = [sys.executable, "-m", "spacy", "evaluate", str(pipeline), str(data)]
    command += ["--output", str(metrics)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        raise DebertaError(f"{pipeline}: spacy evaluate failed.\n{done.stdout}{done.stderr}")
    if show:
        print(_plain(done.stdout))
    return 100 * float(json.loads(metrics.read_text(encoding="utf-8"))["ents_f"])


def plan_tok2vec(folder: Path) -> Plan:
    """SpaCy's default CPU pipeline, as `spacy init config` writes it: optimized for efficiency.

    The one optimized for accuracy asks for word vectors, a download of its own; without them it
    scores lower than this one within such a budget (29 against 36 F1, measured once).
    """
    config = folder / "tok2vec.cfg"
    command = [sys.executable, "-m", "spacy", "init", "config", str(config), "--force"]
    command += ["--lang", "en", "--pipeline", "ner"]
    subprocess.run(command, capture_output=True, check=True)
    # Its 200 steps between evaluations overshoot the budget.
    return Plan(TOK2VEC, config, ("--training.eval_frequency", "100"))


def plan_random(config: Path, folder: Path, seed: int) -> Plan:
    """Our pipeline, its encoder of the same shape but freshly initialized."""
    import torch

    from spacy_deberta.checkpoints import load_encoder, resolve_source, save_encoder
    from spacy_deberta.encoder import DebertaEncoder
    from spacy_deberta.tokenizers import load_tokenizer

    embedded = resolve_source(None)
    torch.manual_seed(seed)
    encoder = DebertaEncoder(load_encoder(embedded).config)
    folder.mkdir(parents=True, exist_ok=True)
    save_encoder(encoder, folder)
    load_tokenizer(embedded).save(folder)
    return Plan(RANDOM, config, ("--paths.source", str(folder)))


def format_table(scores: Sequence[Score]) -> str:
    """A Markdown table: mean and range of F1 per pipeline, in the order of the scores."""
    rows = [("pipeline", "seeds", "entity F1", "range", "training")]
    for name in dict.fromkeys(score.name for score in scores):
        runs = [score for score in scores if score.name == name]
        f1s = [run.f1 for run in runs]
        mean = sum(f1s) / len(f1s)
        seconds = sum(run.seconds for run in runs) / len(runs)
        spread = f"{min(f1s):.1f} to {max(f1s):.1f}"
        rows.append((name, str(len(runs)), f"{mean:.1f}", spread, f"{seconds:.0f} s"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (n + 2) for n in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _environment() -> dict[str, str]:
    """Unbuffered, so that progress shows at once."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _plain(text: str) -> str:
    """The text without colors where nobody would see them."""
    return text if sys.stdout.isatty() else ESCAPE.sub("", text)
