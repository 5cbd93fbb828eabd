"""Read CoNLL/IOB files, strictly.

One token per line, its tag in the last column; columns are separated by tabs, or by spaces in a
line without a tab. Lines of only whitespace separate sentences, `-DOCSTART-` lines are skipped:

    Marie   B-person
    Curie   I-person
    moved   O

Tags are `O` or a prefix, a hyphen and a label. IOB2 and BILUO (also written BIOES) are read, and
may be mixed: L = E ends an entity, U = S is a whole one. An `I-` that continues nothing starts an
entity, as in IOB1; the corpus counts these, because in an IOB2 file they are mistakes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spacy_deberta.errors import DataError

TAG = re.compile(r"([BILUES])-(\S+)")
LAST, WHOLE = "LE", "US"
EXPECTED_TAG = "'O' or a prefix of B I L U E S with a label, such as 'B-person'"


@dataclass(frozen=True)
class Entity:
    """The tokens `start` to `end` (exclusive) of a sentence, and their label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class TaggedSentence:
    """The words of one sentence and its entities, from left to right."""

    words: tuple[str, ...]
    entities: tuple[Entity, ...] = ()


@dataclass(frozen=True)
class IobCorpus:
    """All sentences of one file, and how many entities began with `I-`."""

    sentences: tuple[TaggedSentence, ...]
    n_inside_starts: int = 0


@dataclass(frozen=True)
class _Line:
    """A place to complain about."""

    path: Path
    number: int

    def error(self, found: str, expected: str) -> DataError:
        return DataError(f"{self.path}, line {self.number}: found {found}, expected {expected}.")


@dataclass
class _SentenceBuilder:
    """One sentence while its lines arrive."""

    words: list[str] = field(default_factory=list)
    entities: list[Entity] = field(default_factory=list)
    is_open: bool = False
    n_inside_starts: int = 0

    def add(self, word: str, tag: str, line: _Line) -> None:
        """Append one token; raise DataError for a tag that is none or ends what never began."""
        end = len(self.words) + 1
        self.words.append(word)
        if tag == "O":
            self.is_open = False
            return
        match = TAG.fullmatch(tag)
        if match is None:
            raise line.error(f"tag {tag!r}", EXPECTED_TAG)
        prefix, label = match.groups()
        continues = self.is_open and self.entities[-1].label == label and prefix in f"I{LAST}"
        if continues:
            self.entities[-1] = replace(self.entities[-1], end=end)
        elif prefix in LAST:
            raise line.error(f"tag {tag!r}", f"an entity {label!r} that began on the lines before")
        else:
            self.entities.append(Entity(end - 1, end, label))
            self.n_inside_starts += prefix == "I"
        self.is_open = prefix not in LAST + WHOLE

    def build(self) -> TaggedSentence:
        return TaggedSentence(tuple(self.words), tuple(self.entities))


def read_iob(path: Path) -> IobCorpus:
    """Read a CoNLL/IOB file.

    Args:
        path: UTF-8, with or without byte order mark, any line ends.

    Raises:
        DataError: the file cannot be read, has no sentence, or has a bad line; names file, line,
            what was found and what was expected.
    """
    sentences: list[TaggedSentence] = []
    builder = _SentenceBuilder()
    n_inside_starts = 0
    for row in _read_rows(path):
        if row is None:
            if builder.words:
                sentences.append(builder.build())
                n_inside_starts += builder.n_inside_starts
            builder = _SentenceBuilder()
        else:
            builder.add(*row)
    if not sentences:
        raise DataError(f"{path}: found no sentence, expected lines of a token and a tag.")
    return IobCorpus(tuple(sentences), n_inside_starts)


def map_labels(
    sentences: Sequence[TaggedSentence], mapping: Mapping[str, str]
) -> tuple[TaggedSentence, ...]:
    """Rename labels; a label mapped to "" loses its entities, one not mapped stays.

    Raises:
        DataError: a label to be renamed does not occur.
    """
    found = count_labels(sentences)
    unknown = sorted(set(mapping) - set(found))
    if unknown:
        raise DataError(
            f"labels to map {unknown} do not occur in the data, which has {sorted(found)}."
        )
    return tuple(
        replace(
            sentence,
            entities=tuple(
                replace(entity, label=mapping.get(entity.label, entity.label))
                for entity in sentence.entities
                if mapping.get(entity.label, entity.label)
            ),
        )
        for sentence in sentences
    )


def count_labels(sentences: Sequence[TaggedSentence]) -> dict[str, int]:
    """The number of entities per label, most frequent first."""
    counts = Counter(entity.label for sentence in sentences for entity in sentence.entities)
    return dict(counts.most_common())


def _read_rows(path: Path) -> Iterator[tuple[str, str, _Line] | None]:
    """Yield word, tag and place per token line, and None at each sentence end (the last too)."""
    n_columns, first = 0, 0
    # Not splitlines(): U+2028, U+0085 and others that it splits at may stand inside a token.
    for number, text in enumerate(_read_text(path).split("\n"), start=1):
        row = text.rstrip()
        if not row:
            yield None
            continue
        columns = row.split("\t") if "\t" in row else re.split(" +", row.strip(" "))
        if columns[0].strip() == "-DOCSTART-":
            yield None
            continue
        line = _Line(path, number)
        if len(columns) == 1:
            raise line.error(f"one column {columns[0]!r}", "a token and its tag")
        if n_columns and len(columns) != n_columns:
            raise line.error(f"{len(columns)} columns", f"{n_columns} as in line {first}")
        if not columns[0].strip():
            raise line.error("an empty token", "a token in the first column")
        n_columns, first = len(columns), first or number
        yield columns[0].strip(" "), columns[-1].strip(" "), line
    yield None


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: found byte 0x{data[error.start]:02x} at offset {error.start}, "
            "expected UTF-8. Save the file as UTF-8."
        ) from error
