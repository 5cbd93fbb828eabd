"""Long streams and long texts through task pipelines on the embedded model: memory, losses, time.

    python -m tests.benchmarks.pipeline_memory --text FILE            # running text, plain or .xz
    python -m tests.benchmarks.pipeline_memory --text FILE --texts 2000 --pages 20

The stream is of short texts, of which every fiftieth is none: `on_error="return"` leaves a record
of what was wrong in its place. The memory after each tenth of it tells whether anything piles up.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import Failed, pipeline
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.pipeline_speed import read_words

BAD = (None, 7, b"bytes", ["a", "list"])  # what stands in the place of a text
BAD_EVERY = 50  # texts
WORDS = 12  # of a short text
PAGE = 2500  # characters
QUESTION = "Who was there at first?"
TENTHS = 10


def short_texts(words: list[str], n_texts: int) -> Iterator[Any]:
    """Texts of a few words, and now and then something that is none."""
    bad = itertools.cycle(BAD)
    for number in range(n_texts):
        if number % BAD_EVERY == BAD_EVERY - 1:
            yield next(bad)
        else:
            start = number * WORDS % (len(words) - WORDS)
            yield " ".join(words[start : start + WORDS])


def resident() -> float:
    """MiB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def stream(words: list[str], n_texts: int) -> None:
    """Print what became of the stream.

    Raises:
        SystemExit: a result is lost, or a bad text has one.
    """
    pipe = pipeline("text-classification", on_error="return")
    pipe(list(short_texts(words, 1000)))
    began, memory, n_results, n_failed = time.perf_counter(), [resident()], 0, 0
    for result in pipe(short_texts(words, n_texts)):
        n_results += 1
        n_failed += isinstance(result, Failed)
        if n_results % (n_texts // TENTHS) == 0:
            memory.append(resident())
    seconds = time.perf_counter() - began
    shown = " ".join(f"{one:.0f}" for one in memory)
    print(f"{n_results} results of {n_texts} texts, {n_failed} failed; {seconds:.0f} s")
    print(f"resident after a warm-up and after each tenth (MiB): {shown}", flush=True)
    if n_results != n_texts or n_failed != n_texts // BAD_EVERY:
        raise SystemExit(f"expected {n_texts} results and {n_texts // BAD_EVERY} failed")


def long_text(words: list[str], n_pages: int) -> None:
    """Print time and memory of one text of so many pages in each task that reads all of it."""
    text = " ".join(words)[: n_pages * PAGE]
    for task in ("ner", "text-classification", "question-answering"):
        pipe = pipeline(task)
        short, whole = (
            (QUESTION, one) if task == "question-answering" else one for one in (text[:PAGE], text)
        )
        pipe(short)
        before, began = resident(), time.perf_counter()
        pipe(whole)
        seconds, grown = time.perf_counter() - began, resident() - before
        print(f"{task}: {len(text)} characters, {seconds:.1f} s, {grown:.0f} MiB more", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    print(describe_machine(arguments.threads))
    words = read_words(arguments.text)
    stream(words, arguments.texts)
    long_text(words, arguments.pages)


if __name__ == "__main__":
    main()
