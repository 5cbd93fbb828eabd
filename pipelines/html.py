"""A report: one page with everything in it, for people to look at.

The page loads nothing and runs nothing: its own policy forbids both, and all text is escaped. It
follows the reader's choice of light or dark, and prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from errno import EISDIR
from os import strerror
from pathlib import Path
from typing import Any

from pipelines.html_style import STYLE
from pipelines.html_views import (
    VIEWS,
    hue_of,
    labels_of,
    show_failure,
    shown,
)
from pipelines.records import Entities, Failed, Record
from pipelines.registry import task_name
from spacy_deberta.errors import OptionError

TITLES = {
    "feature-extraction": "Features",
    "fill-mask": "Filled masks",
    "multiple-choice": "Choices",
    "question-answering": "Answers",
    "text-classification": "Classes",
    "token-classification": "Entities",
    "zero-shot-classification": "Zero-shot classes",
}

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MOST_LABELS = 40  # in the legend


def write_report(
    path: str | Path, task: str, results: Iterable[tuple[Any, Any]], *, model: str = ""
) -> Path:
    """Write a page that shows results beside their inputs.

    Args:
        path: of the page; folders are made.
        task: whose results they are, by any of its names.
        results: each input with its record, the record's `to_dict()`, or a `Failed`.
        model: what the page says about where they come from.

    Returns:
        The path.

    Raises:
        OptionError: the task has no view, or there can be no page in this place.
    """
    name = task_name(task)
    if name not in VIEWS:
        raise OptionError(f"task={task!r}: there is a page for {', '.join(VIEWS)} only.")
    plain = [(_given(given, result), _plain(result)) for given, result in results]
    target = check_place(path)
    with target.open("w", encoding="utf-8", newline="\n") as page:
        page.writelines(_page(name, plain, model))
    return target


def check_place(path: str | Path) -> Path:
    """Make the folder of a page.

    Raises:
        OptionError: there can be no page in this place.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
    except OSError as error:
        raise OptionError(f"report {path}: cannot be written ({error.strerror}).") from error
    return target


def _page(task: str, results: list[tuple[Any, Any]], model: str) -> Iterator[str]:
    title = TITLES[task]
    failed = sum(_is_failure(result) for _, result in results)
    facts = [f"{len(results)} {'input' if len(results) == 1 else 'inputs'}", task]
    facts += [f"{failed} failed"] if failed else []
    facts += [shown(model)] if model else []
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{shown(title)}</h1><p class="facts">{" · ".join(facts)}</p>'
        f"{_legend(task, results)}</header>\n<main>\n"
    )
    for number, (given, result) in enumerate(results, 1):
        view = show_failure if _is_failure(result) else VIEWS[task]
        css = ' class="failed"' if _is_failure(result) else ""
        yield f'<article{css}><span class="number">{number}</span>{view(given, result)}</article>\n'
    yield "</main>\n<footer>Made by spacy-deberta.</footer>\n</body>\n</html>\n"


def _legend(task: str, results: list[tuple[Any, Any]]) -> str:
    """How often each label was found, most frequent first."""
    counts = Counter(
        label
        for _, result in results
        if not _is_failure(result)
        for label in labels_of(task, result)
    )
    if not counts:
        return ""
    items = [
        f'<li style="--h:{hue_of(label)}"><bdi>{shown(label)}</bdi><b>{count}</b></li>'
        for label, count in counts.most_common(_MOST_LABELS)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _given(given: Any, result: Any) -> Any:
    """What to show of an input: the text that offsets count in, where the result knows it."""
    return result.text if isinstance(result, Entities) else given


def _plain(result: Any) -> Any:
    if isinstance(result, Failed):
        return {"failed": True, **result.to_dict()}
    if isinstance(result, Record):
        return result.to_dict()
    if isinstance(result, list | tuple):
        return [_plain(part) for part in result]
    return result


def _is_failure(result: Any) -> bool:
    return isinstance(result, dict) and "error_type" in result
