"""`python -m pipelines TASK --model ... -i in.jsonl -o out.jsonl`.

Exit status: 0 = every input has a prediction, 1 = a wrong option or file, 2 = the model cannot be
loaded or run, 3 = some inputs failed. A reader that closes the pipe ends the command quietly.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spacy_deberta.errors import DebertaError, InputError, OptionError

WRONG_USE, WRONG_MODEL, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130
LIST = "tasks"

# Typer stands on click, in some versions on a copy of its own; both have this class.
UsageProblem: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="a task or its alias; 'tasks' lists them")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="folder, hub name or spaCy pipeline; else embedded"),
    ] = None,
    source: Annotated[str, typer.Option("--input", "-i", help="JSON lines; - = stdin")] = "-",
    target: Annotated[str, typer.Option("--output", "-o", help="JSON lines; - = stdout")] = "-",
    text_field: Annotated[str, typer.Option(help="key of the text in each object")] = "text",
    lines: Annotated[bool, typer.Option("--lines", help="input lines are texts, not JSON")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-O", metavar="NAME=VALUE", help="of the task; may be repeated"),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="the same as -O top_k=N")] = None,
    hf_compat: Annotated[
        bool, typer.Option("--hf-compat", help="numbers and shapes of transformers 4.57.6")
    ] = False,
    on_error: Annotated[
        str, typer.Option(help="return (an error in the output), skip, or raise (stop)")
    ] = "return",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16")] = "auto",
    batch_pieces: Annotated[int | None, typer.Option(help="pieces of a batch")] = None,
    max_length: Annotated[int | None, typer.Option(help="pieces of a window")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU")] = None,
    html: Annotated[Path | None, typer.Option(help="also write a report to look at")] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="on stderr")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where OUT ends")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace OUT if it is there")] = False,
) -> None:
    """Run a task over a file, one JSON object per line.

    Each output line is the input's object with "prediction" or "error".
    """
    if task == LIST:
        _list_tasks()
        return
    from pipelines.job import Job, run_job

    settings = {
        "device": device,
        "dtype": dtype,
        "batch_pieces": batch_pieces,
        "max_length": max_length,
        "hf_compat": hf_compat or None,
    }
    job = Job(
        task=task,
        model=model,
        settings={name: value for name, value in settings.items() if value is not None},
        options=read_options(option or [], top_k),
        source=source,
        target=target,
        text_field=text_field,
        plain=lines,
        on_error=on_error,
        threads=threads,
        html=html,
        progress=sys.stderr.isatty() if progress is None else progress,
        resume=resume,
        force=force,
    )
    try:
        n_failed = run_job(job)
    except BrokenPipeError as error:
        _close_quietly()
        raise typer.Exit(0) from error
    if n_failed:
        typer.echo(f'{n_failed} input(s) failed; see "error" in the output.', err=True)
        raise typer.Exit(SOME_FAILED)


def read_options(given: list[str], top_k: int | None) -> dict[str, Any]:
    """Options of the task; values are JSON where they can be, else texts.

    Raises:
        OptionError: one without "=".
    """
    found: dict[str, Any] = {} if top_k is None else {"top_k": top_k}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise OptionError(f"-O {text}: expected NAME=VALUE, such as -O threshold=0.5.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; errors of ours become one line on stderr.

    Returns:
        The exit status.
    """
    try:
        status = app(args=arguments, prog_name="python -m pipelines", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except UsageProblem as error:
        error.show()  # type: ignore[attr-defined]
        return WRONG_USE
    except DebertaError as error:
        typer.echo(f"error: {error}", err=True)
        kinds = {OptionError: WRONG_USE, InputError: SOME_FAILED}
        return kinds.get(type(error), WRONG_MODEL)
    if status == INTERRUPTED:  # also what Typer makes of it
        typer.echo("interrupted; --resume goes on", err=True)
    return status if isinstance(status, int) else 0


def _list_tasks() -> None:
    from pipelines.registry import ALIASES, available_tasks

    for name in available_tasks():
        others = ", ".join(sorted(alias for alias, task in ALIASES.items() if task == name))
        typer.echo(f"{name}  ({others})" if others else name)


def _close_quietly() -> None:
    """Let the interpreter flush stdout, whose reader has gone, into nothing."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
