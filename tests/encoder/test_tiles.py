"""The path by tiles at every place where its work is cut, against the plain formula."""

import pytest
import torch
from torch import Tensor

from spacy_deberta.encoder.fast import distances, tiles
from spacy_deberta.encoder.fast.tiles import attend_tiles
from spacy_deberta.encoder.positions import distance_rows
from spacy_deberta.encoder.scores import Heads, Relative, attend_plain

HEADS, WIDTH, SCALE = 3, 4, 0.4
BUCKETS, MAX_DISTANCE = 4, 6
TERMS = [(), ("c2p",), ("p2c",), ("c2p", "p2c")]


@pytest.fixture
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts that short sequences meet."""
    monkeypatch.setattr(tiles, "BLOCK", 5)
    monkeypatch.setattr(distances, "WHOLE", 4)
    monkeypatch.setattr(distances, "TILE", 3)
    monkeypatch.setattr(tiles, "BUFFER_BYTES", 1)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(
    length: int, terms: tuple[str, ...], *, padded: bool, reach: int | None
) -> tuple[Heads, Relative]:
    query, key, value = (draw(2, HEADS, length, WIDTH, seed=n) for n in range(3))
    keep, filled = None, 0
    if padded:
        filled = max(1, length - 2)
        keep = torch.arange(length) < torch.tensor([[length], [filled]])
    keys, queries = (
        draw(HEADS, 2 * BUCKETS, WIDTH, seed=3 + number) if term in terms else None
        for number, term in enumerate(("c2p", "p2c"))
    )
    rows = distance_rows(length + 2, buckets=BUCKETS, max_distance=MAX_DISTANCE)
    relative = Relative(keys, queries, torch.from_numpy(rows), reach=reach)
    return Heads(query, key, value, keep, filled), relative


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("reach", [MAX_DISTANCE, None], ids=["far", "near-only"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("terms", TERMS, ids=["none", "c2p", "p2c", "both"])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 7, 11, 16, 40])
def test_blocks_and_tiles_equal_the_formula(
    length: int, terms: tuple[str, ...], padded: bool, reach: int | None
) -> None:
    heads, relative = make(length, terms, padded=padded, reach=reach)
    with torch.no_grad():
        found = attend_tiles(heads, relative, scale=SCALE, dropout=0.0)
    torch.testing.assert_close(found, attend_plain(heads, relative, scale=SCALE, dropout=0.0))


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("length", [4, 7, 16])
def test_gradients_through_tiles_equal_those_of_the_formula(length: int) -> None:
    heads, relative = make(length, ("c2p", "p2c"), padded=True, reach=MAX_DISTANCE)
    leaves = [heads.query, heads.key, heads.value, relative.keys, relative.queries]
    found = []
    for path in (attend_tiles, attend_plain):
        for leaf in leaves:
            assert leaf is not None
            leaf.requires_grad_()
        context = path(heads, relative, scale=SCALE, dropout=0.0)
        weights = torch.linspace(-1, 2, context.numel(), dtype=context.dtype).view_as(context)
        found.append(torch.autograd.grad((context * weights).sum(), leaves))  # type: ignore[arg-type]
    torch.testing.assert_close(found[0], found[1])


def test_real_cuts_in_single_precision() -> None:
    """The shipped sizes, at a length that meets blocks, tiles and far keys."""
    length, max_distance = 700, 64
    query, key, value = (draw(1, HEADS, length, WIDTH, seed=n).float() for n in range(3))
    keys, queries = (draw(HEADS, 64, WIDTH, seed=n).float() for n in (3, 4))
    rows = torch.from_numpy(distance_rows(length, buckets=32, max_distance=max_distance))
    heads, relative = Heads(query, key, value, None), Relative(keys, queries, rows, reach=64)
    with torch.no_grad():
        found = attend_tiles(heads, relative, scale=SCALE, dropout=0.0)
        expected = attend_plain(heads, relative, scale=SCALE, dropout=0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_every_distance_from_reach_on_reads_one_row() -> None:
    for buckets in (None, 8):
        rows = distance_rows(200, buckets=buckets, max_distance=16)
        middle = len(rows) // 2
        assert len(set(rows[middle + 16 :])) == len(set(rows[: middle - 15])) == 1


def test_all_short_lengths_read_one_kept_table() -> None:
    keys, queries = (draw(HEADS, 2 * BUCKETS, WIDTH, seed=n) for n in (3, 4))
    rows = torch.from_numpy(distance_rows(300, buckets=BUCKETS, max_distance=MAX_DISTANCE))
    relative = Relative(keys, queries, rows, reach=MAX_DISTANCE, kept={})
    tables = []
    for length in (16, 1, 2, 255, 256, 257, 300):
        query, key, value = (draw(1, HEADS, length, WIDTH, seed=n) for n in range(3))
        heads = Heads(query, key, value, None)
        with torch.inference_mode():
            found = attend_tiles(heads, relative, scale=SCALE, dropout=0.0)
            expected = attend_plain(heads, relative, scale=SCALE, dropout=0.0)
        torch.testing.assert_close(found, expected)
        assert relative.kept is not None
        tables += relative.kept.values()
    assert all(table is tables[0] for table in tables)
    assert not tables[0].rising.is_inference()
