"""What a task runs on where no model is given: the embedded encoder and its trained heads."""

from __future__ import annotations

from pathlib import Path

from spacy_deberta.checkpoints import EMBEDDED_FOLDER
from spacy_deberta.errors import HeadMissingError

TASKS_FOLDER = EMBEDDED_FOLDER.parent / "tasks"  # a spaCy pipeline whose components share it

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
    if task in COMPONENTS and (TASKS_FOLDER / COMPONENTS[task]).is_dir():
        return TASKS_FOLDER
    raise HeadMissingError(
        f"the embedded model has no head for {task}. Give model=: a checkpoint folder or a name "
        "on the hub that was trained for it, or a spaCy pipeline with the component."
    )
