"""Points of the cost benchmark: kept as JSON, printed as tables, drawn as one picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.peers import ENCODER_SPEED
from tests.benchmarks.peers import PEERS as ENVIRONMENTS

if TYPE_CHECKING:  # measuring goes without matplotlib
    from matplotlib.axes import Axes

OURS = "ours"
PEERS = ("transformers", "ONNX Runtime", "OpenVINO")
COLORS = {  # of Okabe and Ito: told apart by everybody
    OURS: "#0072B2",
    "transformers": "#D55E00",
    "ONNX Runtime": "#009E73",
    "OpenVINO": "#CC79A7",
}
MARKERS = {OURS: "o", "transformers": "s", "ONNX Runtime": "^", "OpenVINO": "D"}
TRAINED_LENGTH = 512  # pieces: distances from here on share the last rows of the table
PALE = "#CCCCCC"
BOUND = "products alone"
DOTS_PER_INCH = 110
KILO = 1024


@dataclass(frozen=True)
class Size:
    """Layers and width of a released v3 model."""

    layers: int
    width: int

    @property
    def linear_weights(self) -> int:
        """Numbers in the linear maps of all layers: four square ones, two of factor 4."""
        return self.layers * self.width**2 * (4 + 2 * 4)


SIZES = {
    "xsmall": Size(12, 384),
    "small": Size(6, 768),
    "base": Size(12, 768),
    "large": Size(24, 1024),
}


@dataclass(frozen=True)
class Cell:
    """A size of the model, and what it encodes.

    Attributes:
        size: of `SIZES`.
        batch: sequences.
        length: pieces of each.
    """

    size: str
    batch: int
    length: int

    def __str__(self) -> str:
        return f"{self.size} {self.batch}x{self.length}"

    @property
    def n_pieces(self) -> int:
        """All together."""
        return self.batch * self.length

    @property
    def halved(self) -> Cell:
        """The cell before it: half the batch or, of one sequence, half the length."""
        if self.batch > 1:
            return Cell(self.size, self.batch // 2, self.length)
        return Cell(self.size, 1, self.length // 2)


LENGTHS = tuple(2**n for n in range(4, 15))  # 16 to 16,384
BATCHES = tuple(2**n for n in range(7))  # 1 to 64
PANELS = {
    "length": tuple(Cell("base", 1, length) for length in LENGTHS),
    "batch": tuple(Cell("base", batch, 64) for batch in BATCHES),
    "size": tuple(Cell(size, 8, 128) for size in SIZES),
}


@dataclass(frozen=True)
class Point:
    """What was measured of one contestant in one cell.

    Attributes:
        cell: where.
        contestant: who.
        milliseconds: of a forward pass, median.
        passes: how many count.
        code: digest of our encoder's source.
        disturbed: share of the passes in which other processes were in the way.
    """

    cell: Cell
    contestant: str
    milliseconds: float
    passes: int
    code: str
    disturbed: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.cell} {self.contestant}: {self.milliseconds:.1f} ms, {self.passes} passes, "
            f"{self.disturbed:.0%} of all disturbed"
        )

    @property
    def per_piece(self) -> float:
        """Microseconds."""
        return self.milliseconds * 1000 / self.cell.n_pieces


@dataclass
class Curves:
    """All points.

    Attributes:
        setup: what must be equal for points to stand in one file.
        machine: its description before the first start.
        rates: GFLOP/s of linear maps, by the number of rows.
        points: in the order in which they were measured.
    """

    setup: dict[str, int | None]
    machine: str = ""
    rates: dict[int, float] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    @classmethod
    def from_file(cls, file: Path, setup: Mapping[str, int | None] | None = None) -> Curves:
        """Read it; empty where there is none.

        Raises:
            SystemExit: its points are of another setup, or there is no file and no setup.
        """
        if not file.exists():
            if setup is None:
                sys.exit(f"{file}: not there; measure first")
            return cls(dict(setup))
        found = json.loads(file.read_text(encoding="utf-8"))
        if setup is not None and found["setup"] != setup:
            sys.exit(f"{file}: has points of {found['setup']}, this run has {setup}")
        points = [Point(**{**point, "cell": Cell(**point["cell"])}) for point in found["points"]]
        rates = {int(rows): rate for rows, rate in found["rates"].items()}
        return cls(found["setup"], found["machine"], rates, points)

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def point(self, cell: Cell, contestant: str) -> Point | None:
        """Of one contestant in one cell; None where it was not measured."""
        same = (p for p in self.points if p.cell == cell and p.contestant == contestant)
        return next(same, None)

    def milliseconds(self, cell: Cell, contestant: str) -> float | None:
        """The same, its time."""
        point = self.point(cell, contestant)
        return None if point is None else point.milliseconds

    def slowest_before(self, cell: Cell, contestant: str) -> float:
        """Milliseconds of the contestant's slowest pass over fewer pieces; 0 if there is none."""
        return max(
            (
                point.milliseconds
                for point in self.points
                if point.contestant == contestant
                and point.cell.size == cell.size
                and point.cell.n_pieces < cell.n_pieces
            ),
            default=0.0,
        )

    def bound(self, cell: Cell) -> float:
        """Microseconds per piece that the products take which no exact method can leave out.

        They are the linear maps, the scores of the contents and the mean of the values, at the
        rate that linear maps of 768 to 3072 reach with the same number of rows.
        """
        size = SIZES[cell.size]
        layers = self.setup["layers"] or size.layers
        linear = size.linear_weights * layers / size.layers
        attention = 2 * layers * size.width * cell.length
        rows = sorted(self.rates)
        rate = np.interp(np.log(cell.n_pieces), np.log(rows), [self.rates[n] for n in rows])
        return 2 * (linear + attention) / float(rate) / 1000


