"""`convert-data`: an annotated file to spaCy's `.spacy` training files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spacy_deberta.corpora.iob import TaggedSentence, count_labels, map_labels, read_iob
from spacy_deberta.errors import DataError


class DataFormat(StrEnum):
    """The file formats that can be read."""

    IOB = "iob"


def convert_data(
    source: Annotated[Path, typer.Argument(metavar="IN", help="the annotated file")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="a .spacy file; with --split a folder")
    ],
    data_format: Annotated[
        DataFormat, typer.Option("--format", help="iob: CoNLL, token first, tag last")
    ] = DataFormat.IOB,
    split: Annotated[
        str | None,
        typer.Option(help="percent of train/dev/test, or of train/dev: 70/10/20"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the split")] = 13,
    label_map: Annotated[
        str | None,
        typer.Option("--map", help="rename labels: person=PERSON,movie=WORK; x= drops label x"),
    ] = None,
) -> None:
    """Convert an annotated file to .spacy files for `spacy train`.

    With --split, OUT becomes a folder with train.spacy, dev.spacy and test.spacy; identical
    sentences go into the same part.
    """
    shares = _parse_split(split) if split is not None else None
    if shares is None and target.suffix != ".spacy":
        raise DataError(f"{target}: without --split, OUT is one file and must end in .spacy.")
    # One format so far; its reader is chosen here.
    corpus = {DataFormat.IOB: read_iob}[data_format](source)
    sentences = corpus.sentences
    if label_map is not None:
        sentences = map_labels(sentences, _parse_map(label_map))
    from spacy_deberta.corpora.docs import split_sentences, write_docs

    if shares is None:
        files = {target: list(sentences)}
    else:
        parts = split_sentences(sentences, shares, seed)
        files = {target / f"{name}.spacy": members for name, members in parts.items()}
    for path, members in files.items():
        write_docs(members, path)
        print(describe_sentences(path, members))
    if corpus.n_inside_starts:
        print(f"note: {corpus.n_inside_starts} entities start with I- (as in IOB1), not with B-.")


def describe_sentences(path: Path, sentences: list[TaggedSentence]) -> str:
    """One line: the file, its sentences, tokens and entities per label."""
    n_tokens = sum(len(sentence.words) for sentence in sentences)
    labels = ", ".join(f"{label} {n}" for label, n in count_labels(sentences).items())
    return f"{path}: {len(sentences)} sentences, {n_tokens} tokens, entities: {labels or 'none'}"


def _parse_split(text: str) -> list[int]:
    try:
        return [int(share) for share in text.split("/")]
    except ValueError as error:
        raise DataError(f"--split {text!r}: expected whole percentages, 70/10/20.") from error


def _parse_map(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(old and equals for old, equals, _ in pairs):
        raise DataError(f"--map {text!r}: expected old=new pairs with commas, person=PERSON,x=Y.")
    return {old.strip(): new.strip() for old, _, new in pairs}
