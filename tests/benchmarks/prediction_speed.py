"""Words per second of nlp.pipe with the encoder alone, ours against spacy-transformers.

    python -m tests.benchmarks.peers spacy-transformers-1.4.0      # once
    python -m tests.benchmarks.prediction_speed --source FOLDER

Two processes hold the same weights and run in turn, so that slow changes of the machine meet both.
"sentences" are the tweets of the demo, "documents" are many of them joined, of several windows.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import spacy

from examples.ner_demo.data import prepare_data
from spacy_deberta.tokenizers import load_tokenizer
from tests.benchmarks.encoder_check import (
    CHECKED,
    EncoderWorker,
    compare,
    read_texts,
    start_ours,
    start_theirs,
)
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.versus_spacy_transformers import OURS, THEIRS

WINDOW, STRIDE = 256, 192  # pieces, the defaults of ours
JOINED = 40  # sentences of a document, about 700 words
WARM_UP = 1  # rounds that do not count
ROW = "| {:9} | {:>24} | {:>13} | {:>22} |"


@dataclass(frozen=True)
class Pair:
    """Words per second of the two in the same round."""

    theirs: float
    ours: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.ours / self.theirs


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


def measure(ours: EncoderWorker, theirs: EncoderWorker, name: str, rounds: int) -> list[Pair]:
    """Run both in turn; who begins changes from round to round."""
    pairs = []
    for number in range(WARM_UP + rounds):
        order = (theirs, ours) if number % 2 else (ours, theirs)
        rates = {}
        for worker in order:
            answer = worker.ask(f"time {name}")
            rates[worker] = answer["words"] / answer["seconds"]
        pairs.append(Pair(theirs=rates[theirs], ours=rates[ours]))
        print(f"  {name} {number}: {pairs[-1]} {pairs[-1].ratio:.2f}", flush=True)
    return pairs[WARM_UP:]


def print_row(name: str, pairs: Sequence[Pair]) -> None:
    """Medians, and the range of the ratio."""
    ratios = [pair.ratio for pair in pairs]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    theirs = statistics.median(pair.theirs for pair in pairs)
    ours = statistics.median(pair.ours for pair in pairs)
    print(ROW.format(name, f"{theirs:.0f}", f"{ours:.0f}", spread))


def main() -> None:
    """Check, measure, print the table."""
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    threads = arguments.threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = prepare_data(None, folder / "data")
        sentences = read_texts(files["train"])[: arguments.texts]
        ratio = pieces_per_token(arguments.source, sentences)
        texts = folder / "texts.json"
        texts.write_text(json.dumps(make_texts(sentences)), encoding="utf-8")
        window, stride = round(WINDOW / ratio), round(STRIDE / ratio)
        source = arguments.source
        with (
            start_ours(source, texts, window=WINDOW, stride=STRIDE, threads=threads) as ours,
            start_theirs(source, texts, window=window, stride=stride, threads=threads) as theirs,
        ):
            compare(ours, theirs, "check", folder)
            results = {
                name: measure(ours, theirs, name, arguments.rounds)
                for name in ("sentences", "documents")
            }
    print(f"\nwords per second, medians of {arguments.rounds} rounds, {len(sentences)} sentences")
    print(f"windows: {WINDOW}/{STRIDE} pieces, theirs as many in tokens: {window}/{stride}")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print(ROW.format("texts", THEIRS, OURS, "ratio (range)"))
    print(ROW.format(*["-" * n for n in (9, 24, 13, 22)]))
    for name, pairs in results.items():
        print_row(name, pairs)


if __name__ == "__main__":
    main()
