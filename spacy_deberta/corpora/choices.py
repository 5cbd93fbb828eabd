"""Questions with choices: a JSON object in each line, in the fields of any known data set.

SWAG, HellaSwag, ARC, OpenBookQA, CommonsenseQA, CODAH, RACE, PIQA, ... : `decoding.FORMATS` is the
table. A Doc holds what the model reads of a question: the context is its text, the answers stand in
`doc._.choices`, and `doc.cats` says which one is right.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_deberta.decoding.choices import ChoiceTexts, read_question
from spacy_deberta.errors import DataError, InputError
from spacy_deberta.json_text import read_json

EXTENSION = "choices"


def read_choices(path: Path, format: str = "auto") -> Iterator[ChoiceTexts]:
    """Read a file, also a gzipped one, question by question.

    Args:
        path: one JSON object per line (`.jsonl`, `.jsonl.gz`).
        format: the data set's name in `decoding.FORMATS`; "auto" = by the fields of each line.

    Raises:
        DataError: the file cannot be read, or a line of it, which is named.
    """
    try:
        with path.open("rb") as opened, _unzip(opened, path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _read_line(line, format, f"{path}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


def build_choice_docs(questions: Iterable[ChoiceTexts], vocab: Vocab) -> Iterator[Doc]:
    """Yield one Doc per question, for `deberta_choice`.

    Where the context differs between choices (winogrande), the Doc has what all begin with, and the
    rest of each stands in front of its answer.
    """
    if not Doc.has_extension(EXTENSION):
        Doc.set_extension(EXTENSION, default=())
    tokenize = Tokenizer(vocab)  # at spaces: the encoder reads the text, not the tokens
    for question in questions:
        context, answers = _split_pairs(question.pairs)
        doc: Doc = tokenize(context)
        doc._.set(EXTENSION, answers)
        if question.gold is not None:
            numbers = range(len(answers))
            doc.cats = {str(number): float(number == question.gold) for number in numbers}
        yield doc


def write_choice_docs(questions: Iterable[ChoiceTexts], path: Path) -> int:
    """Write questions as a `.spacy` file, making the folder where needed.

    Returns:
        Their number.

    Raises:
        DataError: the file cannot be written.
    """
    docs = DocBin(store_user_data=True, docs=build_choice_docs(questions, Vocab()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        docs.to_disk(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}).") from error
    return len(docs)


def _unzip(opened: BinaryIO, path: Path) -> TextIO:
    raw = gzip.GzipFile(fileobj=opened) if path.suffix == ".gz" else opened
    return io.TextIOWrapper(raw, encoding="utf-8")


def _read_line(line: str, format: str, place: str) -> ChoiceTexts:
    try:
        row: Any = read_json(line, place)
        return read_question(row, format)
    except InputError as error:
        raise DataError(f"{place}: {error}") from error


def _split_pairs(pairs: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """The context that all pairs share, and what each reads after it."""
    contexts = [context for context, _ in pairs]
    if len(set(contexts)) == 1:
        return contexts[0], [answer for _, answer in pairs]
    n_same = next(
        (n for n, column in enumerate(zip(*contexts, strict=False)) if len(set(column)) > 1),
        min(map(len, contexts)),
    )
    shared = contexts[0][: contexts[0].rfind(" ", 0, n_same) + 1]  # whole words
    return shared.rstrip(), [f"{context[len(shared) :]} {answer}" for context, answer in pairs]
