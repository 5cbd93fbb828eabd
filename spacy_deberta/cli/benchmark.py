"""`benchmark`: how fast the encoder is on this machine, with this checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from spacy_deberta.cli.measure import Contest, Settings

CELLS = "1x16,1x128,8x32,8x128,2x512,mixed"
DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda")
PEERS = ("transformers",)
MANY_MILLISECONDS = 1000  # from here on without decimals
HEADINGS = {"transformers": "trans-\nformers"}  # so that three encoders fit into 80 columns


def benchmark(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help="checkpoint folder, or a name on the hub; none = the embedded model",
        ),
    ] = None,
    cells: Annotated[
        str, typer.Option(help="sequences x pieces; mixed: 32 sentences of 4 to 47 pieces")
    ] = CELLS,
    peer: Annotated[
        str | None, typer.Option(help="transformers: measure it, too, where it is installed")
    ] = None,
    dtype: Annotated[str, typer.Option(help=f"precision: {', '.join(DTYPES)}")] = DTYPES[0],
    device: Annotated[str, typer.Option(help=" or ".join(DEVICES))] = DEVICES[0],
    threads: Annotated[int | None, typer.Option(help="threads of torch; none = its choice")] = None,
    repeats: Annotated[int, typer.Option(help="passes of each encoder in each cell")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Time the encoder beside the plain formula, and beside transformers.

    Their outputs are compared first. Where they differ in float32 by more than
    1e-4 of the largest value, the command ends with code 2 and times nothing.
    """
    _check_choice("--dtype", dtype, DTYPES)
    _check_choice("--device", device, DEVICES)
    if peer is not None:
        _check_choice("--peer", peer, PEERS)
    if repeats < 1:
        raise ConfigError(f"--repeats {repeats}: expected at least 1.")
    from spacy_deberta.cli.measure import choose_settings, open_contest, parse_cells, set_threads

    wanted, settings = parse_cells(cells), choose_settings(dtype, device, repeats)
    if threads is not None:
        set_threads(threads)
    report = _measure(open_contest(source, wanted, settings, peer=peer), settings)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(report)


def _check_choice(option: str, found: str, accepted: Sequence[str]) -> None:
    if found not in accepted:
        raise ConfigError(f"{option} {found!r}: expected one of: {', '.join(accepted)}.")


def _measure(contest: Contest, settings: Settings) -> dict[str, Any]:
    """What `--json` prints. Finished cells go to stderr: all of them may take minutes."""
    from spacy_deberta.cli.measure import OURS, compare, time_in_turn

    machine = describe_machine(settings)
    cells = []
    differences = compare(contest, settings.dtype)
    for batch, difference in zip(contest.batches, differences, strict=True):
        seconds = time_in_turn(contest, batch, settings)
        n_pieces = sum(batch.cell.lengths)
        cells.append(
            {
                "name": batch.cell.name,
                "pieces": n_pieces,
                "milliseconds": {name: 1000 * found for name, found in seconds.items()},
                "pieces_per_second": {name: n_pieces / found for name, found in seconds.items()},
                "ratio": {name: seconds[name] / seconds[OURS] for name in difference},
                "difference": difference,
            }
        )
        print(f"measured {batch.cell.name}", file=sys.stderr, flush=True)
    return {
        "checkpoint": contest.file,
        "dtype": str(settings.dtype).removeprefix("torch."),
        "device": settings.device.type,
        "repeats": settings.repeats,
        "machine": {**machine, **contest.versions},
        "cut": contest.cut,
        "cells": cells,
    }


def describe_machine(settings: Settings) -> dict[str, str]:
    """What the numbers hold for."""
    import torch

    described = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "threads": str(torch.get_num_threads()),
    }
    if settings.device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(settings.device)
    return described


def _processor() -> str:
    """Its name where Linux tells it, or its kind."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return "unknown"
    return f"{size / 2**30:.0f} GiB"


def _print(report: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    for line in _head(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(report["cells"]))
    for line in _foot(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['checkpoint']}, {report['dtype']} on {report['device']}"
    yield ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    if report["cut"]:
        cut = ", ".join(f"{asked} to {name}" for asked, name in report["cut"].items())
        yield f"cut to the positions of this checkpoint: {cut}"


def _table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """One row per cell; of each encoder its time, its rate, and its time over ours."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("cell", vertical="bottom")
    for name in cells[0]["milliseconds"]:
        table.add_column(f"{HEADINGS.get(name, name)}\nms", justify="right", vertical="bottom")
        table.add_column("pieces/s", justify="right", vertical="bottom")
        if name in cells[0]["ratio"]:
            table.add_column("/ ours", justify="right", vertical="bottom")
    for cell in cells:
        table.add_row(cell["name"], *_values(cell))
    return table


def _values(cell: Mapping[str, Any]) -> Iterator[str]:
    for name, milliseconds in cell["milliseconds"].items():
        yield f"{milliseconds:,.{2 if milliseconds < MANY_MILLISECONDS else 0}f}"
        yield f"{cell['pieces_per_second'][name]:,.0f}"
        if name in cell["ratio"]:
            yield f"{cell['ratio'][name]:.2f}"


def _foot(report: Mapping[str, Any]) -> Iterator[str]:
    names = report["cells"][0]["difference"]
    largest = {name: max(cell["difference"][name] for cell in report["cells"]) for name in names}
    values = ", ".join(f"{name} {value:.1e}" for name, value in largest.items())
    yield f"median of {report['repeats']} passes in turn; '/ ours': how many times as long as ours"
    yield f"largest difference from ours, relative to the largest value: {values}"
