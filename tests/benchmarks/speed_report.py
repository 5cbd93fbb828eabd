"""Results of the encoder benchmark: kept as JSON, printed as tables beside the marks."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import spacy_deberta.encoder
from tests.benchmarks.speed_cells import (
    CELLS,
    FULL_CELLS,
    HALF_PADDED,
    LINEAR_MAPS,
    OURS,
    Shape,
)

NOTHING = "-"


@dataclass
class CellResult:
    """One cell, by the contestants' labels.

    Attributes:
        milliseconds: median of a forward pass.
        fastest: the fastest of the passes that count.
        passes: number of those.
        disturbed: share of all passes in which other processes were in the way.
        largest_errors: largest difference of a real row from the plain formula in float64.
        mean_errors: the same, mean.
        code: digest of our encoder's source, so that no table mixes two of them unseen.
    """

    milliseconds: dict[str, float] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    disturbed: dict[str, float] = field(default_factory=dict)
    largest_errors: dict[str, float] = field(default_factory=dict)
    mean_errors: dict[str, float] = field(default_factory=dict)
    code: str = ""


@dataclass
class Results:
    """All that was measured with one shape and number of threads.

    Attributes:
        setup: what must be equal for results to stand in one file.
        machine: its description before the last start.
        cells: results by the name of the cell.
        rates: GFLOP/s of linear maps, by precision ("fp32", "fp32 packed") and rows.
        reading: GB/s of reading memory.
    """

    setup: dict[str, int | str]
    machine: str
    cells: dict[str, CellResult] = field(default_factory=dict)
    rates: dict[str, dict[int, float]] = field(default_factory=dict)
    reading: float = 0.0

    @property
    def shape(self) -> Shape:
        """Size of the models."""
        sizes = (int(self.setup[name]) for name in ("layers", "width"))
        return Shape(str(self.setup["version"]), *sizes)

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def with_file(self, file: Path) -> Results:
        """Add the cells that an earlier run left in a file; this run's come first.

        Raises:
            SystemExit: they are those of another setup.
        """
        if not file.exists():
            return self
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["setup"] != self.setup:
            sys.exit(f"{file}: has results of {found['setup']}, this run has {self.setup}")
        cells = {name: CellResult(**cell) for name, cell in found["cells"].items()}
        rates = {
            kind: {int(rows): rate for rows, rate in by_rows.items()}
            for kind, by_rows in found["rates"].items()
        }
        for kind, by_rows in self.rates.items():  # of two measurements, the faster
            before = rates.get(kind, by_rows)
            rates[kind] = {rows: max(rate, before[rows]) for rows, rate in by_rows.items()}
        reading = max(self.reading, found["reading"])
        return replace(self, cells=cells | self.cells, rates=rates, reading=reading)


@dataclass(frozen=True)
class Mark:
    """A ratio of times, and what it has to be.

    Attributes:
        above: labels of contestants; the fastest of them counts.
        below: label of the one that its time is divided by.
        least: in every full cell.
        mean: geometric mean of the full cells, at least.
        padded: in the half padded cell, at least.
        most: at most, by the name of the cell.
    """

    above: tuple[str, ...]
    below: str
    least: float | None = None
    mean: float | None = None
    padded: float | None = None
    most: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What is divided by what."""
        return f"{' or '.join(self.above)} / {self.below}"

    @property
    def bound(self) -> Mark:
        """The same with the linear maps of ours alone: no encoder on their library can do more."""
        return replace(self, below=self.below.replace(OURS, LINEAR_MAPS))

    def ratio(self, cell: CellResult | None) -> float | None:
        """Of one cell; None where one of the two was not measured."""
        times = cell.milliseconds if cell else {}
        if self.below not in times or any(label not in times for label in self.above):
            return None
        return min(times[label] for label in self.above) / times[self.below]

    def asked(self) -> str:
        """The mark in words."""
        words = [f"mean >= {self.mean}"] if self.mean else []
        words += [f"each >= {self.least}"] if self.least else []
        words += [f"{HALF_PADDED} >= {self.padded}"] if self.padded else []
        words += [f"{limit}: {', '.join(cells)}" for limit, cells in self._limits().items()]
        return "; ".join(words)

    def verdict(self, ratios: Mapping[str, float]) -> str:
        """Whether it is met, and where not; "yes so far" while some of its cells are missing."""
        full = {name: ratio for name, ratio in ratios.items() if name in FULL_CELLS}
        missed = [name for name, ratio in full.items() if self.least and ratio < self.least]
        missed += [n for n, limit in self.most.items() if ratios.get(n, limit) > limit]
        if self.padded and ratios.get(HALF_PADDED, self.padded) < self.padded:
            missed.append(HALF_PADDED)
        if self.mean and full and geometric_mean(full.values()) < self.mean:
            missed.append("mean")
        if missed:
            return f"no: {', '.join(missed)}"
        return "yes" if self._cells() <= set(ratios) else "yes so far"

    def _cells(self) -> set[str]:
        """Cells that it says something about."""
        full = set(FULL_CELLS) if self.least or self.mean else set()
        return full | set(self.most) | ({HALF_PADDED} if self.padded else set())

    def _limits(self) -> dict[str, list[str]]:
        """Cells by "<= limit"."""
        limits: dict[str, list[str]] = {}
        for name, limit in self.most.items():
            limits.setdefault(f"<= {limit}", []).append(name)
        return limits


