"""`migrate`: a config for spacy-transformers as one for this package."""

from pathlib import Path
from typing import Annotated

import typer

from spacy_deberta.errors import ConfigError


def migrate(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="config for spacy-transformers")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="file to write")],
    source: Annotated[
        str | None, typer.Option(help="checkpoint folder or hub name, instead of the one named")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="replace OUT")] = False,
) -> None:
    """Rewrite a config of spacy-transformers or spacy-curated-transformers for this package.

    The encoder component keeps its name. What a person should look at is printed.
    """
    if not old.is_file():
        raise ConfigError(f"{old}: there is no such file.")
    if target.exists() and not force:
        raise ConfigError(f"{target}: exists already; --force replaces it.")
    from confection import ConfigValidationError
    from spacy.util import load_config

    from spacy_deberta.cli.migration import fill_migrated, migrate_config

    try:
        config = load_config(old, interpolate=False)
    except (ConfigValidationError, ValueError) as error:
        raise ConfigError(f"{old}: cannot be read as a config: {error}") from error
    done = migrate_config(config, source)
    text = fill_migrated(done).to_str()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: written")
    for note in done.notes:
        print(f"note: {note}")
