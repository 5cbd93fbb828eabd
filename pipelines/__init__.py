"""Task pipelines over spacy_deberta: text in, typed results out.

    from pipelines import pipeline
    ner = pipeline("ner", "path/to/checkpoint")
    ner("Marie Curie moved to Paris.")

Read in this order:

    registry.py    the table of tasks: names, aliases, classes
    factory.py     pipeline(...)
    sources.py     where a model comes from; defaults.py: where none is given; spacy_models.py: from
                   spaCy pipelines; saving.py: pipeline.json
    base.py        TaskPipeline: what all tasks share; steps.py: what each task implements;
                   options.py, records.py, inputs.py
    stream.py      one input after another, and what happens to those that fail
    engine.py      items to records through a model; running.py: batches, memory, values that are
                   no numbers; batching.py: which rows go together
    ner.py, ...    one file per task; ner_options.py, ner_texts.py, questions.py, answered_docs.py,
                   mask_texts.py: what some of them read and write
    compat_*.py    numbers and nesting of transformers, for hf_compat=True
    __main__.py    the command line; job.py: a file through a pipeline; lines.py: JSON lines;
                   progress.py: a bar
    html.py        the report; html_views.py: what it shows of each task; html_style.py

Only public names of spacy_deberta are used here. Importing this package imports neither torch nor
spaCy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.registry import OURS, available_tasks

if TYPE_CHECKING:
    from pipelines.base import TaskPipeline
    from pipelines.factory import load, pipeline
    from pipelines.records import Failed, Record

_PLACES = {
    "Failed": "records",
    "Record": "records",
    "TaskPipeline": "base",
    "load": "factory",
    "pipeline": "factory",
    **{name: module for module, name in OURS.values()},
}

__all__ = ["Failed", "Record", "TaskPipeline", "available_tasks", "load", "pipeline"]


def __getattr__(name: str) -> Any:
    """Import what was asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pipelines.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """Public names, looked up or not, beside those that are there."""
    return sorted({*globals(), *_PLACES})
