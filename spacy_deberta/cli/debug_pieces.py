"""`debug-pieces`: how a tokenizer splits the tokens of a corpus."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from spacy_deberta.errors import DataError

if TYPE_CHECKING:
    from rich.text import Text
    from spacy.tokens import Doc

    from spacy_deberta.thinc_layers.types import DocPieces
    from spacy_deberta.tokenizers import Tokenizer

BATCH = 256  # docs that are split at once
COLORS = ("black on bright_cyan", "black on bright_yellow")  # token after token
BARE_COLOR = "white on red"  # a token without pieces
LONGEST_BINS = 6  # "6 and more" pieces per token


@dataclass
class PieceCounts:
    """Statistics of a corpus; `--json` prints them under these names."""

    docs: int = 0
    tokens: int = 0
    pieces: int = 0
    unknown_pieces: int = 0
    space_tokens: int = 0
    bare_tokens: int = 0
    windows: int = 0
    docs_in_windows: int = 0
    longest_doc: int = 0
    most_pieces: int = 0
    tokens_by_pieces: list[int] = field(default_factory=lambda: [0] * (LONGEST_BINS + 1))

    @property
    def pieces_per_token(self) -> float:
        """Mean over all tokens but whitespace."""
        return self.pieces / max(1, self.tokens - self.space_tokens)


def debug_pieces(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help=".spacy file, or text, one a line; - = stdin"),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="a text itself; may be given again")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="checkpoint folder or hub name; none = the embedded model")
    ] = None,
    lang: Annotated[str, typer.Option("--lang", "-l", help="whose tokens, of plain text")] = "en",
    window: Annotated[int, typer.Option(help="pieces of a window")] = 256,
    stride: Annotated[int, typer.Option(help="pieces from window to window")] = 192,
    show: Annotated[int, typer.Option("--show", "-n", help="docs to print in colour")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print statistics as JSON")] = False,
) -> None:
    """Print tokens against pieces, and how many there are.

    Every other token has another colour, pieces are separated by |, and tokens without a piece,
    whose rows are zeros, are red.
    """
    from rich.console import Console
    from spacy.util import minibatch

    from spacy_deberta.checkpoints import resolve_tokenizer_source
    from spacy_deberta.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(resolve_tokenizer_source(source))
    counts = PieceCounts()
    console = Console()
    docs_of = minibatch(_read(data, text or [], lang), BATCH)  # type: ignore[no-untyped-call]
    for docs in docs_of:
        for doc, pieces in _split(tokenizer, docs):
            count(counts, doc, pieces, tokenizer.unk_id, window=window, stride=stride)
            if counts.docs <= show and not as_json:
                console.print(paint(tokenizer, doc, pieces), soft_wrap=True)
    if not counts.docs:
        raise DataError(f"{data or '--text'}: no text. Give a .spacy file, a text file, or --text.")
    if as_json:
        numbers = {**asdict(counts), "pieces_per_token": counts.pieces_per_token}
        print(json.dumps(numbers, indent=2))
        return
    for line in describe(counts, window):
        print(line)


def count(
    counts: PieceCounts, doc: Doc, pieces: DocPieces, unk_id: int, *, window: int, stride: int
) -> None:
    """Add one Doc to the statistics."""
    from spacy.attrs import IS_SPACE

    from spacy_deberta.alignment import split_windows

    per_token = np.asarray(pieces.alignment.lengths)
    spaces = doc.to_array([IS_SPACE]).astype(bool).ravel()
    n_pieces = len(pieces.pieces)
    n_windows = len(split_windows(n_pieces, window=window, stride=stride))
    counts.docs += 1
    counts.tokens += len(doc)
    counts.pieces += n_pieces
    counts.unknown_pieces += int((pieces.pieces.ids == unk_id).sum())
    counts.space_tokens += int(spaces.sum())
    counts.bare_tokens += int(((per_token == 0) & ~spaces).sum())
    counts.windows += n_windows
    counts.docs_in_windows += n_windows > 1
    counts.longest_doc = max(counts.longest_doc, n_pieces)
    counts.most_pieces = max(counts.most_pieces, int(per_token.max(initial=0)))
    bins = np.bincount(np.minimum(per_token[~spaces], LONGEST_BINS), minlength=LONGEST_BINS + 1)
    counts.tokens_by_pieces = [
        a + int(b) for a, b in zip(counts.tokens_by_pieces, bins, strict=True)
    ]


def paint(tokenizer: Tokenizer, doc: Doc, pieces: DocPieces) -> Text:
    """The pieces of each token in its colour."""
    from rich.text import Text

    painted, end = Text(), 0
    for token, n_pieces in zip(doc, pieces.alignment.lengths.tolist(), strict=True):
        end += n_pieces
        numbers = pieces.alignment.pieces[end - n_pieces : end]
        names = [tokenizer.piece(int(pieces.pieces.ids[number])) for number in numbers]
        if names:
            painted.append("|".join(names), COLORS[token.i % 2])
        else:
            painted.append(repr(token.text)[1:-1], BARE_COLOR)
        painted.append(" ")
    return painted


def describe(counts: PieceCounts, window: int) -> Iterator[str]:
    """The statistics in lines."""
    words = max(1, counts.tokens - counts.space_tokens)
    shares = ", ".join(
        f"{n}{'+' if n == LONGEST_BINS else ''}: {found / words:.1%}"
        for n, found in enumerate(counts.tokens_by_pieces)
        if found
    )
    yield f"docs {counts.docs:,}, tokens {counts.tokens:,}, pieces {counts.pieces:,}"
    yield (
        f"pieces per token {counts.pieces_per_token:.2f}, at most {counts.most_pieces}; "
        f"tokens by pieces: {shares}"
    )
    yield (
        f"unknown pieces {counts.unknown_pieces:,} "
        f"({counts.unknown_pieces / max(1, counts.pieces):.2%}), tokens without pieces "
        f"{counts.bare_tokens:,}, whitespace tokens {counts.space_tokens:,}"
    )
    yield (
        f"windows {counts.windows:,}; {counts.docs_in_windows:,} docs have more than the "
        f"{window - 2} pieces of one window, the longest {counts.longest_doc:,}"
    )


def _split(tokenizer: Tokenizer, docs: Sequence[Doc]) -> Iterator[tuple[Doc, DocPieces]]:
    from spacy_deberta.thinc_layers.pieces import split_docs

    return zip(docs, split_docs(tokenizer, docs), strict=True)


def _read(data: Path | None, texts: Sequence[str], lang: str) -> Iterator[Doc]:
    import spacy
    from spacy.tokens import DocBin

    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise DataError(f"lang={lang!r}: spaCy knows no such language.") from error
    yield from (nlp.make_doc(text) for text in texts)
    if data is None:
        return
    if str(data) != "-" and not data.is_file():
        raise DataError(f"{data}: there is no such file. A text itself is given by --text.")
    if data.suffix == ".spacy":
        yield from DocBin().from_disk(data).get_docs(nlp.vocab)
        return
    lines = sys.stdin if str(data) == "-" else data.open(encoding="utf-8")
    with lines:
        yield from (nlp.make_doc(line.rstrip("\n")) for line in lines if line.strip())
