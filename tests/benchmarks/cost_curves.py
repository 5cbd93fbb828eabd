"""Cost against work: time per piece over the length, the batch and the size of the model.

    python -m tests.benchmarks.peers encoder-speed transformers-4.57.6         # once
    python -m tests.benchmarks.cost_curves --json cost.json --work models --minutes 4
    python -m tests.benchmarks.cost_curves --json cost.json --minutes 0        # only draws
    python -m tests.benchmarks.cost_curves --json try.json --layers 1          # a rehearsal

All contestants compute in float32 with the same random weights, in one process, in turn. The file
keeps each measured point: start the same command again until it says that nothing is missing. Past
512 pieces only the times can be compared: there our encoder keeps to the last row of the table of
positions, as in training, and transformers reads others.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.cost_figure import (
    OURS,
    PANELS,
    PEERS,
    SIZES,
    Cell,
    Curves,
    Point,
    print_tables,
)
from tests.benchmarks.encoder_speed import QUIET, ROOT
from tests.benchmarks.interleaved import Pass, Timing, _measure, measure_in_turn
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import ENCODER_SPEED, peer_python

if TYPE_CHECKING:  # parsing the command line and drawing need neither
    from tests.benchmarks.speed_cells import Batch, Shape
    from tests.benchmarks.speed_peers import Contestant

PICTURE = Path(__file__).with_name("cost.png")
MOST_LENGTH = 2048  # pieces of a peer's sequence: its memory grows with the square
MOST_SECONDS = 20.0  # of a pass: a peer that took longer gets nothing larger
GROWTH = 4  # of the time, at most, from a cell to the next of its panel
REPEATS = 5  # undisturbed passes of each contestant
SLOW = 3.0  # seconds of one pass of each together, above which warming up once is enough
SLOW_PASSES = 2
SLOW_SECONDS = 30.0  # for these; a first pass that takes longer is the measurement
CHECKED = Cell("", 2, 100)  # sequences and pieces on which outputs are compared


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="file of the measured points")
    parser.add_argument("--png", type=Path, default=PICTURE, help="what to draw")
    parser.add_argument("--panel", nargs="+", choices=PANELS, default=tuple(PANELS))
    parser.add_argument("--only", nargs="*", choices=PEERS, default=PEERS, help="default: all")
    parser.add_argument("--minutes", type=float, default=60, help="start no cell that takes longer")
    parser.add_argument("--again", action="store_true", help="points without an undisturbed pass")
    parser.add_argument("--layers", type=int, help="of every model; default: as released")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for the models; default: a temporary one")
    return parser.parse_args()


def start_in_peer(threads: int) -> None:
    """Measure with the same command line in the environment that has all contestants.

    Raises:
        SystemExit: it failed; its own message is on the screen.
    """
    command = [str(peer_python(ENCODER_SPEED)), "-m", f"tests.benchmarks.{Path(__file__).stem}"]
    settings = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT), **QUIET}
    environment = {**os.environ, **settings}
    ended = subprocess.run([*command, *sys.argv[1:]], env=environment, check=False)
    if ended.returncode:
        sys.exit(ended.returncode)


def shape_of(size: str, layers: int | None) -> Shape:
    """Size of a model; heads are 64 wide and the feed-forward factor is 4 in all of them."""
    from tests.benchmarks.speed_cells import Shape

    released = SIZES[size]
    return Shape("v3", layers or released.layers, released.width)


def full_batch(cell: Cell) -> Batch:
    """Random pieces without padding."""
    import torch

    from tests.benchmarks.speed_cells import FIRST_PIECE, SEED, VOCABULARY, Batch

    generator = torch.Generator().manual_seed(SEED)
    shape = (cell.batch, cell.length)
    ids = torch.randint(FIRST_PIECE, VOCABULARY, shape, generator=generator)
    keep = torch.ones(shape, dtype=torch.bool)
    arrays = {"input_ids": ids.numpy(), "attention_mask": keep.long().numpy()}
    return Batch(str(cell), (cell.length,) * cell.batch, ids.flatten(), ids, keep, arrays)


def make_contestants(folder: Path, names: Sequence[str], threads: int) -> dict[str, Contestant]:
    """Those of the names, with the weights of the checkpoint."""
    from tests.benchmarks import exported_peers, speed_cells, speed_peers

    makers: dict[str, Callable[[], Contestant]] = {
        speed_peers.TRANSFORMERS: lambda: speed_peers.transformers_model(folder, "fp32"),
        exported_peers.ONNX_RUNTIME: lambda: exported_peers.onnx_runtime(folder, threads),
        exported_peers.OPENVINO: lambda: exported_peers.openvino_model(folder, "fp32", threads),
        speed_cells.OURS: lambda: speed_peers.ours(folder, "v3", "fp32"),
    }
    if {exported_peers.ONNX_RUNTIME, exported_peers.OPENVINO} & set(names):
        exported_peers.export(folder)
    return {name: makers[name]() for name in names}


def check(contestants: Mapping[str, Contestant], folder: Path) -> None:
    """Compare all with the plain formula in float64."""
    import torch

    from tests.benchmarks.encoder_speed import check_outputs
    from tests.benchmarks.speed_peers import ours
    from tests.benchmarks.speed_report import CellResult

    batch = full_batch(CHECKED)
    plain = ours(folder, "v3", "fp64", attention="plain")
    with torch.inference_mode():
        check_outputs(list(contestants.values()), batch, plain.real_rows(batch), CellResult())


def wanted(cell: Cell, curves: Curves, only: Sequence[str]) -> list[str]:
    """Contestants whose point is missing and can be measured."""
    names = [OURS]
    for name in only:
        if cell.length <= MOST_LENGTH and curves.slowest_before(cell, name) <= MOST_SECONDS * 1000:
            names.append(name)
    if cell not in PANELS["length"] and cell not in PANELS["batch"]:  # exported is base alone
        names = [name for name in names if name in {OURS, "transformers"}]
    return [name for name in names if curves.milliseconds(cell, name) is None]


def expected_seconds(cell: Cell, curves: Curves, names: Sequence[str]) -> float:
    """Most that a cell can take, by the one before it; 0 where that is not known."""
    known = (curves.milliseconds(cell.halved, name) for name in names)
    one_pass = GROWTH * sum(found or 0.0 for found in known) / 1000
    return one_pass + SLOW_SECONDS if one_pass > SLOW else 0.0


def time_cell(calls: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
    """Run all in turn, as often as the time of a pass allows."""
    passes = {name: [_measure(call)] for name, call in calls.items()}
    together = sum(found[0].seconds for found in passes.values())
    if together < SLOW:
        return measure_in_turn(calls, REPEATS)
    for number in range(min(SLOW_PASSES, int(SLOW_SECONDS / together))):
        for name, call in calls.items():
            if number == 0:
                passes[name].clear()  # it was to warm up
            passes[name].append(_measure(call))
    return {name: summarize(found) for name, found in passes.items()}


def summarize(passes: Sequence[Pass]) -> Timing:
    """Of the undisturbed passes or, without any, of the one that waited least."""
    undisturbed = [one for one in passes if not one.disturbed]
    counted = undisturbed or [min(passes, key=lambda one: one.waited / one.seconds)]
    seconds = [one.seconds for one in counted]
    disturbed = 1 - len(undisturbed) / len(passes)
    return Timing(statistics.median(seconds), min(seconds), len(counted), disturbed)


def measure_size(
    cells: Sequence[Cell], curves: Curves, arguments: argparse.Namespace, end: float
) -> None:
    """Fill in the missing points of one size of the model, as far as the time goes."""
    import torch

    from tests.benchmarks import speed_cells
    from tests.benchmarks.speed_report import digest_code

    cells = [cell for cell in cells if wanted(cell, curves, arguments.only)]
    missing = {name for cell in cells for name in wanted(cell, curves, arguments.only)}
    if not missing or time.monotonic() > end:
        return
    folder = arguments.work / cells[0].size
    folder.mkdir(exist_ok=True)
    speed_cells.save_checkpoint(shape_of(cells[0].size, arguments.layers), folder)
    contestants = make_contestants(folder, sorted(missing), arguments.threads)
    check(contestants, folder)
    for cell in cells:
        names = wanted(cell, curves, arguments.only)
        if not names:  # a peer became too slow
            continue
        if time.monotonic() + expected_seconds(cell, curves, names) > end:
            return
        batch = full_batch(cell)
        calls = {name: functools.partial(contestants[name].encode, batch) for name in names}
        with torch.inference_mode():
            found = time_cell(calls)
        for name, timing in found.items():
            point = Point(
                cell, name, timing.median * 1000, timing.n_passes, digest_code(), timing.disturbed
            )
            curves.points.append(point)
            print(point, flush=True)
        curves.write(arguments.json)


def measure(arguments: argparse.Namespace, end: float) -> None:
    """Fill the file, in the environment of the contestants."""
    import torch

    from tests.benchmarks.gemm_rate import measure_rates

    torch.set_num_threads(arguments.threads)
    setup = {"layers": arguments.layers, "threads": arguments.threads}
    curves = Curves.from_file(arguments.json, setup)
    if arguments.again:
        curves.points = [point for point in curves.points if point.disturbed < 1]
    curves.machine = curves.machine or describe_machine(arguments.threads)
    if not curves.rates:
        for by_rows in measure_rates(torch.float32).values():  # plain, and packed: the faster
            for rows, rate in by_rows.items():
                curves.rates[rows] = max(rate, curves.rates.get(rows, 0.0))
        curves.write(arguments.json)
    cells = list(dict.fromkeys(cell for panel in arguments.panel for cell in PANELS[panel]))
    for size in dict.fromkeys(cell.size for cell in cells):
        measure_size([cell for cell in cells if cell.size == size], curves, arguments, end)
    missing = [str(cell) for cell in cells if wanted(cell, curves, arguments.only)]
    print(f"missing: {', '.join(missing) or 'nothing'}")


def main() -> None:
    """Measure in the environment of the contestants, draw in this one."""
    end = time.monotonic()
    arguments = parse_arguments()
    end += 60 * arguments.minutes
    if Path(sys.prefix).resolve() == peer_python(ENCODER_SPEED).parents[1].resolve():
        with tempfile.TemporaryDirectory() as temporary:
            arguments.work = arguments.work or Path(temporary)
            measure(arguments, end)
        return
    if arguments.minutes > 0:
        start_in_peer(arguments.threads)
    from tests.benchmarks.cost_figure import draw

    curves = Curves.from_file(arguments.json)
    print_tables(curves)
    draw(curves, arguments.png)


if __name__ == "__main__":
    main()
