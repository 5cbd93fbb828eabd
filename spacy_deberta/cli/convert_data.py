"""`convert-data`: an annotated file to spaCy's `.spacy` training files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spacy_deberta.corpora.iob import TaggedSentence, count_labels, map_labels, read_iob
from spacy_deberta.errors import DataError

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab


class DataFormat(StrEnum):
    """The file formats that can be read."""

    IOB = "iob"
    SQUAD = "squad"
    CHOICE = "choice"
    CLASSES = "classes"


FORMATS_HELP = (
    "iob: CoNLL, token first, tag last; "
    "squad: questions, SQuAD's JSON (1.1, 2.0) or one object per line; "
    "choice: multiple choice, one object per line (SWAG, ARC, CommonsenseQA, ...); "
    "classes: texts or pairs with labels or a value, one object per line, or a table with tabs"
)


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a file holds.

    Attributes:
        items: in its order; identical ones go into the same part of a split.
        build: items to Docs.
        describe: items in a few words.
        note: what the user should know.
    """

    items: Sequence[Any]
    build: "Callable[[Sequence[Any], Vocab], Iterator[Doc]]"
    describe: Callable[[Sequence[Any]], str]
    note: str = ""


def convert_data(
    source: Annotated[Path, typer.Argument(metavar="IN", help="the annotated file")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="a .spacy file; with --split a folder")
    ],
    data_format: Annotated[
        DataFormat, typer.Option("--format", help=FORMATS_HELP)
    ] = DataFormat.IOB,
    split: Annotated[
        str | None,
        typer.Option(help="percent of train/dev/test, or of train/dev: 70/10/20"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the split")] = 13,
    label_map: Annotated[
        str | None,
        typer.Option("--map", help="iob: rename labels: person=PERSON,movie=WORK; x= drops x"),
    ] = None,
    lang: Annotated[str, typer.Option(help="squad: whose tokens answers are made of")] = "en",
) -> None:
    """Convert an annotated file to .spacy files for `spacy train`.

    With --split, OUT becomes a folder with train.spacy, dev.spacy and test.spacy; identical
    sentences, and all questions about one text, go into the same part.
    """
    shares = _parse_split(split) if split is not None else None
    if shares is None and target.suffix != ".spacy":
        raise DataError(f"{target}: without --split, OUT is one file and must end in .spacy.")
    if label_map is not None and data_format != DataFormat.IOB:
        raise DataError(f"--map {label_map!r}: only --format iob has labels to rename.")
    if data_format == DataFormat.IOB:
        corpus = _read_iob(source, label_map)
    else:
        corpus = _READERS[data_format](source, lang)
    from spacy_deberta.corpora.docs import split_sentences, write_built

    if shares is None:
        files = {target: list(corpus.items)}
    else:
        parts = split_sentences(corpus.items, shares, seed)
        files = {target / f"{name}.spacy": members for name, members in parts.items()}
    for path, members in files.items():
        write_built(corpus.build, members, path)
        print(f"{path}: {corpus.describe(members)}")
    if corpus.note:
        print(corpus.note)


def _read_iob(source: Path, label_map: str | None) -> Corpus:
    from spacy_deberta.corpora.docs import build_docs

    read = read_iob(source)
    sentences = read.sentences
    if label_map is not None:
        sentences = map_labels(sentences, _parse_map(label_map))
    note = ""
    if read.n_inside_starts:
        note = f"note: {read.n_inside_starts} entities start with I- (as in IOB1), not with B-."
    return Corpus(sentences, build_docs, describe_sentences, note)


def _read_squad(source: Path, lang: str) -> Corpus:
    from spacy_deberta.corpora.question_docs import build_question_docs
    from spacy_deberta.corpora.squad import read_squad

    def build(texts: Sequence[Any], vocab: "Vocab") -> "Iterator[Doc]":
        return build_question_docs(texts, vocab, lang)

    def describe(texts: Sequence[Any]) -> str:
        questions = [question for text in texts for question in text.questions]
        n_without = sum(not question.answers for question in questions)
        return f"{len(texts)} texts, {len(questions)} questions, {n_without} without an answer"

    return Corpus(read_squad(source), build, describe)


def _read_choices(source: Path, lang: str) -> Corpus:
    from spacy_deberta.corpora.choices import build_choice_docs, read_choices

    def describe(questions: Sequence[Any]) -> str:
        return f"{len(questions)} questions"

    return Corpus(list(read_choices(source)), build_choice_docs, describe)


def _read_classes(source: Path, lang: str) -> Corpus:
    from spacy_deberta.corpora.classes import (
        build_class_docs,
        count_classes,
        describe_classes,
        read_classes,
    )

    read = read_classes(source)
    labels = list(count_classes(read.examples))  # of all parts of a split

    def build(items: Sequence[Any], vocab: "Vocab") -> "Iterator[Doc]":
        return build_class_docs(items, vocab, labels)

    note = ""
    if read.n_undecided:
        note = f"note: {read.n_undecided} rows left out, whose gold_label is '-' (undecided)."
    return Corpus(read.examples, build, describe_classes, note)


_READERS: dict[DataFormat, Callable[[Path, str], Corpus]] = {  # file, language
    DataFormat.SQUAD: _read_squad,
    DataFormat.CHOICE: _read_choices,
    DataFormat.CLASSES: _read_classes,
}


def describe_sentences(sentences: Sequence[TaggedSentence]) -> str:
    """Number of sentences and tokens, and of entities per label."""
    n_tokens = sum(len(sentence.words) for sentence in sentences)
    labels = ", ".join(f"{label} {n}" for label, n in count_labels(sentences).items())
    return f"{len(sentences)} sentences, {n_tokens} tokens, entities: {labels or 'none'}"


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