def print_tables(curves: Curves) -> None:
    """Microseconds per piece and passes that count."""
    names = (OURS, *PEERS)
    print(f"\n{curves.machine}\n\nmicroseconds per piece (passes; !: disturbed), float32")
    for panel, cells in PANELS.items():
        print(f"\n| {panel} | {' | '.join(names)} | products alone |")
        print("|---" * (len(names) + 2) + "|")
        for cell in cells:
            points = [curves.point(cell, name) for name in names]
            texts = [
                f"{p.per_piece:.0f} ({p.passes}{'!' * (p.disturbed == 1)})" if p else "-"
                for p in points
            ]
            print(f"| {cell} | {' | '.join(texts)} | {curves.bound(cell):.0f} |")
    codes = {point.code for point in curves.points if point.contestant == OURS}
    print(f"\ndigest of our encoder's source: {', '.join(sorted(codes))}")


def draw(curves: Curves, file: Path) -> None:
    """Write the picture: one panel each for the length, the batch and the size of the model."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 5), sharey=True, layout="constrained")
    by_length, by_batch, by_size = axes
    _draw_lines(by_length, curves, PANELS["length"], [cell.length for cell in PANELS["length"]])
    _label(
        by_length, "base, one sequence", "length in pieces", LENGTHS[::2], map(_short, LENGTHS[::2])
    )
    _draw_lines(by_batch, curves, PANELS["batch"], [cell.batch for cell in PANELS["batch"]])
    _label(
        by_batch,
        "base, sequences of 64 pieces",
        "sequences in the batch",
        BATCHES,
        map(str, BATCHES),
    )
    weights = {round(SIZES[name].linear_weights / 10**6): name for name in SIZES}
    _draw_lines(by_size, curves, PANELS["size"], list(weights))
    names = [f"{name}\n{millions}" for millions, name in weights.items()]
    _label(by_size, "8 sequences of 128 pieces", "million weights in the layers", weights, names)
    by_length.axvline(TRAINED_LENGTH, color="#AAAAAA", linewidth=1, linestyle=":", zorder=0)
    at = {"xy": (TRAINED_LENGTH, 1), "xycoords": ("data", "axes fraction"), "va": "top"}
    by_length.annotate(f" trained up to {TRAINED_LENGTH}", fontsize=8, color="#777777", **at)
    by_length.set_ylabel("microseconds per piece, less is better")
    lines = {line.get_label(): line for panel in axes for line in panel.get_lines()}
    shown = [lines[label] for label in (*map(_label_of, (OURS, *PEERS)), BOUND) if label in lines]
    figure.legend(handles=shown, loc="outside upper center", ncols=len(shown), frameon=False)
    figure.supxlabel(_small_print(curves), fontsize=8, color="#555555")
    figure.savefig(file, dpi=DOTS_PER_INCH)
    pyplot.close(figure)


def _draw_lines(axes: Axes, curves: Curves, cells: Sequence[Cell], places: Sequence[int]) -> None:
    """One line per contestant, ours on top, and the bound."""
    for name in (*PEERS, OURS):
        points = [(x, curves.point(cell, name)) for x, cell in zip(places, cells, strict=True)]
        known = [(x, point.per_piece) for x, point in points if point is not None]
        if known:
            x, y = zip(*known, strict=True)
            (line,) = axes.plot(x, y, label=_label_of(name), color=COLORS[name])
            line.set(marker=MARKERS[name], markersize=5, linewidth=2.6 if name == OURS else 1.5)
    bounds = [curves.bound(cell) for cell in cells]
    axes.plot(places, bounds, color="#777777", lw=1.2, ls="--", label=BOUND, zorder=1)


def _label(axes: Axes, title: str, what: str, ticks: Iterable[int], texts: Iterable[str]) -> None:
    """Logarithmic axes with ticks at round numbers."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(ticks), list(texts))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    axes.margins(x=0.07)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(what)
    axes.grid(color=PALE, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _label_of(contestant: str) -> str:
    return "spacy-deberta" if contestant == OURS else contestant


def _short(number: int) -> str:
    """16384 as 16k."""
    return str(number) if number < KILO else f"{number // KILO}k"


def _small_print(curves: Curves) -> str:
    packages = ("torch", "transformers", "onnxruntime", "openvino")
    pinned = (pin.replace("==", " ") for pin in ENVIRONMENTS[ENCODER_SPEED])
    versions = ", ".join(pin for pin in pinned if pin.split()[0] in packages)
    return (
        f"DeBERTa-v3 shapes, random weights, float32, no padding. {versions}.\n{curves.machine}.\n"
        f"{BOUND}: linear maps, scores and values at the rate of this machine's matrix products."
    )
