"""What a run tells: a log of JSON lines, one progress line, a plot of the losses at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from spacy_deberta.errors import ConfigError

LOG_FILE = "log.jsonl"
PLOT_FILE = "losses.png"

_LINE_SECONDS = 10.0  # between lines, where they do not replace each other
_PLOT_INCHES = (9, 4)

Record = dict[str, Any]


class RunLog:
    """The log of a run; every record has its step.

    Args:
        path: of the file, made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def go_on(self, step: int) -> None:
        """Drop a broken tail, and what a killed run did after the checkpoint of this step."""
        if not self.path.is_file():
            return
        kept = [json.dumps(record) + "\n" for record in read_log(self.path)]
        kept = [line for line in kept if json.loads(line).get("step", 0) <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(self.path)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_log(path: Path) -> list[Record]:
    """All records of a log, without a line that was broken off."""
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


class ProgressLine:
    """One line that replaces itself on a terminal; elsewhere a line from time to time.

    Args:
        stream: to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._written = -_LINE_SECONDS
        self._width = 0

    def show(self, text: str) -> None:
        """Show how far the run is."""
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        elif time.monotonic() - self._written >= _LINE_SECONDS:
            self._stream.write(text + "\n")
            self._written = time.monotonic()
        self._stream.flush()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        end = "\n" if self._is_terminal and self._width else ""
        self._width = 0
        self._stream.write(f"{end}{text}\n")
        self._stream.flush()


def describe(record: Mapping[str, Any], share: float, pieces_per_second: float) -> str:
    """A record of the log for people."""
    losses = " + ".join(f"{name} {value:.3f}" for name, value in record["losses"].items())
    skipped = f", {record['skipped']} skipped" if record["skipped"] else ""
    return (
        f"{share:.1%}: step {record['step']}, loss {losses}, rate {record['rate']:.2e}, "
        f"{record['pieces']:,} pieces, {pieces_per_second:,.0f} a second{skipped}"
    )


def plot_log(log: Path, image: Path) -> None:
    """Draw all losses and scores in nats of a log over the steps.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        figure_module = import_module("matplotlib.figure")
    except ImportError as error:
        raise ConfigError(
            f"{image}: matplotlib is not installed, expected it for the plot. Install "
            "'spacy-deberta[plots]'."
        ) from error
    figure = figure_module.Figure(figsize=_PLOT_INCHES, layout="constrained")
    axes = figure.subplots()
    for name, (steps, values) in sorted(_curves(read_log(log)).items()):
        axes.plot(steps, values, label=name, linewidth=1)
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(image)


def _curves(records: Sequence[Record]) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values by name."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        values = dict(record.get("losses", {}))
        scores = record.get("scores", {})
        values |= {f"held out: {name}": x for name, x in scores.items() if name.endswith("_nats")}
        for name, value in values.items():
            steps, points = curves.setdefault(name, ([], []))
            steps.append(record["step"])
            points.append(float(value))
    return curves
