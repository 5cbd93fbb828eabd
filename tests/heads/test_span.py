"""The head for answers, and which of its targets count."""

import pytest
import torch
from torch import Tensor

from spacy_deberta.errors import DataError
from spacy_deberta.heads import SpanHead, span_loss
from tests.oracle_heads import mean_log_loss
from tests.tiny import tiny_config


def random_rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_a_span_head_is_two_wide_whatever_the_labels(num_labels: int) -> None:
    head = SpanHead(tiny_config(num_labels=num_labels))
    rows = random_rows(5, 16)
    logits = head(rows)
    assert logits.shape == (5, 2)
    torch.testing.assert_close(logits, rows @ head.qa_outputs.weight.T + head.qa_outputs.bias)
    assert set(head.state_dict()) == {"qa_outputs.weight", "qa_outputs.bias"}


def test_the_loss_is_the_mean_of_start_and_end() -> None:
    starts, ends = random_rows(3, 6), random_rows(3, 6).flip(1)
    expected = (mean_log_loss(starts, [0, 2, 5]) + mean_log_loss(ends, [1, 2, 3])) / 2
    given = torch.tensor([0, 2, 5]), torch.tensor([1, 2, 3])
    torch.testing.assert_close(span_loss(starts, ends, *given), expected)
    columns = (given[0][:, None], given[1][:, None])
    torch.testing.assert_close(span_loss(starts, ends, *columns), expected)


@pytest.mark.parametrize("outside", [-1, -100, 6, 99])
def test_targets_outside_the_sequence_are_ignored(outside: int) -> None:
    """Not the first piece for a negative one, which "no answer" would then train."""
    starts, ends = random_rows(2, 6), random_rows(2, 6).flip(1)
    expected = (mean_log_loss(starts, [-1, 2]) + mean_log_loss(ends, [1, -1])) / 2
    loss = span_loss(starts, ends, torch.tensor([outside, 2]), torch.tensor([1, outside]))
    torch.testing.assert_close(loss, expected)


def test_no_answer_at_all_gives_zero_on_the_graph() -> None:
    logits = random_rows(2, 6).requires_grad_()
    nowhere = torch.tensor([-1, 6])
    loss = span_loss(logits, logits, nowhere, nowhere)
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros(2, 6))


def test_padding_takes_no_part_in_the_loss() -> None:
    starts, ends = random_rows(2, 6), random_rows(2, 6).flip(1)
    keep = torch.tensor([[True] * 6, [False, True, True, True, False, False]])
    targets = torch.tensor([4, 3]), torch.tensor([5, 0])  # the last one is padding
    loss = span_loss(starts, ends, *targets, keep=keep)
    alone = torch.stack([mean_log_loss(starts[:1], [4]), mean_log_loss(starts[1:, 1:4], [2])])
    expected = (alone.mean() + mean_log_loss(ends[:1], [5])) / 2
    torch.testing.assert_close(loss, expected)


def test_a_sequence_that_is_all_padding_has_a_gradient_of_zero() -> None:
    logits = random_rows(2, 6).requires_grad_()
    keep = torch.tensor([[True] * 6, [False] * 6])
    loss = span_loss(logits, logits, torch.tensor([1, 0]), torch.tensor([2, 0]), keep=keep)
    with torch.autograd.set_detect_anomaly(True):  # finds a NaN that is masked out later, too
        loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0].any()
    assert not logits.grad[1].any()


def test_one_target_per_sequence_is_required() -> None:
    with pytest.raises(DataError, match=r"^labels: found shape \(3,\), expected \(2,\), "):
        span_loss(torch.zeros(2, 6), torch.zeros(2, 6), torch.zeros(3), torch.zeros(2))
