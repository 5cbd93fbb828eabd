"""Train one pipeline and measure it. Runs in our environment and in that of a peer.

    python tests/benchmarks/training_worker.py CONFIG.cfg TEST.spacy SCORE RESULT.json

Needs spaCy and the package that the config names. Nothing is evaluated during training, and the
weights of the last step are scored: the rate has reached zero there.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Corpus, Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import create_train_batches, train_while_improving
from spacy.util import load_config, registry, resolve_dot_names

PREDICTIONS = 3  # timed runs over the test texts
PROGRESS = 20  # steps between two lines
KIB = 1024


@dataclass(frozen=True)
class Result:
    """What one training gave.

    Attributes:
        score: on the test part, percent.
        seconds: of all training steps, without start-up and evaluation.
        train_words: words per second in training.
        predict_words: words per second of nlp.pipe, from texts, median.
        memory: largest resident size in training, MiB.
        disk: size of the saved pipeline, MiB.
    """

    score: float
    seconds: float
    train_words: float
    predict_words: float
    memory: float
    disk: float


def measure(config: Path, test: Path, score: str) -> Result:
    """Train, score and time."""
    nlp = init_nlp(load_config(config))
    start = time.perf_counter()
    words = train(nlp)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB
    examples = list(Corpus(test)(nlp))
    percent = 100 * nlp.evaluate(examples)[score]
    rate = predict(nlp, examples)
    return Result(percent, seconds, words / seconds, rate, memory, size_on_disk(nlp))


def train(nlp: Language) -> int:
    """Do all steps of the config; returns the words they saw."""
    words = 0
    for number, info in enumerate(_steps(nlp)):
        words = info["words"]
        if number % PROGRESS == 0:
            losses = ", ".join(f"{name} {loss:.1f}" for name, loss in info["losses"].items())
            print(f"    step {number}, {losses}", flush=True)
    return words


def size_on_disk(nlp: Language) -> float:
    """MiB of the saved pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files) / KIB**2


def predict(nlp: Language, examples: list[Example]) -> float:
    """Words per second of nlp.pipe, from plain texts."""
    texts = [example.text for example in examples]
    rates = []
    for _ in range(PREDICTIONS):
        start = time.perf_counter()
        words = sum(len(doc) for doc in nlp.pipe(texts))
        rates.append(words / (time.perf_counter() - start))
    return statistics.median(rates)


def _steps(nlp: Language) -> Iterator[dict[str, Any]]:
    """The loop of `spacy train`, without evaluation."""
    config = nlp.config.interpolate()
    settings = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    corpus = resolve_dot_names(config, [settings["train_corpus"]])[0]
    batches = create_train_batches(nlp, corpus, settings["batcher"], settings["max_epochs"])
    steps = train_while_improving(
        nlp,
        settings["optimizer"],
        batches,
        lambda: (0.0, {}),
        dropout=settings["dropout"],
        eval_frequency=settings["eval_frequency"],
        accumulate_gradient=settings["accumulate_gradient"],
        patience=settings["patience"],
        max_steps=settings["max_steps"],
        exclude=[],
        annotating_components=[],
        before_update=None,
    )
    for _, info, _ in steps:
        yield info


if __name__ == "__main__":
    result = measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    Path(sys.argv[4]).write_text(json.dumps(asdict(result)), encoding="utf-8")