TAX = {"1x16": 1.25, "1x128": 1.25, "8x32": 1.25, "8x128": 1.25, "2x512": 1.5}
MARKS = (
    Mark(("transformers fp32",), "ours fp32", least=1.75, mean=2.25, padded=3.6),
    Mark(("ONNX Runtime fp32", "OpenVINO fp32"), "ours fp32", least=1.0, mean=1.25),
    Mark(("OpenVINO fp32",), "ours fp32", padded=2.0),
    Mark(("transformers bf16",), "ours bf16", mean=2.5, padded=3.4),
    Mark(("OpenVINO bf16",), "ours bf16", mean=1.5, padded=2.0),
    Mark(("transformers fp32",), "ours bf16", mean=7.0),
    Mark(("ours fp32",), "RoBERTa (sdpa) fp32", most=TAX),
    Mark(("ours bf16",), "RoBERTa (sdpa) bf16", most=TAX),
)


def digest_code() -> str:
    """A short name for the source of our encoder as it is now."""
    package = Path(spacy_deberta.encoder.__file__).parent
    sources = [file.read_bytes() for file in sorted(package.rglob("*.py"))]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:7]


def geometric_mean(values: Iterable[float]) -> float:
    """Of one positive number at least."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def print_report(results: Results) -> None:
    """All tables, in markdown."""
    names = [name for name in CELLS if name in results.cells]
    cells = [results.cells[name] for name in names]
    labels = list(dict.fromkeys(label for cell in cells for label in cell.milliseconds))
    print("\nms per forward pass, medians\n")
    _print_table(
        ("encoder", *names),
        [
            *(
                [label, *(_number(cell.milliseconds.get(label)) for cell in cells)]
                for label in labels
            ),
            ["passes that count, at least", *(str(min(cell.passes.values())) for cell in cells)],
            ["digest of our encoder's source", *(cell.code or NOTHING for cell in cells)],
        ],
    )
    print("\ndifference from the plain formula in float64 on real rows: largest (mean)\n")
    _print_table(
        ("encoder", *names),
        (
            [label, *(_error(cell, label) for cell in cells)]
            for label in labels
            if any(label in cell.largest_errors for cell in cells)
        ),
    )
    _print_error_ratios(results, names)
    print("\nratios of times; the geometric mean is that of the full cells\n")
    _print_table(("ratio", *names, "mean", "mark", "met"), _ratio_rows(results, names))
    _print_bounds(results, names)


def _print_error_ratios(results: Results, names: Sequence[str]) -> None:
    """In bfloat16, ours beside the peer that computes all in it, too; the mark is 1."""
    ours, theirs = "ours bf16", "transformers bf16"
    measured = [name for name in names if {ours, theirs} <= set(results.cells[name].mean_errors)]
    if not measured:
        return
    print(f"\nthese errors, {ours} / {theirs}; the mark is <= 1\n")
    rows = []
    for kind in ("largest", "mean"):
        errors = [getattr(results.cells[name], f"{kind}_errors") for name in measured]
        rows.append([kind, *(f"{by[ours] / by[theirs]:.2f}" for by in errors)])
    _print_table(("error", *measured), rows)


def _ratio_rows(results: Results, names: Sequence[str]) -> Iterable[list[str]]:
    for mark in MARKS:
        found = {name: mark.ratio(results.cells[name]) for name in names}
        ratios = {name: ratio for name, ratio in found.items() if ratio is not None}
        if not ratios:
            continue
        yield [mark.name, *_shown(ratios, names), mark.asked(), mark.verdict(ratios)]


def _shown(ratios: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Of each cell, and the geometric mean of the full ones."""
    full = [ratio for name, ratio in ratios.items() if name in FULL_CELLS]
    mean = f"{geometric_mean(full):.2f}" if full else NOTHING
    return [*(f"{ratios[name]:.2f}" if name in ratios else NOTHING for name in names), mean]


def _print_bounds(results: Results, names: Sequence[str]) -> None:
    """Rates of linear maps, and the ratios that nothing but them would give."""
    sizes = sorted({rows for by_rows in results.rates.values() for rows in by_rows})
    print("\nGFLOP/s of linear maps 768 to 3072, by rows\n")
    _print_table(
        ("precision", *map(str, sizes)),
        ([kind, *(f"{by[size]:.0f}" for size in sizes)] for kind, by in results.rates.items()),
    )
    print(f"\nreading memory: {results.reading:.1f} GB/s")
    print("\nbounds: the ratios, had ours nothing to do but its linear maps\n")
    rows = []
    for mark in (mark.bound for mark in MARKS if mark.below.startswith(OURS)):
        found = {name: mark.ratio(results.cells[name]) for name in names}
        ratios = {name: ratio for name, ratio in found.items() if ratio is not None}
        if ratios:
            rows.append([mark.name, *_shown(ratios, names)])
    _print_table(("ratio", *names, "mean"), rows)


def _error(cell: CellResult, label: str) -> str:
    if label not in cell.largest_errors:
        return NOTHING
    return f"{cell.largest_errors[label]:.1e} ({cell.mean_errors[label]:.1e})"


def _number(value: float | None) -> str:
    """Three digits at least."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    for row in rows:
        print(f"| {' | '.join(row)} |")
