"""Minimal pairs: does a model find the grammatical one of two sentences more probable?

Scores are those of whole sentences, not of the differing words alone (as the BabyLM pipelines'
masked back end has them by default), nor divided by length. Equal scores count one half and are
counted. The headline is the mean over sets.

Source: Warstadt et al. 2020 (arXiv:1912.00582). Its twelve fields are the files' linguistics_term,
where "s-selection" is part of argument structure.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy_deberta.errors import DataError
from spacy_deberta.json_text import parse_json
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.scoring.likelihood import VARIANTS, pseudo_log_likelihoods
from spacy_deberta.training.scoring.scorers import Scorer
from spacy_deberta.training.scoring.texts import read_texts

_KEYS = {  # what we call it -> names in files, of which one must be there
    "good": ("sentence_good", "good"),
    "bad": ("sentence_bad", "bad"),
    "set_name": ("UID", "uid"),
    "field": ("linguistics_term", "term"),
}
_FIELDS = {"s-selection": "argument_structure"}
_SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class Pair:
    """Two sentences.

    Attributes:
        good: the grammatical one.
        bad: the other.
        set_name: of the pairs that show the same thing.
        field: of grammar.
    """

    good: str
    bad: str
    set_name: str
    field: str


@dataclass(frozen=True)
class SetScore:
    """One set of pairs: share decided right, ties one half."""

    name: str
    field: str
    accuracy: float
    n_pairs: int
    n_ties: int


@dataclass(frozen=True)
class VariantScore:
    """All sets under one variant of the score.

    Attributes:
        accuracy: mean over sets.
        n_ties: pairs whose sentences score the same.
        fields: mean over the sets of each field.
        sets: by name.
    """

    accuracy: float
    n_ties: int
    fields: dict[str, float]
    sets: tuple[SetScore, ...]


@dataclass(frozen=True)
class PairReport:
    """What a model makes of minimal pairs.

    Attributes:
        n_pairs: all of them.
        n_unknown: pairs with an unknown piece in a sentence; they count like the others.
        n_same: pairs whose sentences have the same pieces, so that no model of pieces decides.
        variants: by name, "pll" and "pll_word_l2r".
    """

    n_pairs: int
    n_unknown: int
    n_same: int
    variants: dict[str, VariantScore]


def read_pairs(source: Path, limit: int | None = None) -> list[Pair]:
    """Pairs of a .jsonl or .jsonl.gz file, or of all such files in a folder.

    Args:
        source: in the form of BLiMP's own files: sentence_good, sentence_bad, UID and
            linguistics_term; or good, bad, uid and term.
        limit: pairs of each set, the first ones; None = all.

    Raises:
        DataError: a file or line that cannot be read, or no pair at all.
    """
    taken: dict[str, list[Pair]] = {}
    for file in _files(source):
        for pair in _read_file(file):
            members = taken.setdefault(pair.set_name, [])
            if limit is None or len(members) < limit:
                members.append(pair)
    pairs = [pair for members in taken.values() for pair in members]
    if not pairs:
        raise DataError(f"{source}: holds no pairs; expected one JSON object a line.")
    return pairs


def score_pairs(
    pairs: Sequence[Pair],
    scorer: Scorer,
    tokenizer: Tokenizer,
    progress: Callable[[float], None] | None = None,
) -> PairReport:
    """Decide every pair under both variants."""
    goods = read_texts([pair.good for pair in pairs], tokenizer)
    bads = read_texts([pair.bad for pair in pairs], tokenizer)
    scores = pseudo_log_likelihoods([*goods, *bads], scorer, progress)
    sentences = list(zip(scores[: len(goods)], scores[len(goods) :], strict=True))
    decided = {
        name: [_decide(good.totals[name], bad.totals[name]) for good, bad in sentences]
        for name in VARIANTS
    }
    texts = list(zip(goods, bads, strict=True))
    unknown = tokenizer.unk_id
    return PairReport(
        n_pairs=len(pairs),
        n_unknown=sum(unknown in good.ids or unknown in bad.ids for good, bad in texts),
        n_same=sum(good.ids.tolist() == bad.ids.tolist() for good, bad in texts),
        variants={name: _summarize(pairs, points) for name, points in decided.items()},
    )


def _decide(good: float, bad: float) -> float:
    return 0.5 if good == bad else float(good > bad)


def _summarize(pairs: Sequence[Pair], points: Sequence[float]) -> VariantScore:
    by_set: dict[tuple[str, str], list[float]] = {}
    for pair, point in zip(pairs, points, strict=True):
        by_set.setdefault((pair.set_name, pair.field), []).append(point)
    sets = tuple(
        SetScore(name, field, _mean(found), len(found), found.count(0.5))
        for (name, field), found in sorted(by_set.items())
    )
    fields = sorted({score.field for score in sets})
    return VariantScore(
        accuracy=_mean(score.accuracy for score in sets),
        n_ties=sum(score.n_ties for score in sets),
        fields={name: _mean(s.accuracy for s in sets if s.field == name) for name in fields},
        sets=sets,
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return sorted(path for path in source.iterdir() if path.name.endswith(_SUFFIXES))


def _read_file(file: Path) -> Iterator[Pair]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(line, f"{file}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(
            f"{file}: is not a .jsonl file in UTF-8, plain or .gz ({error})."
        ) from error


def _parse(line: str, place: str) -> Pair:
    try:
        found = parse_json(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{place}: found {type(found).__name__}, expected an object.")
    values = {ours: _value(found, names, place) for ours, names in _KEYS.items()}
    field = values["field"].lower().replace(" ", "_")
    return Pair(**{**values, "field": _FIELDS.get(field, field)})


def _value(found: Mapping[str, Any], names: Sequence[str], place: str) -> str:
    value = next((found[name] for name in names if name in found), None)
    if not isinstance(value, str):
        expected = " or ".join(map(repr, names))
        raise DataError(f"{place}: found {expected} = {value!r}, expected a string.")
    return value
