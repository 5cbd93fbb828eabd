"""Words per second of nlp.pipe with the encoder alone, ours against spacy-transformers.

    python -m tests.benchmarks.peers spacy-transformers-1.4.0      # once
    python -m tests.benchmarks.prediction_speed --source FOLDER

The processes hold the same weights and run in turn, so that slow changes of the machine meet all.
"sentences" are the tweets of the demo, "documents" are many of them joined, of several windows.
"linear maps" are the matrix products of our encoder alone, on the batches of ours: their ratio is
what no pipeline on the same library for matrix products can exceed.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from examples.ner_demo.data import prepare_data
from spacy_deberta.thinc_layers.transformer import prepare
from spacy_deberta.tokenizers import load_tokenizer
from tests.benchmarks.encoder_check import (
    BF16_TOLERANCE,
    CHECKED,
    TOLERANCE,
    EncoderWorker,
    compare,
    read_texts,
    start_ours,
    start_theirs,
)
from tests.benchmarks.encoder_worker import load
from tests.benchmarks.gemm_rate import has_bf16
from tests.benchmarks.linear_maps import linear_maps
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.versus_spacy_transformers import OURS, THEIRS, our_component

WINDOW, STRIDE = 256, 192  # pieces, the defaults of ours
JOINED = 40  # sentences of a document, about 700 words
WARM_UP = 1  # rounds that do not count

Rates = dict[str, float]  # words per second of a round, by package


class LinearMaps:
    """Stands in for a worker: its passes are the linear maps of `nlp.pipe` alone.

    Args:
        nlp: of our encoder.
        texts: the lists of texts.
    """

    def __init__(self, nlp: Language, texts: Mapping[str, list[str]]) -> None:
        self._nlp = nlp
        self._texts = texts
        self._prepared: dict[str, tuple[int, Callable[[], None]]] = {}

    def ask(self, request: str) -> dict[str, float]:
        """The answer to "time NAME", as a worker gives it."""
        _, name = request.split()
        if name not in self._prepared:
            pipe: Any = self._nlp.get_pipe("deberta")
            encoder = prepare(pipe.model).for_prediction()
            docs: list[Doc] = []
            multiply = linear_maps(encoder, lambda: docs.extend(self._nlp.pipe(self._texts[name])))
            self._prepared[name] = sum(len(doc) for doc in docs), multiply
        n_words, multiply = self._prepared[name]
        start = time.perf_counter()
        multiply()
        return {"words": n_words, "seconds": time.perf_counter() - start}


Workers = Mapping[str, EncoderWorker | LinearMaps]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=400, help="sentences per run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def make_texts(sentences: Sequence[str]) -> dict[str, list[str]]:
    """The lists of texts that are timed, and the one that is checked before."""
    starts = range(0, len(sentences), JOINED)
    return {
        "check": list(sentences[:CHECKED]),
        "sentences": list(sentences),
        "documents": [" ".join(sentences[start : start + JOINED]) for start in starts],
    }


def pieces_per_token(source: Path, sentences: Sequence[str]) -> float:
    """Pieces of these texts for each spaCy token: their windows count tokens, ours pieces."""
    tokenizer, blank = load_tokenizer(source), spacy.blank("en")
    n_pieces = sum(len(pieces.ids) for pieces in tokenizer.encode_batch(sentences))
    return n_pieces / sum(len(blank.make_doc(text)) for text in sentences)


def measure(workers: Workers, name: str, rounds: int) -> list[Rates]:
    """Run all in turn; who begins changes from round to round."""
    found = []
    for number in range(WARM_UP + rounds):
        rates = {}
        for label in list(workers)[:: 1 if number % 2 else -1]:
            answer = workers[label].ask(f"time {name}")
            rates[label] = answer["words"] / answer["seconds"]
        found.append(rates)
        shown = ", ".join(f"{label} {rates[label]:.0f}" for label in workers)
        print(f"  {name} {number}: {shown}", flush=True)
    return found[WARM_UP:]


def print_row(name: str, found: Sequence[Rates]) -> None:
    """Medians, and the range of the ratios."""
    cells = [f"{statistics.median(rates[THEIRS] for rates in found):.0f}"]
    for label in found[0]:
        if label != THEIRS:
            ratios = [rates[label] / rates[THEIRS] for rates in found]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            cells += [f"{statistics.median(rates[label] for rates in found):.0f}", spread]
    print(f"| {name} | {' | '.join(cells)} |")


def start_all(
    stack: contextlib.ExitStack, source: Path, texts: Path, tokens: float, threads: int
) -> dict[str, EncoderWorker | LinearMaps]:
    """Both packages, checked against each other; ours also in bfloat16 where that is fast.

    Args:
        stack: ends the processes.
        source: checkpoint folder.
        texts: what they read.
        tokens: tokens for each piece.
        threads: of each process.
    """
    window, stride = round(WINDOW * tokens), round(STRIDE * tokens)
    print(f"windows: {WINDOW}/{STRIDE} pieces, theirs as many in tokens: {window}/{stride}")
    theirs = start_theirs(source, texts, window=window, stride=stride, threads=threads)
    workers: dict[str, EncoderWorker | LinearMaps] = {THEIRS: stack.enter_context(theirs)}
    torch.set_num_threads(threads)
    lists = json.loads(texts.read_text(encoding="utf-8"))
    for precision in ("fp32", "bf16") if has_bf16() else ("fp32",):
        started = start_ours(
            source, texts, window=WINDOW, stride=STRIDE, threads=threads, precision=precision
        )
        ours = workers[f"{OURS} {precision}"] = stack.enter_context(started)
        tolerance = TOLERANCE if precision == "fp32" else BF16_TOLERANCE
        compare(ours, theirs, "check", texts.parent, tolerance)
        component = our_component(source, window=WINDOW, stride=STRIDE, precision=precision)
        workers[f"linear maps {precision}"] = LinearMaps(load(component), lists)
    return workers


def main() -> None:
    """Check, measure, print the table."""
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        files = prepare_data(None, folder / "data")
        sentences = read_texts(files["train"])[: arguments.texts]
        tokens = 1 / pieces_per_token(arguments.source, sentences)
        texts = folder / "texts.json"
        texts.write_text(json.dumps(make_texts(sentences)), encoding="utf-8")
        workers = start_all(stack, arguments.source, texts, tokens, arguments.threads)
        results = {
            name: measure(workers, name, arguments.rounds) for name in ("sentences", "documents")
        }
    print(f"\nwords per second, medians of {arguments.rounds} rounds, {len(sentences)} sentences")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    columns = [c for name in workers if name != THEIRS for c in (name, "ratio (range)")]
    print(f"| texts | {THEIRS} | {' | '.join(columns)} |")
    print("|---" * (2 + len(columns)) + "|")
    for name, found in results.items():
        print_row(name, found)


if __name__ == "__main__":
    main()
