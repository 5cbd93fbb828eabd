"""`config`: a whole training config from tasks, language, size and hardware."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_deberta.cli.blueprint import HARDWARE, SIZES, TASKS, Plan, build_config
from spacy_deberta.errors import ConfigError


def config(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="file to write; - = print it")],
    task: Annotated[
        list[str], typer.Option("--task", "-t", help=f"may be given again: {', '.join(TASKS)}")
    ],
    lang: Annotated[str, typer.Option("--lang", "-l", help="language of the pipeline")] = "en",
    size: Annotated[
        str, typer.Option("--size", "-s", help=f"of the encoder: {', '.join(SIZES)}")
    ] = "embedded",
    hardware: Annotated[str, typer.Option(help=" or ".join(HARDWARE))] = "cpu",
    source: Annotated[
        str | None, typer.Option(help="checkpoint folder or hub name, with the rates of --size")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="updates in all")] = 2000,
    force: Annotated[bool, typer.Option("--force", "-f", help="replace OUT")] = False,
) -> None:
    """Write a filled config for `spacy train`: one encoder, and a component for every task."""
    if str(target) != "-" and target.exists() and not force:
        raise ConfigError(f"{target}: exists already; --force replaces it.")
    plan = Plan(task, lang, size, hardware, source, max_steps)
    text = build_config(plan).to_str()
    if str(target) == "-":
        print(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: train it by")
    print(
        f"  python -m spacy train {target} --output OUT "
        "--paths.train train.spacy --paths.dev dev.spacy"
    )
    if size == "embedded" and source is None and lang != "en":
        print("note: the embedded encoder reads English only; use --size multilingual or --source.")
