"""Task pipelines over spacy_deberta: text in, typed results out.

`registry` holds the tasks, each under its name; a task is one file of this package.
Only public names of spacy_deberta are used here.
"""

from pipelines.registry import available_tasks

__all__ = ["available_tasks"]
