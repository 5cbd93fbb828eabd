"""Time of the encoder's forward pass against what a CPU user would take instead.

    python -m tests.benchmarks.peers encoder-speed transformers-4.57.6     # once
    python -m tests.benchmarks.encoder_speed                               # DeBERTa-v3-base
    python -m tests.benchmarks.encoder_speed --version v1 --json v1.json
    python -m tests.benchmarks.encoder_speed --layers 2 --width 64 --repeats 2     # a rehearsal

All contestants have the same random weights and run in one process, in turn, round after round,
on the same pieces. Outputs are first compared with the plain formula. The tables have medians of
the passes that other processes did not disturb. With --json, cells that an earlier run left in the
file are printed with those of this one, so that a long measurement can be cut into pieces
(--cells); --work keeps the exported models for the next.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.interleaved import measure_in_turn
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import ENCODER_SPEED, peer_python

if TYPE_CHECKING:  # parsing the command line and starting the environment need neither
    import torch

    from tests.benchmarks.speed_cells import Batch, Shape
    from tests.benchmarks.speed_peers import Contestant
    from tests.benchmarks.speed_report import CellResult, Results

ROOT = Path(__file__).parents[2]
PEERS = ("transformers", "onnxruntime", "openvino", "roberta")
DTYPES = {"fp32": ("fp32",), "bf16": ("bf16",), "both": ("fp32", "bf16")}
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
TOLERANCE = 1e-5  # of ours in float32: largest difference from the plain formula in float64
PEER_TOLERANCE = 5e-5  # the same, of the peers: they only have to be the same model


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", choices=("v3", "v1"), default="v3")
    parser.add_argument("--cells", nargs="+", help="such as 1x16 or half-padded; default: all")
    parser.add_argument("--dtype", choices=DTYPES, default="both")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=PEERS, help="default: all")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--work", type=Path, help="folder for the models; default: a temporary one")
    return parser.parse_args()


def start_in_peer(threads: int) -> int:
    """Run the same command line in the environment that has all contestants."""
    settings = {"OMP_NUM_THREADS": str(threads), **QUIET}
    command = [str(peer_python(ENCODER_SPEED)), "-m", f"tests.benchmarks.{Path(__file__).stem}"]
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *sys.argv[1:]], env=environment, check=False).returncode


def make_contestants(
    folder: Path, shape: Shape, dtypes: Sequence[str], only: Sequence[str], threads: int
) -> list[Contestant]:
    """All that take part, the weights of the checkpoint in each."""
    from tests.benchmarks import exported_peers, speed_peers

    if {"onnxruntime", "openvino"} & set(only):
        exported_peers.export(folder)
    made = []
    for dtype in dtypes:
        if "transformers" in only:
            made.append(speed_peers.transformers_model(folder, dtype))
        if "onnxruntime" in only and dtype == "fp32":
            made.append(exported_peers.onnx_runtime(folder, threads))
        if "openvino" in only:
            made.append(exported_peers.openvino_model(folder, dtype, threads))
        if "roberta" in only:
            made.append(speed_peers.roberta(shape, dtype))
        made.append(speed_peers.ours(folder, shape.version, dtype))
        made.append(speed_peers.our_linear_maps(folder, shape.version, dtype))
    return made


def check_outputs(
    contestants: Sequence[Contestant], batch: Batch, expected: torch.Tensor, result: CellResult
) -> None:
    """Note the errors of all DeBERTas.

    Raises:
        SystemExit: one in float32 does not compute what the plain formula does.
    """
    from tests.benchmarks.speed_cells import OURS

    for contestant in contestants:
        if not contestant.is_deberta:
            continue
        difference = (contestant.real_rows(batch) - expected).abs()
        largest = float(difference.max())
        result.largest_errors[contestant.label] = largest
        result.mean_errors[contestant.label] = float(difference.mean())
        allowed = TOLERANCE if contestant.name == OURS else PEER_TOLERANCE
        if contestant.dtype == "fp32" and not largest <= allowed:
            sys.exit(f"{batch.name}: {contestant.label} is off by {largest:.1e}, not {allowed:.0e}")


def time_cell(
    contestants: Sequence[Contestant], batch: Batch, repeats: int, result: CellResult
) -> None:
    """Run all in turn."""
    calls = {each.label: functools.partial(each.encode, batch) for each in contestants}
    for label, timing in measure_in_turn(calls, repeats).items():
        result.milliseconds[label] = timing.median * 1000
        result.fastest[label] = timing.fastest * 1000
        result.passes[label] = timing.n_passes
        result.disturbed[label] = timing.disturbed


def measure(arguments: argparse.Namespace, folder: Path, results: Results) -> None:
    """Fill the results, cell by cell."""
    import torch

    from tests.benchmarks import gemm_rate, speed_cells, speed_peers, speed_report

    shape = results.shape
    speed_cells.save_checkpoint(shape, folder)
    dtypes = [d for d in DTYPES[arguments.dtype] if d == "fp32" or gemm_rate.has_bf16()]
    batches = [speed_cells.make_batch(name) for name in arguments.cells or speed_cells.CELLS]
    code = speed_report.digest_code()
    # Made outside of inference mode: torch counts no changes of weights that are made inside, so
    # that what our encoder keeps of them would be made again in every pass.
    contestants = make_contestants(folder, shape, dtypes, arguments.only, arguments.threads)
    plain = speed_peers.ours(folder, shape.version, "fp64", attention="plain")
    with torch.inference_mode():
        expected = [plain.real_rows(batch) for batch in batches]
        del plain
        for batch, rows in zip(batches, expected, strict=True):
            result = results.cells[batch.name] = speed_report.CellResult(code=code)
            check_outputs(contestants, batch, rows, result)
            time_cell(contestants, batch, arguments.repeats, result)
            disturbed = max(result.disturbed.values())
            print(f"{batch.name}: {disturbed:.0%} of some passes disturbed", flush=True)
    for dtype in dtypes:
        for kind, rates in gemm_rate.measure_rates(speed_peers.DTYPES[dtype]).items():
            results.rates[f"{dtype} {kind}".strip()] = rates
    results.reading = gemm_rate.measure_reading()


def peak_memory() -> float:
    """GB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def main() -> None:
    """Measure in the environment of the contestants, print the tables."""
    arguments = parse_arguments()
    if Path(sys.prefix).resolve() != peer_python(ENCODER_SPEED).parents[1].resolve():
        sys.exit(start_in_peer(arguments.threads))
    import torch

    from tests.benchmarks.speed_report import Results, print_report

    torch.set_num_threads(arguments.threads)
    setup = {name: getattr(arguments, name) for name in ("version", "layers", "width", "threads")}
    results = Results(setup, describe_machine(arguments.threads))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        measure(arguments, folder, results)
    if arguments.json:
        results = results.with_file(arguments.json)
        results.write(arguments.json)
    print(f"\n{results.machine}")
    print(f"command: python -m tests.benchmarks.{Path(__file__).stem} {' '.join(sys.argv[1:])}")
    print(", ".join(f"{name} {value}" for name, value in setup.items()))
    print(f"peak memory of the process {peak_memory():.1f} GB")
    print_report(results)


if __name__ == "__main__":
    main()
