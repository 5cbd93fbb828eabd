"""`export`: a pipeline's encoder and head as a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_deberta.errors import PipelineError


def export(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="folder or package")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the checkpoint")],
    component: Annotated[
        str | None, typer.Option(help="whose head, where there are several")
    ] = None,
) -> None:
    """Write a checkpoint in the original layout, which transformers reads, too."""
    import spacy

    from spacy_deberta.components.exporting import export_pipeline

    try:
        nlp = spacy.load(pipeline)
    except OSError as error:
        raise PipelineError(f"{pipeline}: cannot be loaded as a pipeline: {error}") from error
    done = export_pipeline(nlp, target, component)
    head = "the encoder alone" if done.component is None else f"with the head of {done.component}"
    print(f"{target}: {done.architecture}, {head}")
    for note in done.notes:
        print(f"note: {note}")
