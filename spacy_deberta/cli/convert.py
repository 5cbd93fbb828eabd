"""`convert`: a checkpoint of any supported format as safetensors or h5."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class WeightFormat(StrEnum):
    """The formats that can be written."""

    SAFETENSORS = "safetensors"
    H5 = "h5"


class Precision(StrEnum):
    """The precisions that can be written."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


def convert(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="checkpoint folder, or a name on the hub")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    weight_format: Annotated[
        WeightFormat, typer.Option("--format", help="h5 is TensorFlow's; it needs the extra tf")
    ] = WeightFormat.SAFETENSORS,
    dtype: Annotated[Precision, typer.Option(help="precision to write")] = Precision.FLOAT32,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="which file of weights in FOLDER")
    ] = None,
) -> None:
    """Write a checkpoint in the original layout, with its heads, config and tokenizer."""
    from spacy_deberta.checkpoints import HEAD_TITLES, convert_folder, resolve_source

    done = convert_folder(
        resolve_source(source, prefer=weights),
        target,
        weight_format=weight_format,
        dtype=dtype,
        weights=weights,
    )
    kept = ", ".join(["encoder", *(HEAD_TITLES[kind] for kind in done.heads)])
    print(f"{target}: {kept}; {', '.join(done.copied) or 'no tokenizer'}")
    for kind in done.left_out:
        print(f"left out: {HEAD_TITLES[kind]}; {weight_format} files have no place for it")
    for name, reason in done.source.ignored.items():
        print(f"ignored: {name} ({reason})")
