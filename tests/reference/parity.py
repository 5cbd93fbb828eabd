"""Compare every head with `transformers` on random tiny models, and print the table.

    python -m tests.benchmarks.peers transformers-5.23.0 transformers-4.57.6   # once
    python -m tests.reference.parity

For each peer: it builds the models, refills all parameters with N(0, 0.3), and writes checkpoints
in all layouts; we read them, and compare outputs of every layer, attention probabilities, the loss
and the gradient of every parameter, on real rows. Then we train each model for a step, save it,
and the peer reads it and compares its outputs with ours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS, peer_python
from tests.reference import ours
from tests.reference.case import FAILURE_FILE, Case, read_cases
from tests.reference.grid import overflowing_case, random_cases

PEERS = (TRANSFORMERS, "transformers-4.57.6")
TOLERANCE = 1e-5
ROOT = Path(__file__).parents[2]
COLUMNS = ("outputs", "states", "loss", "gradients", "read back")
ROW = "| {:19} | {:12} | {:>5} |" + " {:>9} |" * len(COLUMNS)


@dataclass(frozen=True)
class Result:
    """One case against one peer: errors by column, or what went wrong."""

    case: Case
    errors: dict[str, float]
    failure: str = ""

    @property
    def passed(self) -> bool:
        """All columns are there and within the tolerance; a value that is no number is not."""
        within = all(error <= TOLERANCE for error in self.errors.values())
        return not self.failure and within and len(self.errors) == len(COLUMNS)


def run_peer(peer: str, command: str, folder: Path) -> None:
    """Let the peer's interpreter work on all cases of a folder.

    Raises:
        subprocess.CalledProcessError: it failed; its own message is on the screen.
    """
    module = "tests.reference.record_transformers"
    arguments = [str(peer_python(peer)), "-m", module, command, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(arguments, check=True, cwd=ROOT, env=environment)


def compare(peer: str, cases: Sequence[Case], folder: Path) -> list[Result]:
    """All cases against one peer."""
    for case in cases:
        case.write(folder / case.name)
    run_peer(peer, "write", folder)
    results = [_check(path, case) for path, case in read_cases(folder)]
    run_peer(peer, "read", folder)
    return [_read_back(folder / result.case.name, result) for result in results]


def check_half_precision(peer: str, folder: Path) -> tuple[bool, bool]:
    """Whether the peer's outputs and ours are finite in float16 where its scores overflow."""
    case = overflowing_case()
    case.write(folder / case.name)
    run_peer(peer, "write", folder)
    return ours.half_precision(folder / case.name)


def _check(folder: Path, case: Case) -> Result:
    """Our side of one case; any exception is a failure of the case, not of the table."""
    try:
        errors = ours.check(folder, case)
        ours.write(folder, case)
    except Exception:
        return Result(case, {}, traceback.format_exc(limit=-2))
    names = COLUMNS[:-1]
    return Result(case, {name: getattr(errors, name) for name in names})


def _read_back(folder: Path, result: Result) -> Result:
    if result.failure:
        return result
    failure = folder / FAILURE_FILE
    if failure.exists():
        return Result(result.case, result.errors, failure.read_text(encoding="utf-8"))
    return Result(result.case, {**result.errors, COLUMNS[-1]: ours.read_error(folder)})


def print_table(results: dict[str, list[Result]]) -> None:
    """One row per peer and task: the largest error of each column."""
    print(ROW.format("against", "task", "cases", *COLUMNS))
    print(ROW.format("-" * 19, "-" * 12, "-" * 5, *["-" * 9] * len(COLUMNS)))
    for peer, found in results.items():
        for family in ("v1", "v2"):
            tasks = sorted({r.case.task for r in found if r.case.family == family})
            for task in tasks:
                rows = [r for r in found if (r.case.family, r.case.task) == (family, task)]
                worst = [f"{_largest(rows, column):.1e}" for column in COLUMNS]
                print(ROW.format(peer, f"{family} {task}", len(rows), *worst))


def _largest(results: Sequence[Result], column: str) -> float:
    """The largest error of a column; not a number if one is missing."""
    errors = [result.errors.get(column, float("nan")) for result in results]
    return float(torch.tensor(errors).max())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=72, help="random models for each peer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="+", default=PEERS)
    parser.add_argument("--folder", type=Path, help="keeps all files; made if absent")
    return parser.parse_args()


def main() -> bool:
    """Compare, print the table and what failed."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    machine = describe_machine(1)
    cases = random_cases(arguments.cases, arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        results = {peer: compare(peer, cases, folder / peer) for peer in arguments.peers}
        overflow = {peer: check_half_precision(peer, folder / "half" / peer) for peer in results}
    print(f"largest errors on real rows, {len(cases)} random models for each peer")
    print(machine)
    print(f"command: python -m tests.reference.{Path(__file__).stem} {' '.join(sys.argv[1:])}\n")
    print_table(results)
    for peer, (theirs, found) in overflow.items():
        print(f"\nfloat16, position products beyond 65504: {peer} finite: {theirs}, ours: {found}")
    failed = [(peer, r) for peer, rs in results.items() for r in rs if not r.passed]
    for peer, result in failed:
        print(f"\nFAILED {peer} {result.case.name}: {result.errors} {result.failure}")
    print(f"\n{len(failed)} failed" if failed else f"\nall within {TOLERANCE:.0e}")
    return bool(failed) or not all(found for _, found in overflow.values())


if __name__ == "__main__":
    sys.exit(main())
