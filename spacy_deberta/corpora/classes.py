"""Texts and pairs with labels or values: JSON objects in lines, or tables with tabs and a header.

    {"text": "A fine day.", "label": "good"}                          one label
    {"text": "A fine day.", "labels": ["good", "day"]}                any number of labels
    {"text_a": "A plane lands.", "text_b": "It flies.", "score": 2.5}     a value
    {"sentence1": "...", "sentence2": "...", "gold_label": "entailment"}  as in SNLI and MNLI

A table has the same names in its first line; several labels are joined by "|". Rows whose
gold_label is "-", of SNLI's annotators in disagreement, are left out and counted. A Doc has the
first text, the second in `doc._.pair`, and all labels of the file in `doc.cats`.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacy_deberta.errors import DataError
from spacy_deberta.json_text import read_json

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

FIRST = ("text", "text_a", "sentence1", "premise", "sentence")
SECOND = ("text_pair", "text_b", "sentence2", "hypothesis")
GOLD = "gold_label"
LABEL = ("label", GOLD, "labels")
VALUE = ("score", "value", "similarity")
SCORE = "score"  # the label of a value in `doc.cats`
UNDECIDED = "-"


@dataclass(frozen=True)
class ClassExample:
    """A text or pair and what it was annotated with.

    Attributes:
        text: the text, or the first one of a pair.
        pair: the second one; None = there is none.
        labels: those that hold; None for a value.
        value: of a regression; None for labels.
    """

    text: str
    pair: str | None
    labels: tuple[str, ...] | None
    value: float | None


@dataclass(frozen=True)
class ReadClasses:
    """What a file holds.

    Attributes:
        examples: of one kind.
        n_undecided: rows that were left out, as their annotators did not agree.
    """

    examples: list[ClassExample]
    n_undecided: int


def read_classes(path: Path) -> ReadClasses:
    """Read a file, also a gzipped one.

    Args:
        path: UTF-8; `.jsonl` or `.json` with an object in each line, else a table with tabs.

    Raises:
        DataError: the file cannot be read, or a line in it; names the line, what was found and what
            was expected.
    """
    lines = _read_text(path).split("\n")
    is_json = not {".jsonl", ".json"}.isdisjoint(path.suffixes)
    rows = _json_rows(lines, path) if is_json else _table_rows(lines, path)
    found = [_read_row(row, place) for place, row in rows]
    examples = [example for example in found if example is not None]
    if not examples:
        raise DataError(f"{path}: found no example, expected a text and its label in each line.")
    kinds = {(example.labels is None, example.pair is None) for example in examples}
    if len(kinds) > 1:
        raise DataError(
            f"{path}: found texts beside pairs, or labels beside values; expected one kind."
        )
    return ReadClasses(examples, len(found) - len(examples))


def build_class_docs(
    examples: Sequence[ClassExample], vocab: Vocab, labels: Sequence[str] | None = None
) -> Iterator[Doc]:
    """Yield one Doc per example.

    Args:
        examples: of one kind.
        vocab: of the Docs.
        labels: all there are; None = those of the examples.
    """
    from spacy.tokenizer import Tokenizer
    from spacy.tokens import Doc

    if not Doc.has_extension("pair"):
        Doc.set_extension("pair", default=None)
    known = list(count_classes(examples)) if labels is None else labels
    tokenizer = Tokenizer(vocab)  # at spaces: in training, texts get the pipeline's own tokens
    for example in examples:
        doc: Doc = tokenizer(example.text)
        doc._.pair = example.pair
        if example.labels is None:
            doc.cats = {SCORE: example.value}  # type: ignore[dict-item]  # one of the two is there
        else:
            doc.cats = {label: float(label in example.labels) for label in known}
        yield doc


def count_classes(examples: Sequence[ClassExample]) -> dict[str, int]:
    """The number of examples per label, in the order of the labels' names."""
    counts = Counter(label for example in examples for label in example.labels or ())
    return dict(sorted(counts.items()))


def describe_classes(examples: Sequence[ClassExample]) -> str:
    """Number of texts or pairs, and of each label, or the range of values."""
    kind = "texts" if examples[0].pair is None else "pairs"
    if examples[0].labels is None:
        values = [example.value or 0.0 for example in examples]
        return f"{len(examples)} {kind}, values from {min(values):g} to {max(values):g}"
    counts = ", ".join(f"{label} {n}" for label, n in count_classes(examples).items())
    return f"{len(examples)} {kind}, labels: {counts or 'none'}"


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 ({error}).") from error


def _json_rows(lines: Sequence[str], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        row = read_json(line, place)
        if not isinstance(row, dict):
            raise DataError(f"{place}: found {type(row).__name__}, expected an object.")
        yield place, row


def _table_rows(lines: Sequence[str], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows by the names in the first line."""
    names = [name.strip().lower() for name in lines[0].rstrip("\r").split("\t")]
    for number, line in enumerate(lines[1:], 2):
        place = f"{path}, line {number}"
        cells = line.rstrip("\r").split("\t")
        if cells == [""]:
            continue
        if len(cells) != len(names):
            raise DataError(f"{place}: {len(cells)} columns, expected {len(names)} as in line 1.")
        row: dict[str, Any] = dict(zip(names, cells, strict=True))
        if "labels" in row:
            row["labels"] = [label for label in row["labels"].split("|") if label]
        yield place, row


def _read_row(row: Mapping[str, Any], place: str) -> ClassExample | None:
    """None if its annotators did not agree."""
    first, second = _find(row, FIRST), _find(row, SECOND)
    if first is None:
        raise DataError(
            f"{place}: found the names {list(row)}, expected the text as one of {', '.join(FIRST)}."
        )
    name, value = _find(row, LABEL), _find(row, VALUE)
    if (name is None) == (value is None):
        raise DataError(
            f"{place}: found the names {list(row)}, expected either a label as one of "
            f"{', '.join(LABEL)}, or a value as one of {', '.join(VALUE)}."
        )
    text = _text(row[first], place, first)
    pair = None if second is None else _text(row[second], place, second)
    if value is not None:
        return ClassExample(text, pair, None, _number(row[value], place, value))
    assert name is not None
    labels = _labels(row[name], place, name)
    undecided = name == GOLD and labels == (UNDECIDED,)
    return None if undecided else ClassExample(text, pair, labels, None)


def _find(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _text(value: object, place: str, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: {name}={value!r}, expected a text.")
    return value


def _labels(value: object, place: str, name: str) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int) and one != "" for one in given):
        raise DataError(f"{place}: {name}={value!r}, expected a label or a list of labels.")
    return tuple(str(one) for one in given)


def _number(value: object, place: str, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what cannot be raises
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{place}: {name}={value!r:.40}, expected a number.") from error
    if not math.isfinite(number):
        raise DataError(f"{place}: {name}={value!r:.40}, expected a finite number.")
    return number
