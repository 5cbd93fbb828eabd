"""The formula and its fast forms: loops = plain = every path, forward and backward.

The tests run over PATHS: a new path is tested by its row there.
"""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from spacy_deberta.encoder import PATHS
from spacy_deberta.encoder.paths import choose_path
from spacy_deberta.encoder.positions import distance_rows
from spacy_deberta.encoder.scores import Heads, Relative
from spacy_deberta.errors import PathError
from tests import oracle

HEADS, WIDTH = 2, 3
BUCKETS, MAX_DISTANCE = 4, 6
SCALE = 0.37

TERMS = {"none": (), "c2p": ("c2p",), "p2c": ("p2c",), "both": ("c2p", "p2c")}
LENGTHS = {
    "one": (1,),
    "full": (4, 4),
    "ragged": (2, 4, 1),
    "over-the-clamp": (MAX_DISTANCE + 3,),
}
BUCKET_CHOICES = {"log-buckets": BUCKETS, "plain-clip": None}


@dataclass(frozen=True, eq=False)
class Case:
    """Leaves of one comparison, and everything that is not differentiated."""

    leaves: dict[str, Tensor]
    lengths: tuple[int, ...]
    rows: Tensor

    def heads(self) -> Heads:
        keep = torch.arange(max(self.lengths))[None, :] < torch.tensor(self.lengths)[:, None]
        query, key, value = (self.leaves[name] for name in ("query", "key", "value"))
        return Heads(query, key, value, None if keep.all() else keep)

    def relative(self) -> Relative:
        return Relative(self.leaves.get("c2p"), self.leaves.get("p2c"), self.rows)


def make_case(terms: tuple[str, ...], lengths: tuple[int, ...], buckets: int | None) -> Case:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return numbers.requires_grad_()

    content = (len(lengths), HEADS, max(lengths), WIDTH)
    leaves = {name: draw(*content) for name in ("query", "key", "value")}
    n_rows = 2 * (buckets or MAX_DISTANCE)
    leaves |= {term: draw(HEADS, n_rows, WIDTH) for term in terms}
    rows = distance_rows(max(lengths), buckets=buckets, max_distance=MAX_DISTANCE)
    return Case(leaves, lengths, torch.from_numpy(rows))


def by_oracle(case: Case, buckets: int | None) -> list[Tensor]:
    """Context (length, WIDTH) of each sequence and head."""
    far = max(case.lengths)
    row_of = {
        distance: oracle.table_row(distance, buckets=buckets, max_distance=MAX_DISTANCE)
        for distance in range(-far, far + 1)
    }
    contexts = []
    for number, length in enumerate(case.lengths):
        for head in range(HEADS):
            q, k, v = (case.leaves[n][number, head, :length] for n in ("query", "key", "value"))
            tables = (case.leaves[t][head] if t in case.leaves else None for t in ("c2p", "p2c"))
            contexts.append(oracle.attend((q, k, v), *tables, row_of=row_of, scale=SCALE))
    return contexts


def by_path(case: Case, path: str) -> list[Tensor]:
    context = PATHS[path](case.heads(), case.relative(), scale=SCALE, dropout=0.0)
    return [
        context[number, head, :length]
        for number, length in enumerate(case.lengths)
        for head in range(HEADS)
    ]


def gradients(case: Case, contexts: list[Tensor]) -> dict[str, Tensor]:
    """Of a sum that weighs every number differently."""
    flat = torch.cat([context.flatten() for context in contexts])
    weights = torch.linspace(-1, 2, len(flat), dtype=flat.dtype)
    found = torch.autograd.grad((flat * weights).sum(), list(case.leaves.values()))
    return dict(zip(case.leaves, found, strict=True))


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("buckets", BUCKET_CHOICES.values(), ids=BUCKET_CHOICES)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_path_equals_the_loops_forward_and_backward(
    terms: tuple[str, ...], lengths: tuple[int, ...], buckets: int | None, path: str
) -> None:
    case = make_case(terms, lengths, buckets)
    expected, found = by_oracle(case, buckets), by_path(case, path)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(case, found), gradients(case, expected))


