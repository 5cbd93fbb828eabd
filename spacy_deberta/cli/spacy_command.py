"""`spacy deberta`: our commands under spaCy's own. spaCy imports this for each of its commands."""

import sys
from typing import Any

from spacy.cli._util import app as spacy_app
from typer.core import TyperGroup

from spacy_deberta.cli import app
from spacy_deberta.errors import DebertaError


class PlainErrors(TyperGroup):
    """Errors of ours become one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's context, which typer has a copy of
        """Run a command."""
        try:
            return super().invoke(ctx)
        except DebertaError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


spacy_app.add_typer(app, name="deberta", cls=PlainErrors)
