"""Time of a training step, forward, backward and optimizer, against transformers.

    python -m tests.benchmarks.peers transformers-5.23.0      # once
    python -m tests.benchmarks.training_speed
    python -m tests.benchmarks.training_speed --task mlm --repeats 9

Token classification has 16 full rows of 128 pieces; masked LM has 48 rows of mixed length, which
transformers pads to a rectangle and we do not. Both start from the same random weights with
dropout 0.1. Ours has the optimizer that our training uses, torch's fused AdamW; theirs is torch's
AdamW as it comes. bfloat16 is autocast over single-precision weights.

Before anything is timed, loss and gradients are compared without dropout. Both packages run in one
process, in the peer's environment, in turn.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.config import DebertaV2Config
from spacy_deberta.heads import masked_lm_loss, token_loss
from spacy_deberta.modeling import DebertaV2ForMaskedLM, DebertaV2ForTokenClassification
from tests.benchmarks.load_memory import V3_BASE
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS, peer_python

ROOT = Path(__file__).parents[2]
IGNORED = -100  # label of a piece without one
HEAD_WIDTH = 64  # features
LEARN_RATE = 5e-5
MASK_SHARE = 0.15
LABELS = 9
TOKEN_ROWS, MASKED_ROWS, LONGEST = 16, 48, 128
FIRST_PIECE = 4  # ids below are special
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")

SAME = 1e-4  # largest relative difference of loss and gradients in single precision
NOT_WORSE = 1.5  # times their own error in bfloat16

# A few parameters, in the packages' names.
COMPARED = {
    "encoder.embeddings.pieces.weight": "deberta.embeddings.word_embeddings.weight",
    "encoder.table.rows.weight": "deberta.encoder.rel_embeddings.weight",
    "encoder.layers.0.attention.query.weight": (
        "deberta.encoder.layer.0.attention.self.query_proj.weight"
    ),
    "encoder.layers.0.attention.key.weight": (
        "deberta.encoder.layer.0.attention.self.key_proj.weight"
    ),
    "encoder.layers.1.output.dense.weight": "deberta.encoder.layer.1.output.dense.weight",
}

ROW = "| {:5} | {:8} | {:>11} | {:>25} | {:>25} | {:>16} | {:>7} | {:>7} |"
COLUMNS = (
    "task",
    "dtype",
    "rows filled",
    "transformers 5.23.0",
    "ours",
    "ratio",
    "fastest",
    "mark",
)


class Cell(NamedTuple):
    """What is trained, in which precision."""

    task: str
    dtype: str


MARKS = {
    Cell("token", "float32"): 1.7,
    Cell("token", "bfloat16"): 1.5,
    Cell("mlm", "bfloat16"): 2.5,
}


@dataclass(frozen=True)
class Batch:
    """One batch, in both layouts.

    Attributes:
        pieces: (N,) ids.
        lengths: pieces of each row.
        labels: (N,) classes or ids, IGNORED where there is nothing to learn.
        targets: (M,) places of the other labels.
        rectangle: (B, L) each: ids, mask and labels by the names that transformers gives them.
    """

    pieces: Tensor
    lengths: list[int]
    labels: Tensor
    targets: Tensor
    rectangle: dict[str, Tensor]


@dataclass(frozen=True)
class Trainee:
    """A model in training mode, its optimizer, and how it gets from a batch to its loss."""

    model: Any
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any, Batch], Tensor]


@dataclass(frozen=True)
class Seconds:
    """Of one step, or medians of many."""

    forward: float
    backward: float
    optimizer: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.forward + self.backward + self.optimizer


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=("token", "mlm"), help="both unless given")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="both unless given")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=8192)
    return parser.parse_args()


def make_config(arguments: argparse.Namespace) -> DebertaV2Config:
    """The shape of v3-base, or a smaller one to rehearse with."""
    return DebertaV2Config(
        **V3_BASE
        | {
            "vocab_size": arguments.vocab,
            "num_hidden_layers": arguments.layers,
            "hidden_size": arguments.width,
            "intermediate_size": 4 * arguments.width,
            "num_attention_heads": arguments.width // HEAD_WIDTH,
            "num_labels": LABELS,
        }
    )


def make_batch(task: str, vocab: int) -> Batch:
    """Random pieces; the rows of masked LM are texts of 16 to 162 pieces, cut at 128."""
    rng = np.random.default_rng(0)
    if task == "token":
        lengths = [LONGEST] * TOKEN_ROWS
    else:
        lengths = np.minimum(rng.integers(16, 163, MASKED_ROWS), LONGEST).tolist()
    n_pieces = sum(lengths)
    pieces = torch.from_numpy(rng.integers(FIRST_PIECE, vocab, n_pieces))
    if task == "token":
        labels = torch.from_numpy(rng.integers(0, LABELS, n_pieces))
    else:
        hidden = torch.from_numpy(rng.random(n_pieces) >= MASK_SHARE)
        labels = pieces.masked_fill(hidden, IGNORED)
    rectangle = {
        "input_ids": padded(pieces, lengths, 0),
        "attention_mask": padded(torch.ones_like(pieces), lengths, 0),
        "labels": padded(labels, lengths, IGNORED),
    }
    return Batch(pieces, lengths, labels, (labels != IGNORED).nonzero().squeeze(1), rectangle)


def padded(values: Tensor, lengths: Sequence[int], filler: int) -> Tensor:
    """(N,) to (B, L)."""
    rows = values.split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler)


def our_token_loss(model: Any, batch: Batch) -> Tensor:
    """Packed rows through encoder and head."""
    hidden = model.encoder(batch.pieces, batch.lengths).last_hidden_state
    return token_loss(model.head(hidden), batch.labels)


def our_masked_loss(model: Any, batch: Batch) -> Tensor:
    """The same; only hidden pieces are predicted, as in pre-training."""
    hidden = model.encoder(batch.pieces, batch.lengths).last_hidden_state
    logits = model.head(hidden[batch.targets], model.encoder.embeddings.pieces.weight)
    return masked_lm_loss(logits, batch.labels[batch.targets])


def their_loss(model: Any, batch: Batch) -> Tensor:
    """As their models compute it."""
    return model(**batch.rectangle).loss


def write_weights(task: str, config: DebertaV2Config, folder: Path) -> None:
    """Random weights in a file that both packages read."""
    torch.manual_seed(0)
    if task == "token":
        DebertaV2ForTokenClassification(config).save_pretrained(folder)
    else:
        DebertaV2ForMaskedLM(config, mask_decoder="legacy").save_pretrained(folder)


def load_ours(task: str, folder: Path, config: DebertaV2Config) -> Trainee:
    """Ours from that file."""
    if task == "token":
        model: Any = DebertaV2ForTokenClassification.from_pretrained(folder, config=config)
    else:
        model = DebertaV2ForMaskedLM.from_pretrained(
            folder, config=replace(config, legacy=True), mask_decoder="legacy"
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARN_RATE, fused=True)
    return Trainee(model.train(), optimizer, our_token_loss if task == "token" else our_masked_loss)


def load_theirs(task: str, folder: Path, config: DebertaV2Config) -> Trainee:
    """Theirs from that file."""
    transformers = import_module("transformers")  # only in the peer's environment

    transformers.utils.logging.disable_progress_bar()

    name = "TokenClassification" if task == "token" else "MaskedLM"
    model = getattr(transformers, f"DebertaV2For{name}").from_pretrained(
        folder, dtype=torch.float32, **{key: getattr(config, key) for key in DROPOUTS}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARN_RATE)
    return Trainee(model.train(), optimizer, their_loss)


def compute_loss(trainee: Trainee, batch: Batch, dtype: str) -> Tensor:
    """Forward pass and loss in a precision."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        return trainee.loss(trainee.model, batch)


