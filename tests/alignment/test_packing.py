"""Every window is in one group, groups keep the budget, lengths fall."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.alignment import pack_windows
from spacy_deberta.errors import AlignmentError


@settings(max_examples=100)
@given(lengths=st.lists(st.integers(2, 40), max_size=30), budget=st.integers(1, 100))
def test_groups_keep_the_budget(lengths: list[int], budget: int) -> None:
    groups = pack_windows(lengths, budget)
    order = [number for group in groups for number in group.tolist()]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda number: (-lengths[number], number))
    totals = [sum(lengths[number] for number in group) for group in groups]
    assert all(
        total <= budget or len(group) == 1 for total, group in zip(totals, groups, strict=True)
    )
    for total, following in zip(totals, groups[1:], strict=False):
        assert total + lengths[following[0]] > budget  # nothing more would have fit


def test_long_window_is_alone() -> None:
    assert [g.tolist() for g in pack_windows([3, 50, 4], budget=10)] == [[1], [2, 0]]


def test_no_windows_make_no_groups() -> None:
    assert pack_windows([], budget=10) == []


@pytest.mark.parametrize("budget", [0, -5])
def test_empty_budget_is_refused(budget: int) -> None:
    with pytest.raises(AlignmentError, match=f"budget={budget} pieces holds no window"):
        pack_windows([3], budget)
