"""Packed rows and groups: every real piece once, padding bounded."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.encoder.packing import GROUP_SCORES, PADDED_SHARE, Packing, pack, round_rows
from spacy_deberta.errors import AlignmentError

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 700), max_size=40)


def pack_here(lengths: list[int]) -> Packing:
    return pack(lengths, sum(lengths), CPU)


@given(LENGTHS)
def test_order_and_inverse_undo_each_other(lengths: list[int]) -> None:
    packing = pack_here(lengths)
    n_rows = sum(lengths)
    rows = torch.arange(n_rows)
    assert torch.equal(packing.order[packing.inverse], rows)
    assert torch.equal(packing.order[:n_rows].sort().values, rows)
    assert len(packing.order) == len(packing.positions) == n_rows + packing.n_spare
    assert packing.longest == max(lengths, default=0)


@given(LENGTHS)
def test_positions_count_within_each_sequence(lengths: list[int]) -> None:
    packing = pack_here(lengths)
    expected = [place for length in lengths for place in range(length)]
    assert packing.positions[packing.inverse].tolist() == expected


@given(LENGTHS)
def test_groups_cover_all_rows_in_order(lengths: list[int]) -> None:
    packing = pack_here(lengths)
    edges = [edge for group in packing.groups for edge in (group.start, group.stop)]
    assert edges[:1] == [0] * bool(lengths)
    assert edges[1:-1:2] == edges[2::2]
    assert edges[-1:] == [sum(lengths)] * bool(lengths)
    assert sum(group.count for group in packing.groups) == len(lengths)


@given(LENGTHS)
def test_groups_pad_little_and_stay_in_the_cache(lengths: list[int]) -> None:
    """A single sequence may outgrow the cache: it cannot be cut."""
    for group in pack_here(lengths).groups:
        slots = group.count * group.length
        assert slots <= PADDED_SHARE * (group.stop - group.start)
        assert group.count == 1 or slots * group.length <= GROUP_SCORES


@given(LENGTHS)
def test_spread_and_gather_undo_each_other(lengths: list[int]) -> None:
    packing = pack_here(lengths)
    rows = torch.arange(1.0, sum(lengths) + 1)[:, None].expand(-1, 2)
    for group in packing.groups:
        rectangle = group.spread(rows)
        assert rectangle.shape == (group.count, group.length, 2)
        assert torch.equal(group.gather(rectangle), rows[group.start : group.stop])
        filled = rectangle[..., 0] > 0
        assert filled.all() if group.keep is None else torch.equal(filled, group.keep)


@given(LENGTHS)
def test_rows_by_heads_stand_in_their_slots_and_take_their_own_gradient(lengths: list[int]) -> None:
    packing = pack_here(lengths)
    rows = torch.arange(6.0 * len(packing.order)).reshape(-1, 6).requires_grad_()
    weights = torch.arange(1.0, 1.0 + rows.numel()).reshape(rows.shape)
    loss = torch.zeros(())
    for group, mine in zip(packing.groups, packing.split(rows), strict=True):
        heads = group.by_heads(mine, 3)
        assert heads.shape == (group.count, 3, group.length, 2)
        back = group.gather(heads.transpose(1, 2).flatten(-2))
        assert torch.equal(back, rows[group.start : group.stop])
        if group.keep is not None:
            assert group.keep[:, : group.filled].all()
        loss = loss + (back * weights[group.start : group.stop]).sum()
    if lengths:
        loss.backward()
        assert rows.grad is not None
        assert torch.equal(rows.grad[: sum(lengths)], weights[: sum(lengths)])


def test_what_stands_in_empty_slots_takes_no_gradient() -> None:
    packing = pack_here([9, 9, 9, 9, 9, 9, 10])
    (group,) = packing.groups
    rows = torch.ones(packing.order.shape[0], 2, requires_grad=True)
    group.by_heads(packing.split(rows)[0], 1).sum().backward()
    assert rows.grad is not None
    assert torch.equal(rows.grad[:64], torch.ones(64, 2))


def test_equal_lengths_are_one_group_without_a_mask() -> None:
    (group,) = pack_here([7] * 9).groups
    assert group.slots is None
    assert group.keep is None


def test_a_long_sequence_does_not_pad_short_ones() -> None:
    assert [group.length for group in pack_here([400, 5, 5]).groups] == [5, 400]


@given(st.integers(0, 100_000))
def test_rows_are_rounded_up_by_less_than_a_quarter_from_64_on(n_rows: int) -> None:
    rounded = round_rows(n_rows)
    assert n_rows <= rounded < n_rows + 64
    assert rounded % 16 == 0
    assert n_rows < 64 or rounded < 1.25 * n_rows


@pytest.mark.parametrize("lengths", [[3, 3], [5, 0], [6, -1], [], [2**40]])
def test_lengths_that_do_not_fit_the_pieces_are_refused(lengths: list[int]) -> None:
    with pytest.raises(AlignmentError) as caught:
        pack(lengths, 5, CPU)
    assert str(caught.value) == (
        f"lengths: {len(lengths)} sequences of {sum(lengths)} pieces in all, found 5 pieces; "
        "expected one length of at least 1 per sequence, adding up to the pieces."
    )
