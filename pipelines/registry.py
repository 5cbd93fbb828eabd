"""The table of tasks: a name and the pipeline class that does it."""

import catalogue

tasks = catalogue.create("spacy_deberta", "pipeline_tasks", entry_points=True)


def available_tasks() -> tuple[str, ...]:
    """The names of all tasks, sorted: ours and those of installed packages."""
    return tuple(sorted(tasks.get_all()))
