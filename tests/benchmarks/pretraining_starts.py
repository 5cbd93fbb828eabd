"""Starts of pre-training at equal time: random weights, a BERT-like model upcycled, or distilled.

    python -m spacy_deberta train-tokenizer FILE -o VOCABULARY
    python -m tests.benchmarks.pretraining_starts --source MINILM --vocabulary VOCABULARY \
        --text FILE --held-out FILE --minutes 10 --out DIR

All have the shape of MINILM over the same vocabulary. "random" and "upcycled" learn masked language
modelling, "distilled" what MINILM computes for each word, with a masked-LM loss beside it.
DIR/NAME/model is a checkpoint to fine-tune (tests.benchmarks.config_scores --encoder).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.pretraining_objectives import (
    CONFIGS,
    add_arguments,
    pretrain,
    score,
    settings_of,
)

START, RANDOM, UPCYCLED, DISTILLED = "start", "random", "upcycled", "distilled"


def run_command(name: str, *arguments: object) -> None:
    """A command of the package."""
    command = [sys.executable, "-m", "spacy_deberta", name, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make the starts, train and score."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="the BERT-like checkpoint")
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--random-rate", type=float, default=1e-3, help="for random weights")
    add_arguments(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    start = arguments.out / START
    run_command("upcycle", arguments.source, start, "--tokenizer", arguments.vocabulary)
    models: dict[str, dict[str, Any]] = {
        RANDOM: {
            "model.config": str(start / "config.json"),
            "model.shape": {},
            "data.tokenizer": str(arguments.vocabulary),
            "optimizer.learn_rate": arguments.random_rate,
        },
        UPCYCLED: {"model.init": str(start), "model.fresh_head": True},
    }
    for name, model in models.items():
        run = arguments.out / name
        settings = settings_of(run, arguments, {"minutes": arguments.minutes})
        pretrain(
            run, CONFIGS / "pretrain_mlm.cfg", settings | {"optimizer.warmup_steps": 20} | model
        )
    options = [part for file in arguments.text for part in ("--text", file)]
    options += ["--minutes", arguments.minutes, "--n-threads", arguments.threads]
    options += ["--seed", arguments.seed]
    run_command("distil", arguments.source, start, arguments.out / DISTILLED / "model", *options)
    for name in (*models, DISTILLED):
        folder = arguments.out / name / "model"
        line = score(folder, "plain", arguments.held_out, arguments.held_out_lines)
        print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
