"""What a task runs on where no model is given: the embedded encoder and its trained heads."""

from __future__ import annotations

from pathlib import Path

from spacy_deberta.checkpoints import EMBEDDED_FOLDER, EMBEDDED_PIPELINE
from spacy_deberta.errors import HeadMissingError

COMPONENTS: dict[str, str] = {  # task -> name of its component there
    "token-classification": "ner",
    "text-classification": "sentiment",
    "zero-shot-classification": "nli",
    "question-answering": "qa",
    "multiple-choice": "choice",
}

_BARE = ("feature-extraction", "fill-mask")  # the first needs no head, the second has one


def default_source(task: str) -> Path:
    """Where the model of a task lies.

    Raises:
        HeadMissingError: the embedded model has no head for it.
    """
    if task in _BARE:
        return EMBEDDED_FOLDER
    if task in COMPONENTS and (EMBEDDED_PIPELINE / COMPONENTS[task]).is_dir():
        return EMBEDDED_PIPELINE
    raise HeadMissingError(
        f"the embedded model has no head for {task}. Give model=: a checkpoint folder or a name "
        "on the hub that was trained for it, or a spaCy pipeline with the component."
    )
