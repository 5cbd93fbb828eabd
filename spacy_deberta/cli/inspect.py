"""`inspect`: what a checkpoint folder holds and what it can do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from spacy_deberta.checkpoints import Checkpoint

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")


def inspect(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="checkpoint folder, or a name on the hub")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="which file of weights in FOLDER")
    ] = None,
) -> None:
    """Show what a checkpoint holds, which tasks it can do and what would be ignored.

    Ends with code 2 if its encoder cannot be loaded.
    """
    from rich.console import Console

    from spacy_deberta.checkpoints import open_checkpoint, resolve_source

    description = describe(open_checkpoint(resolve_source(source, prefer=weights), weights=weights))
    if as_json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        Console().print(_table(description))
    if description["faults"]:
        raise typer.Exit(2)


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint in numbers and names, as `--json` prints it."""
    from spacy_deberta.checkpoints import damaged_values

    config = checkpoint.config
    return {
        "file": checkpoint.file,
        "format": checkpoint.format,
        "model_type": config.model_type,
        **{name: getattr(config, name) for name in SIZES},
        "tasks": list(checkpoint.tasks),
        "parameters": {
            kind: _count(tensors)
            for kind, tensors in {"encoder": checkpoint.encoder, **checkpoint.heads}.items()
        },
        "ignored": checkpoint.ignored,
        "faults": [*checkpoint.faults, *damaged_values(checkpoint)],
    }


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _table(description: Mapping[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text  # names in files are text, not markup

    table = Table(show_header=False)
    for title, text in _rows(description):
        table.add_row(title, Text(text, overflow="fold"))
    return table


def _rows(description: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from spacy_deberta.checkpoints import HEAD_TITLES

    sizes = ", ".join(f"{name} {description[name]:,}" for name in SIZES)
    yield "weights", f"{description['file']} ({description['format']})"
    yield "model", f"{description['model_type']}: {sizes}"
    yield "tasks", ", ".join(description["tasks"])
    for kind, n_parameters in description["parameters"].items():
        yield kind, f"{n_parameters:,} parameters{_explain(HEAD_TITLES.get(kind))}"
    for name, reason in description["ignored"].items():
        yield "ignored", f"{name}: {reason}"
    for fault in description["faults"]:
        yield "fault", fault


def _explain(title: str | None) -> str:
    return f", {title}" if title else ""
