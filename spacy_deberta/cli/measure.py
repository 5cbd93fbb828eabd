"""What `benchmark` measures: encoders on the same pieces, compared first, then timed in turn.

In turn, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spacy_deberta.checkpoints import Checkpoint, build_encoder, open_checkpoint, resolve_source
from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import CheckpointError, ConfigError, PathError

OURS = "ours"
PATHS = {OURS: "auto", "plain": "plain"}  # what is always measured: attention paths
MIXED = "mixed"
SENTENCES, SHORTEST, LONGEST = 32, 4, 47  # of the mixed cell; lengths in pieces
SEED = 1  # of lengths and pieces; the mixed cell fills half of its rectangle
MOST_PIECES = 65_536  # of one cell
MOST_SCORES = 67_108_864  # per head, a quarter of a GiB: 1x8192, 64x1024
WARM_UP = 3  # passes that do not count: tables per length, kernels per shape, memory
LARGEST_DIFFERENCE = 1e-4  # in float32, relative to the largest value

_CELL = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class Cell:
    """What is encoded at once.

    Attributes:
        name: "8x32" = 8 sequences of 32 pieces.
        lengths: pieces of each sequence.
    """

    name: str
    lengths: tuple[int, ...]

    def cut(self, longest: int | None) -> Cell:
        """The same with sequences of at most that many pieces; None = of any number."""
        if longest is None or max(self.lengths) <= longest:
            return self
        lengths = tuple(min(length, longest) for length in self.lengths)
        kind = MIXED if self.name == MIXED else len(lengths)
        return Cell(f"{kind}x{longest}", lengths)


@dataclass(frozen=True, eq=False)
class Batch:
    """The pieces of one cell, packed and as a rectangle.

    Attributes:
        cell: name and lengths.
        pieces: (N,) all sequences, concatenated.
        ids: (B, L) the same, padded.
        mask: (B, L) int64, 1 = a real piece, as the tokenizers of transformers write it.
    """

    cell: Cell
    pieces: Tensor
    ids: Tensor
    mask: Tensor


Encode = Callable[[Batch], Tensor]  # to (N, hidden_size), or to a rectangle (B, L, hidden_size)


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        dtype: precision of weights and results.
        device: where they are.
        repeats: passes that count.
    """

    dtype: torch.dtype
    device: torch.device
    repeats: int


@dataclass(frozen=True, eq=False)
class Contest:
    """Encoders with the same weights, and what they encode.

    Attributes:
        file: of the weights.
        encoders: by name, ours first.
        batches: one per cell.
        cut: name of a cell whose sequences were too long -> what became of it.
        versions: of the packages that run the encoders.
    """

    file: str
    encoders: dict[str, Encode]
    batches: tuple[Batch, ...]
    cut: dict[str, str]
    versions: dict[str, str]


def parse_cells(text: str) -> list[Cell]:
    """Cells from their names with commas.

    Raises:
        ConfigError: not a cell, or one that is too large.
    """
    return [_parse_cell(name.strip()) for name in text.split(",")]


