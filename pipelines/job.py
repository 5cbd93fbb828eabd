"""A file of inputs through a pipeline into a file of results: the work of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from pipelines.factory import pipeline
from pipelines.lines import (
    STANDARD,
    Fields,
    count_done,
    open_input,
    open_output,
    read_lines,
    refuse_existing,
    write_line,
)
from pipelines.options import check_choice
from pipelines.records import Failed
from pipelines.registry import task_class
from pipelines.stream import POLICIES
from spacy_deberta.errors import OptionError

REPORTED = 1000  # most results in a report


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the command line was asked for.

    Attributes:
        task: its name.
        model: as `pipeline` takes it.
        settings: of the pipeline.
        options: of the task.
        source: file of inputs; "-" = stdin.
        target: file of results; "-" = stdout.
        text_field: key of the text in each object.
        plain: lines are texts, not JSON.
        on_error: "raise", "skip" or "return".
        threads: of the CPU; None = torch's own choice.
        html: file for a report, or None.
        progress: show it on stderr.
        resume: go on behind what the target holds.
        force: replace the target.
    """

    task: str
    model: str | None
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    source: str
    target: str
    text_field: str
    plain: bool
    on_error: str
    threads: int | None
    html: Path | None
    progress: bool
    resume: bool
    force: bool


def run_job(job: Job) -> int:
    """Run it.

    Returns:
        How many inputs failed, with --resume also those of earlier runs.

    Raises:
        OptionError: a file or an option that cannot be.
        CheckpointError: the model cannot be loaded.
        InputError: an input that failed, with on_error="raise".
    """
    _check(job)
    if job.html is not None:
        from pipelines.html import check_place

        check_place(job.html)
    done, n_failed = count_done(Path(job.target)) if job.resume else (0, 0)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    with ExitStack() as stack:
        source = stack.enter_context(open_input(job.source))
        runner = pipeline(job.task, job.model, **job.settings, **job.options)
        found = read_lines(source, Fields(job.text_field, runner.input_fields, job.plain))
        results = runner.pipe(
            islice(found, done, None),
            as_tuples=True,
            progress=job.progress,
            on_error=job.on_error,
        )
        first = list(islice(results, 1))  # before the output is made: it tells what cannot work
        target = stack.enter_context(open_output(job.target, append=job.resume, force=job.force))
        reported: list[tuple[Any, Any]] = []
        for found_here, given in chain(first, results):
            result = _numbered(found_here, done)
            write_line(target, given, result)
            n_failed += isinstance(result, Failed)
            if job.html is not None and len(reported) < REPORTED:
                reported.append((_named(given, job.text_field), result))
        if job.html is not None:
            from pipelines.html import write_report

            write_report(job.html, runner.task, reported, model=job.model or "embedded")
    return n_failed


def _check(job: Job) -> None:
    """What can be refused before a model is loaded.

    Raises:
        OptionError: naming it.
    """
    check_choice("--on-error", job.on_error, POLICIES)
    task_class(job.task).options_class.read(job.options)
    if job.target == STANDARD:
        if job.resume:
            raise OptionError("--resume: needs a file, -o out.jsonl.")
        return
    if job.resume and job.on_error == "skip":
        raise OptionError("--resume: needs a line for every input; use --on-error return.")
    if not (job.resume or job.force) and Path(job.target).exists():
        refuse_existing(job.target)
    if job.source != STANDARD and _same(job.source, job.target):
        raise OptionError(f"-o {job.target}: is the input.")


def _numbered(result: Any, done: int) -> Any:
    """A result, whose number counts what earlier runs have done, too."""
    return replace(result, index=result.index + done) if isinstance(result, Failed) else result


def _named(given: dict[str, Any], text_field: str) -> dict[str, Any]:
    """An object with its text under the name that reports look for."""
    return {**given, "text": given[text_field]} if text_field in given else given


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
