"""The commands of `python -m spacy_deberta`, one file each: parse, call one function, print.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
An error of ours ends a command with one line and exit code 2, never with a traceback.
"""

import sys

import typer

from spacy_deberta import __version__
from spacy_deberta.cli.benchmark import benchmark
from spacy_deberta.cli.config import config
from spacy_deberta.cli.convert import convert
from spacy_deberta.cli.convert_data import convert_data
from spacy_deberta.cli.debug_pieces import debug_pieces
from spacy_deberta.cli.distil import distil
from spacy_deberta.cli.evaluate_lm import evaluate_lm
from spacy_deberta.cli.export import export
from spacy_deberta.cli.import_checkpoint import import_command
from spacy_deberta.cli.inspect import inspect
from spacy_deberta.cli.migrate import migrate
from spacy_deberta.cli.pretrain import FREE_OPTIONS, pretrain
from spacy_deberta.cli.train_tokenizer import train_tokenizer
from spacy_deberta.cli.upcycle import upcycle
from spacy_deberta.errors import DebertaError

app = typer.Typer(
    name="spacy-deberta",
    help="DeBERTa for spaCy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """DeBERTa for spaCy."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


app.command("inspect")(inspect)
app.command("benchmark")(benchmark)
app.command("convert")(convert)
app.command("convert-data")(convert_data)
app.command("config")(config)
app.command("debug-pieces")(debug_pieces)
app.command("migrate")(migrate)
app.command("import")(import_command)
app.command("export")(export)
app.command("train-tokenizer")(train_tokenizer)
app.command("upcycle")(upcycle)
app.command("pretrain", context_settings=FREE_OPTIONS)(pretrain)
app.command("distil")(distil)
app.command("evaluate-lm")(evaluate_lm)


def main() -> None:
    """Run the command line; errors of ours become one line on stderr and exit code 2."""
    try:
        app()
    except DebertaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