@pytest.mark.parametrize("path", sorted(PATHS))
def test_path_without_relative_attention_is_plain_attention(path: str) -> None:
    case = make_case((), (4, 2), None)
    context = PATHS[path](case.heads(), None, scale=SCALE, dropout=0.0)
    torch.testing.assert_close(context[0, 1], by_oracle(case, None)[1])
    torch.testing.assert_close(context[1, 0, :2], by_oracle(case, None)[2])


@pytest.mark.parametrize("path", sorted(PATHS))
def test_path_reads_a_table_made_for_longer_sequences(path: str) -> None:
    """One table serves all groups of a batch: a shorter group reads its middle."""
    short = make_case(TERMS["both"], (3,), BUCKETS)
    rows = distance_rows(9, buckets=BUCKETS, max_distance=MAX_DISTANCE)
    longer = Case(short.leaves, short.lengths, torch.from_numpy(rows))
    torch.testing.assert_close(by_path(longer, path), by_path(short, path))


@pytest.mark.parametrize("path", sorted(PATHS))
def test_padded_keys_change_nothing_and_padded_queries_are_finite(path: str) -> None:
    case = make_case(TERMS["both"], LENGTHS["ragged"], BUCKETS)
    before = by_path(case, path)
    changed = {name: leaf.detach().clone() for name, leaf in case.leaves.items()}
    for number, length in enumerate(case.lengths):
        changed["key"][number, :, length:] = 50.0
        changed["value"][number, :, length:] = -50.0
    other = Case(changed, case.lengths, case.rows)
    torch.testing.assert_close(by_path(other, path), before)
    whole = PATHS[path](other.heads(), other.relative(), scale=SCALE, dropout=0.0)
    assert whole.isfinite().all()


@pytest.mark.parametrize("path", sorted(PATHS))
def test_dropout_drops_probabilities(path: str) -> None:
    case = make_case(TERMS["both"], (4,), BUCKETS)
    torch.manual_seed(0)
    runs = [
        PATHS[path](case.heads(), case.relative(), scale=SCALE, dropout=share)
        for share in (0.0, 0.5, 0.5)
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(runs, 2))


def low_precision_error(path: str, dtype: torch.dtype, size: float) -> float:
    """Mean error against float64 with the same (rounded) inputs: the largest is mere chance."""
    case = make_case(TERMS["both"], (5, 3), BUCKETS)
    low = {name: (leaf.detach() * size).to(dtype) for name, leaf in case.leaves.items()}
    exact = {name: leaf.double() for name, leaf in low.items()}
    found = torch.cat(by_path(Case(low, case.lengths, case.rows), path))
    assert found.dtype == dtype
    assert found.isfinite().all()
    expected = torch.cat(by_path(Case(exact, case.lengths, case.rows), "plain"))
    return float((found.double() - expected).abs().mean())


@pytest.mark.parametrize("path", sorted(set(PATHS) - {"plain"}))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_low_precision_errs_little_more_than_plain(path: str, dtype: torch.dtype) -> None:
    limit = 1.5 * low_precision_error("plain", dtype, 1.0)
    assert low_precision_error(path, dtype, 1.0) <= limit


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_large_weights_stay_finite_in_half_precision(path: str, dtype: torch.dtype) -> None:
    """Unscaled products near 1e5, past the largest float16; the scaled scores are within it."""
    low_precision_error(path, dtype, 120.0)


def test_auto_runs_and_names_pick_themselves() -> None:
    case = make_case(TERMS["both"], (4,), BUCKETS)
    found = choose_path("auto")(case.heads(), case.relative(), scale=SCALE, dropout=0.0)
    torch.testing.assert_close(found[0, 1], by_oracle(case, BUCKETS)[1])
    assert all(choose_path(name) is path for name, path in PATHS.items())


def test_probabilities_are_formed_by_the_plain_path_alone() -> None:
    assert choose_path("auto", needs_probabilities=True) is PATHS["plain"]
    assert choose_path("plain", needs_probabilities=True) is PATHS["plain"]
    message = "^attention='skew' forms no attention probabilities. Use attention='auto' or 'plain'"
    with pytest.raises(PathError, match=message):
        choose_path("skew", needs_probabilities=True)


def test_unknown_path_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PathError, match=r"^attention='flash' is unknown; supported: auto, plain, "):
        choose_path("flash")
