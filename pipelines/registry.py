"""The table of tasks: a name and the pipeline class that does it.

Tasks of ours are imported when they are asked for; those of installed packages are found by their
entry points in the group `spacy_deberta_pipeline_tasks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import catalogue

from pipelines.options import nearest
from spacy_deberta.errors import OptionError

tasks = catalogue.create("spacy_deberta", "pipeline_tasks", entry_points=True)

OURS: dict[str, tuple[str, str]] = {  # task -> module, class
    "feature-extraction": ("features", "FeatureExtractionPipeline"),
    "fill-mask": ("fill_mask", "FillMaskPipeline"),
    "multiple-choice": ("multiple_choice", "MultipleChoicePipeline"),
    "question-answering": ("question_answering", "QuestionAnsweringPipeline"),
    "text-classification": ("text_classification", "TextClassificationPipeline"),
    "token-classification": ("ner", "NerPipeline"),
    "zero-shot-classification": ("zero_shot", "ZeroShotClassificationPipeline"),
}

ALIASES: dict[str, str] = {
    "choice": "multiple-choice",
    "embed": "feature-extraction",
    "features": "feature-extraction",
    "ner": "token-classification",
    "qa": "question-answering",
    "sentiment": "text-classification",
    "sentiment-analysis": "text-classification",
    "textcat": "text-classification",
    "zero-shot": "zero-shot-classification",
}


def available_tasks() -> tuple[str, ...]:
    """The names of all tasks, sorted: ours and those of installed packages."""
    return tuple(sorted({*OURS, *tasks.get_all()}))


def task_name(name: str) -> str:
    """The name of a task from any of its spellings.

    Raises:
        OptionError: there is no such task; says which there are.
    """
    if not isinstance(name, str):
        raise OptionError(f"task={name!r}: expected a name, such as 'ner'.")
    spelled = name.strip().lower().replace("_", "-")
    for found in (name, spelled, ALIASES.get(spelled)):
        if found is not None and (found in OURS or found in tasks):
            return found
    known = (*available_tasks(), *ALIASES)
    raise OptionError(f"task={name!r} is unknown; {nearest(spelled, known)}")


def task_class(name: str) -> Any:
    """The pipeline class of a task, by any of its names.

    Raises:
        OptionError: there is no such task; says which there are.
    """
    task = task_name(name)
    if task in OURS:
        import_module(f"pipelines.{OURS[task][0]}")
    return tasks.get(task)