def choose_settings(dtype: str, device: str, repeats: int) -> Settings:
    """Settings by their names.

    Raises:
        ConfigError: there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"--device cuda: torch {torch.__version__} finds no GPU. Use --device cpu, or a torch "
            "that is built for this machine's GPU."
        )
    return Settings(getattr(torch, dtype), torch.device(device), repeats)


def set_threads(threads: int) -> None:
    """Give torch that many threads.

    Raises:
        ConfigError: none, or more than cores.
    """
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise ConfigError(f"--threads {threads}: expected 1 to {cores}, the number of cores.")
    torch.set_num_threads(threads)


@contextmanager
def _within_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "allocate memory" not in str(error):  # torch's, on the CPU
            raise
        raise ConfigError(
            "--cells: there is not enough memory for the largest of them. Name smaller ones."
        ) from error


@_within_memory()
def open_contest(
    source: str | None, cells: Sequence[Cell], settings: Settings, *, peer: str | None
) -> Contest:
    """Load a checkpoint into all encoders, and draw pieces for all cells.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, here or by the peer.
        ConfigError: the peer is not installed.
    """
    folder = resolve_source(source)
    checkpoint = open_checkpoint(folder)
    encoders = {name: _load(checkpoint, path, settings) for name, path in PATHS.items()}
    versions = {"torch": str(torch.__version__)}
    if peer is not None:
        encoders[peer], versions[peer] = _load_transformers(folder, settings)
    config = checkpoint.config
    longest = longest_sequence(config, with_peer=peer is not None)
    fitting = {cell: cell.cut(longest) for cell in cells}
    return Contest(
        file=checkpoint.file,
        encoders=encoders,
        batches=tuple(
            _make_batch(cell, config.vocab_size, settings.device)
            for cell in dict.fromkeys(fitting.values())
        ),
        cut={asked.name: cell.name for asked, cell in fitting.items() if asked != cell},
        versions=versions,
    )


def longest_sequence(config: DebertaConfig, *, with_peer: bool) -> int | None:
    """How many pieces a sequence may have; None = any number.

    Beyond the trained distances transformers reads a row that was never trained, and we do not:
    there is nothing to compare.
    """
    if with_peer:
        return min(config.max_position_embeddings, config.max_relative_positions)
    return config.max_position_embeddings if config.position_biased_input else None


@_within_memory()
@torch.inference_mode()
def compare(contest: Contest, dtype: torch.dtype) -> list[dict[str, float]]:
    """Largest difference of each other encoder from ours, relative to our largest value, by batch.

    Raises:
        PathError: it is above 1e-4 in float32, or no number in any precision.
    """
    limit = LARGEST_DIFFERENCE if dtype == torch.float32 else math.inf
    found = []
    for batch in contest.batches:
        rows = {name: _rows(encode(batch), batch) for name, encode in contest.encoders.items()}
        ours = rows.pop(OURS)
        scale = ours.abs().max()
        differences = {name: float((row - ours).abs().max() / scale) for name, row in rows.items()}
        for name, difference in differences.items():
            if not difference < limit:
                raise PathError(
                    f"{contest.file}: ours and {name} differ by {difference:.1e} of the largest "
                    f"value in cell {batch.cell.name}, expected less than {limit:.0e}. Nothing "
                    "was timed; please report it with this checkpoint's config.json."
                )
        found.append(differences)
    return found


@_within_memory()
@torch.inference_mode()
def time_in_turn(contest: Contest, batch: Batch, settings: Settings) -> dict[str, float]:
    """Median seconds of each encoder; who begins changes."""
    names = list(contest.encoders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_UP + settings.repeats):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            seconds[name].append(_time(contest.encoders[name], batch))
    return {name: statistics.median(passes[WARM_UP:]) for name, passes in seconds.items()}


def _parse_cell(name: str) -> Cell:
    if name == MIXED:
        draw = random.Random(SEED)
        lengths = (LONGEST, *(draw.randint(SHORTEST, LONGEST) for _ in range(SENTENCES - 1)))
        return Cell(MIXED, lengths)
    match = _CELL.fullmatch(name)
    count, length = (int(match[1]), int(match[2])) if match else (0, 0)
    if not count or not length:
        raise ConfigError(
            f"--cells: found {name[:40]!r}, expected sequences x pieces with commas, such as "
            f"8x32,2x512, or {MIXED}."
        )
    if count * length > MOST_PIECES or count * length**2 > MOST_SCORES:
        raise ConfigError(
            f"--cells: {name} is too large; expected at most {MOST_PIECES:,} pieces, and at most "
            f"{MOST_SCORES:,} for sequences x pieces x pieces."
        )
    return Cell(f"{count}x{length}", (length,) * count)


def _make_batch(cell: Cell, n_pieces: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(SEED)
    pieces = torch.randint(n_pieces, (sum(cell.lengths),), generator=generator)
    keep = torch.arange(max(cell.lengths)) < torch.tensor(cell.lengths)[:, None]
    ids = torch.zeros(keep.shape, dtype=torch.int64)
    ids[keep] = pieces
    return Batch(cell, pieces.to(device), ids.to(device), keep.long().to(device))


def _load(checkpoint: Checkpoint, path: str, settings: Settings) -> Encode:
    encoder = build_encoder(checkpoint, attention=path).to(settings.device, settings.dtype)
    return lambda batch: encoder(batch.pieces, batch.cell.lengths).last_hidden_state


def _load_transformers(folder: Path, settings: Settings) -> tuple[Encode, str]:
    """Its AutoModel and its version. Only here, and only when asked, is it imported."""
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            f"--peer transformers: cannot be imported ({error}). Install it into this environment "
            "(pip install transformers), or leave --peer out."
        ) from error
    logging.getLogger("transformers").setLevel(logging.ERROR)  # heads that it leaves aside
    try:
        model = transformers.AutoModel.from_pretrained(str(folder), torch_dtype=torch.float32)
    except Exception as error:  # what it raises is not ours to know
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{folder}: transformers {transformers.__version__} cannot load it ({reason}). Leave "
            "--peer out, or write a folder that it reads with `convert`."
        ) from error
    model.eval().to(settings.device, settings.dtype)
    return (
        lambda batch: model(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state,
        str(transformers.__version__),
    )


def _rows(output: Tensor, batch: Batch) -> Tensor:
    """(N, hidden_size) in float32, of the real pieces."""
    is_rectangle = output.shape[:-1] == batch.mask.shape
    return (output[batch.mask.bool()] if is_rectangle else output).float()


def _time(encode: Encode, batch: Batch) -> float:
    """Seconds of one pass, all of its work on the device included."""
    _wait(batch.ids.device)
    start = time.perf_counter()
    encode(batch)
    _wait(batch.ids.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