def step(trainee: Trainee, batch: Batch, dtype: str) -> Seconds:
    """One step of training, timed."""
    times = [time.perf_counter()]
    loss = compute_loss(trainee, batch, dtype)
    times.append(time.perf_counter())
    loss.backward()
    times.append(time.perf_counter())
    trainee.optimizer.step()
    trainee.optimizer.zero_grad()
    times.append(time.perf_counter())
    return Seconds(*(end - start for start, end in pairwise(times)))


def learn(trainee: Trainee, batch: Batch, dtype: str, names: Sequence[str]) -> list[Tensor]:
    """The loss and the gradients of some parameters; nothing is stepped."""
    loss = compute_loss(trainee, batch, dtype)
    loss.backward()
    parameters = dict(trainee.model.named_parameters())
    found = [loss.detach().float(), *(parameters[name].grad.clone() for name in names)]
    trainee.optimizer.zero_grad()
    return found


def largest_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference by the norm of what was expected, the largest of all."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def check(cell: Cell, folder: Path, config: DebertaV2Config, batch: Batch) -> None:
    """Both compute the same without dropout.

    Raises:
        SystemExit: loss or gradients differ in single precision, or ours are worse in half.
    """
    silent = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours, theirs = load_ours(cell.task, folder, silent), load_theirs(cell.task, folder, silent)
    expected = learn(theirs, batch, "float32", list(COMPARED.values()))
    found = learn(ours, batch, "float32", list(COMPARED))
    loss, rest = largest_error(found[:1], expected[:1]), largest_error(found[1:], expected[1:])
    print(f"check: loss {float(expected[0]):.5f}, differs by {loss:.1e}; gradients by {rest:.1e}")
    if max(loss, rest) > SAME:
        sys.exit(f"expected {SAME} at most, relative")
    if cell.dtype == "bfloat16":
        half = [
            largest_error(learn(trainee, batch, cell.dtype, list(names)), expected)
            for trainee, names in ((ours, COMPARED), (theirs, COMPARED.values()))
        ]
        print(f"check: errors of bfloat16 to float32: ours {half[0]:.1e}, theirs {half[1]:.1e}")
        if half[0] > NOT_WORSE * half[1]:
            sys.exit(f"expected {NOT_WORSE} times theirs at most")


