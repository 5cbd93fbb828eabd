"""Before anything is timed: both packages compute the same with the same checkpoint.

Their rows of tokens are wrong for these models (explosion/spaCy#13730), so their rows of pieces are
pooled by our alignment and compared with our rows of tokens.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import spacy
from spacy.tokens import DocBin

from tests.benchmarks.peers import SPACY_TRANSFORMERS, peer_python
from tests.benchmarks.versus_spacy_transformers import (
    our_component,
    peer_source,
    their_component,
    worker_environment,
)

WORKER = Path(__file__).with_name("encoder_worker.py")
CHECKED = 100  # texts
TOLERANCE = 1e-5  # of the largest value: single precision, twelve layers
BF16_TOLERANCE = 0.05  # the same with products in bfloat16, of 8 bits
LEAST_COMPARED = (
    0.5  # of the texts; theirs has no byte pieces, so texts with rare characters differ
)

Arrays = Mapping[str, npt.NDArray[Any]]


class EncoderWorker:
    """A process with one encoder; see encoder_worker.py for what can be asked."""

    def __init__(
        self, python: Path, component: dict[str, Any], texts: Path, *, threads: int
    ) -> None:
        config = texts.with_name(f"{component['factory']}.json")
        config.write_text(json.dumps(component), encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), str(WORKER), str(config), str(texts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=worker_environment(threads),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def ask(self, request: str) -> dict[str, float]:
        """Send one request and wait for its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        print(request, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, float] = json.loads(line)
                return answer
        raise RuntimeError(f"the worker ended with code {self._process.wait()}, see above")


def start_ours(
    source: Path, texts: Path, *, window: int, stride: int, threads: int, precision: str = "fp32"
) -> EncoderWorker:
    """Our encoder; window and stride in pieces."""
    component = our_component(source.resolve(), window=window, stride=stride, precision=precision)
    return EncoderWorker(Path(sys.executable), component, texts, threads=threads)


def start_theirs(
    source: Path, texts: Path, *, window: int, stride: int, threads: int
) -> EncoderWorker:
    """Theirs; window and stride in tokens."""
    folder = peer_source(source, texts.with_name("peer-source"))
    component = their_component(folder, window=window, stride=stride)
    return EncoderWorker(peer_python(SPACY_TRANSFORMERS), component, texts, threads=threads)


def read_texts(data: Path) -> list[str]:
    """The texts in a .spacy file."""
    vocab = spacy.blank("en").vocab
    return [doc.text for doc in DocBin().from_disk(data).get_docs(vocab)]


def check_outputs(source: Path, data: Path, folder: Path, threads: int) -> None:
    """Compare on the first texts of a .spacy file, in two processes that end with the check."""
    texts = folder / "check.json"
    texts.write_text(json.dumps({"check": read_texts(data)[:CHECKED]}), encoding="utf-8")
    with (
        start_ours(source, texts, window=256, stride=192, threads=threads) as ours,
        start_theirs(source, texts, window=256, stride=192, threads=threads) as theirs,
    ):
        compare(ours, theirs, "check", folder)


def compare(
    ours: EncoderWorker,
    theirs: EncoderWorker,
    name: str,
    folder: Path,
    tolerance: float = TOLERANCE,
) -> None:
    """Compare what two workers give for a list of short texts, and say what was found.

    Raises:
        SystemExit: they do not compute the same, so that comparing their speed means nothing.
    """
    n_texts = int(ours.ask(f"save {name} {folder / 'ours.npz'}")["texts"])
    theirs.ask(f"save {name} {folder / 'theirs.npz'}")
    a, b = dict(np.load(folder / "ours.npz")), dict(np.load(folder / "theirs.npz"))
    same = [n for n in range(n_texts) if np.array_equal(a[f"{n}.ids"], b[f"{n}.ids"])]
    error = _largest_error(a, b, same)
    found = (
        f"{len(same)} of {n_texts} texts have the same pieces; there, rows differ by {error:.1e}"
    )
    print(f"check: {found} of the largest value at most", flush=True)
    if error > tolerance or len(same) < LEAST_COMPARED * n_texts:
        sys.exit(f"expected {LEAST_COMPARED:.0%} of the texts at least, and {tolerance} at most")


def _largest_error(ours: Arrays, theirs: Arrays, texts: Sequence[int]) -> float:
    """Largest difference of token rows, each text by its largest value."""
    errors = [0.0]
    for n in texts:
        expected = _pool(theirs[f"{n}.rows"], ours[f"{n}.pieces"], ours[f"{n}.lengths"])
        if expected.size:
            difference = np.abs(ours[f"{n}.rows"] - expected).max()
            errors.append(float(difference / np.abs(expected).max()))
    return max(errors)


def _pool(
    rows: npt.NDArray[Any], pieces: npt.NDArray[Any], lengths: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Mean of the piece rows of each token; zeros for a token without pieces."""
    pooled = np.zeros((len(lengths), rows.shape[1]), dtype=rows.dtype)
    for token, members in enumerate(np.split(pieces, np.cumsum(lengths)[:-1])):
        if len(members):
            pooled[token] = rows[members].mean(0)
    return pooled
