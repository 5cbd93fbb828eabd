"""`import`: a fine-tuned checkpoint as a spaCy pipeline."""

from pathlib import Path
from typing import Annotated

import typer


def import_command(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="fine-tuned checkpoint, or a name on the hub")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the pipeline")],
    lang: Annotated[str, typer.Option("--lang", "-l", help="language of the pipeline")] = "en",
    task: Annotated[
        str | None, typer.Option(help="where the checkpoint has heads for several")
    ] = None,
) -> None:
    """Make a spaCy pipeline of a checkpoint, with its trained head.

    DebertaV2ForTokenClassification becomes `deberta_ner`, ForSequenceClassification
    `deberta_textcat`, ForQuestionAnswering `deberta_qa`, ForMultipleChoice `deberta_choice`,
    ForMaskedLM `deberta_fill_mask`. spacy.load(OUT) needs nothing else.
    """
    from spacy_deberta.components.importing import import_checkpoint

    nlp = import_checkpoint(source, lang=lang, task=task)
    target.parent.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(target)
    print(f"{target}: {', '.join(nlp.pipe_names)}")
    labels = nlp.pipe_labels.get(nlp.pipe_names[-1])
    if labels:
        print(f"labels: {', '.join(labels)}")
