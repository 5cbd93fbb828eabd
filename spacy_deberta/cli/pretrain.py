"""`pretrain`: pre-training from a config file, or onwards from its newest checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

FREE_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}  # --section.key VALUE


def pretrain(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="such as pretrain_v3.cfg")],
    force: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY",
            help="go on although this setting differs from the checkpoint's; repeat for more",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="refuse to pass over a damaged checkpoint")
    ] = False,
) -> None:
    """Pre-train an encoder: masked pieces, or replaced pieces as DeBERTa-v3.

    Any setting can be given as --section.key VALUE (JSON, or plain text). If run.out has
    checkpoints, the run goes on from the newest. For several processes:
    torchrun -m spacy_deberta.training.pretraining CONFIG ...
    """
    from spacy_deberta.training.pretraining.config_file import parse_overrides
    from spacy_deberta.training.pretraining.run import pretrain as train
    from spacy_deberta.training.pretraining.settings import read_settings

    settings = read_settings(config, parse_overrides(context.args))
    code = train(settings, forced=force or (), strict=strict)
    if code:
        raise typer.Exit(code)
