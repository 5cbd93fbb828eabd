"""Minimal pairs: files, decisions, ties, and means over sets and fields."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.scoring import (
    Copy,
    Pair,
    Predictions,
    UnigramScorer,
    read_pairs,
    score_pairs,
)


class ShortScorer:
    """Every piece costs one nat, so that the shorter sentence wins."""

    longest = None

    def predict(self, copies: Sequence[Copy]) -> Predictions:
        n_targets = sum(len(copy.targets) for copy in copies)
        return Predictions(np.full(n_targets, -1.0), np.ones(n_targets, dtype=bool))


def line(number: int, set_name: str = "island", **changes: str) -> dict[str, str]:
    names = {"sentence_good": f"good {number}", "sentence_bad": f"bad {number}"}
    return {**names, "UID": set_name, "linguistics_term": "island_effects", **changes}


def write(file: Path, lines: Sequence[object]) -> Path:
    text = "".join(json.dumps(found) + "\n" for found in lines)
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "wt", encoding="utf-8") as out:
        out.write(text)
    return file


def test_files_of_both_forms_are_read(tmp_path: Path) -> None:
    write(tmp_path / "island.jsonl", [line(1), line(2)])
    short = {"good": "g", "bad": "b", "uid": "agree", "term": "agreement", "field": "syntax"}
    file = write(tmp_path / "agree.jsonl.gz", [short])
    (tmp_path / "README.md").write_text("no pairs")
    assert read_pairs(file) == [Pair("g", "b", "agree", "agreement")]
    assert read_pairs(tmp_path) == [
        Pair("g", "b", "agree", "agreement"),
        Pair("good 1", "bad 1", "island", "island_effects"),
        Pair("good 2", "bad 2", "island", "island_effects"),
    ]


def test_a_limit_takes_the_first_pairs_of_each_set(tmp_path: Path) -> None:
    lines = [line(n, name) for n in range(4) for name in ("island", "other")]
    pairs = read_pairs(write(tmp_path / "all.jsonl", lines), limit=2)
    assert [(pair.set_name, pair.good) for pair in pairs] == [
        ("island", "good 0"),
        ("island", "good 1"),
        ("other", "good 0"),
        ("other", "good 1"),
    ]


def test_selection_belongs_to_argument_structure(tmp_path: Path) -> None:
    """Twelve fields, as in the paper; the files have thirteen terms."""
    (pair,) = read_pairs(write(tmp_path / "a.jsonl", [line(1, linguistics_term="s-selection")]))
    assert pair.field == "argument_structure"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"pairs\.jsonl: holds no pairs"),
        ("\n{", r"pairs\.jsonl, line 2: is no JSON"),
        ("[1]", r"line 1: found list, expected an object"),
        ('{"good": "a", "bad": 5}', r"line 1: found 'sentence_bad' or 'bad' = 5, expected a str"),
        ('{"good": "a", "bad": "b"}', r"found 'UID' or 'uid' = None"),
    ],
)
def test_what_cannot_be_read_is_named(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_pairs(file)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: is not a .jsonl file"):
        read_pairs(tmp_path / "absent.jsonl")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(line(1)).encode())[:-9])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz: is not a .jsonl file"):
        read_pairs(cut)
    with pytest.raises(DataError, match="holds no pairs"):
        read_pairs(_empty(tmp_path))


def _empty(folder: Path) -> Path:
    made = folder / "empty"
    made.mkdir()
    return made


def test_ties_count_one_half_and_sets_count_the_same(tiny_tokenizer: UnigramTokenizer) -> None:
    pairs = [
        Pair("the river", "the river the river", "shorter", "length"),
        Pair("the river", "river the", "order", "length"),
        Pair("a garden", "garden a", "order", "length"),
        Pair("the river the", "the", "longer", "height"),
        Pair("the river the", "the", "longer", "height"),
        Pair("the", "the", "longer", "height"),
    ]
    report = score_pairs(pairs, ShortScorer(), tiny_tokenizer)
    assert (report.n_pairs, report.n_unknown, report.n_same) == (6, 0, 1)
    for variant in report.variants.values():
        shares = {score.name: score.accuracy for score in variant.sets}
        assert shares == {"shorter": 1.0, "order": 0.5, "longer": pytest.approx(1 / 6)}
        assert variant.fields == {"length": 0.75, "height": pytest.approx(1 / 6)}
        assert variant.accuracy == pytest.approx((1 + 0.5 + 1 / 6) / 3)
        assert variant.n_ties == 3
        assert [(s.n_pairs, s.n_ties) for s in variant.sets] == [(3, 1), (2, 2), (1, 0)]
    assert report.variants.keys() == {"pll", "pll_word_l2r"}


def test_another_order_of_the_same_pieces_is_a_tie_for_unigram(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    """Sums of floats in two orders need not be equal; ours are."""
    rng = np.random.default_rng(0)
    scorer = UnigramScorer(rng.integers(0, 1000, tiny_tokenizer.n_pieces))
    words = [
        "the",
        "old",
        "river",
        "village",
        "painter",
        "crossed",
        "slowly",
        "again",
        "without",
        "garden",
    ]
    pairs = [
        Pair(" ".join(rng.permutation(words)), " ".join(rng.permutation(words)), "order", "all")
        for _ in range(30)
    ]
    report = score_pairs(pairs, scorer, tiny_tokenizer)
    assert report.variants["pll"].n_ties == 30
    assert report.variants["pll"].accuracy == 0.5


def test_pairs_with_unknown_pieces_are_counted(tiny_tokenizer: UnigramTokenizer) -> None:
    (river,) = set(tiny_tokenizer.encode("river").ids) - set(tiny_tokenizer.encode("the").ids)
    tokenizer: Any = SimpleNamespace(encode_batch=tiny_tokenizer.encode_batch, unk_id=river)
    texts = [("the", "the the"), ("the", "the river"), ("the river", "the"), ("river", "river")]
    pairs = [Pair(good, bad, "set", "field") for good, bad in texts]
    assert score_pairs(pairs, ShortScorer(), tokenizer).n_unknown == 3