def measure(cell: Cell, config: DebertaV2Config, repeats: int) -> str:
    """Check one cell and time both in turn; its row of the table."""
    batch = make_batch(cell.task, config.vocab_size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_weights(cell.task, config, folder)
        check(cell, folder, config, batch)
        ours, theirs = load_ours(cell.task, folder, config), load_theirs(cell.task, folder, config)
        pairs = []
        for number in range(1 + repeats):
            times = {}
            for trainee in (ours, theirs) if number % 2 else (theirs, ours):
                times[id(trainee)] = step(trainee, batch, cell.dtype)
            pairs.append((times[id(theirs)], times[id(ours)]))
            seconds = f"{pairs[-1][0].total:.2f} s, ours {pairs[-1][1].total:.2f} s"
            print(f"  {'-'.join(cell)} {number}: theirs {seconds}", flush=True)
    return make_row(cell, batch, pairs[1:])  # the first makes buffers and the optimizer's moments


def make_row(cell: Cell, batch: Batch, pairs: Sequence[tuple[Seconds, Seconds]]) -> str:
    """Medians, the range of the ratio, and the ratio of the fastest step of each."""
    rows, longest = batch.rectangle["input_ids"].shape
    filled = f"{rows}x{longest} {sum(batch.lengths) / (rows * longest):.0%}"
    ratios = [theirs.total / ours.total for theirs, ours in pairs]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    fastest = min(t.total for t, _ in pairs) / min(o.total for _, o in pairs)
    theirs, ours = (describe([pair[which] for pair in pairs]) for which in (0, 1))
    mark = MARKS[cell]
    met = "met" if statistics.median(ratios) >= mark else "not"
    return ROW.format(*cell, filled, theirs, ours, spread, f"{fastest:.2f}", f"{mark} {met}")


def describe(steps: Sequence[Seconds]) -> str:
    """Median milliseconds of a step and of its three parts."""
    total = statistics.median(s.total for s in steps)
    parts = (statistics.median(getattr(s, part) for s in steps) for part in Seconds.__annotations__)
    return f"{1000 * total:.0f} = " + " + ".join(f"{1000 * part:.0f}" for part in parts)


def enter_peer() -> None:
    """Start again in the environment that has transformers, unless this is it."""
    python = peer_python(TRANSFORMERS)
    if Path(sys.prefix).resolve() != python.parents[1].resolve():
        command = [str(python), "-m", f"tests.benchmarks.{Path(__file__).stem}", *sys.argv[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFORMERS_VERBOSITY": "error"}
        os.execve(python, command, environment)


def main() -> None:
    """Measure the cells that were asked for."""
    arguments = parse_arguments()
    enter_peer()
    torch.set_num_threads(arguments.threads)
    cells = [c for c in MARKS if arguments.task in (None, c.task)]
    cells = [c for c in cells if arguments.dtype in (None, c.dtype)]
    if not cells:
        sys.exit(f"no such cell; there are: {', '.join('-'.join(c) for c in MARKS)}")
    machine = describe_machine(arguments.threads)
    rows = [measure(cell, make_config(arguments), arguments.repeats) for cell in cells]
    print(f"\nms of a step = forward + backward + optimizer, medians of {arguments.repeats}")
    print(machine)
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print(ROW.format(*COLUMNS))
    print(ROW.format(*["-" * n for n in (5, 8, 11, 25, 25, 16, 7, 7)]))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
