"""Some rows of a batch as queries: each lands in the slot of its own sequence and place."""

from collections.abc import Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_deberta.encoder.packing import pack
from spacy_deberta.heads.queries import all_queries, pack_queries

Batch = tuple[list[int], list[int]]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Lengths, and rows asked of the batch."""
    lengths = draw(st.lists(st.integers(1, 70), min_size=1, max_size=8))
    rows = draw(st.lists(st.integers(0, sum(lengths) - 1), min_size=1, max_size=40))
    return lengths, rows


def places_of(lengths: Sequence[int]) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths])


@settings(max_examples=60)
@given(batches())
def test_every_asked_row_is_one_query_at_its_place(batch: Batch) -> None:
    lengths, rows = batch
    packing = pack(lengths, sum(lengths), torch.device("cpu"))
    queries = pack_queries(torch.tensor(rows), packing)
    asked = packing.order[queries.packed[queries.inverse]]
    assert asked.tolist() == rows
    assert torch.equal(queries.places[queries.inverse], places_of(lengths)[rows])
    assert len(queries.packed) == len(rows) + queries.n_spare


@settings(max_examples=60)
@given(batches())
def test_a_group_holds_the_queries_of_its_own_sequences(batch: Batch) -> None:
    """Marks of sequence and place, sent through the rectangles, arrive where the keys say."""
    lengths, rows = batch
    packing = pack(lengths, sum(lengths), torch.device("cpu"))
    queries = pack_queries(torch.tensor(rows), packing)
    sequence = torch.arange(1, len(lengths) + 1).repeat_interleave(torch.tensor(lengths))
    packed_sequence = sequence[packing.order]
    mine, places = packed_sequence[queries.packed], queries.places
    seen = 0
    for group in queries.groups:
        owners = group.content.spread(packed_sequence)[:, :1]
        spread = group.asked.spread(mine)
        assert ((spread == owners) | (spread == 0)).all()
        assert torch.equal(group.asked.spread(places), group.places)
        assert torch.equal(group.asked.gather(group.places), places[seen : group.asked.stop])
        assert group.asked.start == seen
        seen = group.asked.stop
    assert seen == len(rows)


def test_a_group_is_as_wide_as_its_most_asked_sequence() -> None:
    packing = pack([4, 4, 4], 12, torch.device("cpu"))
    (group,) = pack_queries(torch.tensor([7, 1, 5, 4]), packing).groups
    assert (group.asked.count, group.asked.length) == (3, 3)
    assert group.places.tolist() == [[1, 0, 0], [0, 1, 3], [0, 0, 0]]


def test_groups_without_a_query_are_left_out() -> None:
    packing = pack([2, 60, 2], 64, torch.device("cpu"))
    assert len(packing.groups) == 2
    assert len(pack_queries(torch.tensor([0, 63]), packing).groups) == 1


def test_all_rows_can_be_queries_as_they_stand() -> None:
    packing = pack([3, 2], 5, torch.device("cpu"))
    queries = all_queries(packing)
    assert torch.equal(packing.order[queries.packed[queries.inverse]], torch.arange(5))
    assert torch.equal(queries.places, packing.positions)
    assert queries.n_spare == packing.n_spare
    assert [group.asked for group in queries.groups] == list(packing.groups)
    assert [group.places for group in queries.groups] == [None] * len(packing.groups)
