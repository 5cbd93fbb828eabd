"""`pipeline(...)`: the pipeline of a task over a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.registry import task_class
from spacy_deberta.errors import OptionError


def pipeline(task: str | None = None, model: Any = None, **settings: Any) -> Any:
    """The pipeline of a task.

    Args:
        task: its name or an alias, see `available_tasks`; None = what the model was trained for.
        model: None = the embedded model; a checkpoint folder of any format or a name on the hub;
            a spaCy pipeline (folder, package or `nlp`) with the matching component; or a model of
            `spacy_deberta` (with `tokenizer=`).
        settings: those of `TaskPipeline`, and options of the task.

    Raises:
        HeadMissingError: the model has no trained head for the task; says what it can do.
        CheckpointError: nothing is there, or a file is missing or damaged.
        OptionError: an unknown task or option.
    """
    if task is None:
        task, model = _infer(model)
    return task_class(task)(model, **settings)


def load(folder: str | Path, **settings: Any) -> Any:
    """A pipeline that `save_pretrained` wrote: task, options and calibration are its own."""
    return pipeline(None, folder, **settings)


def _infer(model: Any) -> tuple[str, Any]:
    """The task that a model is for, and the model, loaded where that was needed to tell."""
    from pipelines.sources import find_task, task_of_model
    from pipelines.spacy_models import able_tasks, is_pipeline, load_pipeline

    if model is None:
        raise OptionError("give a task, such as pipeline('ner'), or a model, or both.")
    if isinstance(model, str | Path):
        nlp = load_pipeline(model)
        if nlp is None:
            return find_task(model), model
        model = nlp
    if is_pipeline(model):
        found = able_tasks(model)
        heads = [
            one for one in found if one not in ("feature-extraction", "zero-shot-classification")
        ]
        if len(heads or found) == 1:
            return (heads or found)[0], model
        raise OptionError(
            f"task: the components of this spaCy pipeline can do {', '.join(found) or 'none'}; "
            "name one."
        )
    return task_of_model(model), model
