"""Losses shared by the heads: what counts, and what a batch without targets gives."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.errors import DataError
from spacy_deberta.heads.losses import binary_cross_entropy, cross_entropy
from tests.oracle_heads import mean_log_loss


def random_logits(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()


def test_cross_entropy_is_the_mean_over_the_labeled_rows() -> None:
    logits, labels = random_logits(5, 4), [2, -1, 0, -100, 3]
    expected = mean_log_loss(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, torch.tensor(labels)), expected)
    rectangle = cross_entropy(logits[None], torch.tensor([labels]))
    torch.testing.assert_close(rectangle, expected)


def test_binary_cross_entropy_is_the_mean_over_the_targets() -> None:
    logits = random_logits(2, 2)
    targets = torch.tensor([[1.0, -1.0], [0.0, 0.25]])
    p = [[1 / (1 + math.exp(-x)) for x in row] for row in logits.tolist()]
    expected = math.log(p[0][0]) + math.log(1 - p[1][0])
    expected += 0.25 * math.log(p[1][1]) + 0.75 * math.log(1 - p[1][1])
    loss = binary_cross_entropy(logits, targets)
    assert loss.item() == pytest.approx(-expected / 3, rel=1e-6)


@pytest.mark.parametrize("n_rows", [0, 3], ids=["no rows", "ignored"])
@pytest.mark.parametrize("kind", ["classes", "binary"])
def test_no_target_gives_zero_with_a_gradient_of_zero(kind: str, n_rows: int) -> None:
    logits = random_logits(n_rows, 4)
    if kind == "classes":
        loss = cross_entropy(logits, torch.full((n_rows,), -1))
    else:
        loss = binary_cross_entropy(logits, torch.full((n_rows, 4), -100))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros(n_rows, 4))


def test_an_ignored_row_has_no_gradient_whatever_it_holds() -> None:
    """inf * 0 would be NaN."""
    logits = torch.tensor([[0.5, -0.5], [math.inf, -math.inf]], requires_grad=True)
    binary_cross_entropy(logits, torch.tensor([[1, 0], [-1, -1]])).backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_losses_are_computed_in_float32_at_least(dtype: torch.dtype) -> None:
    expected = torch.promote_types(dtype, torch.float32)
    logits = random_logits(6, 4, dtype=dtype)
    labels = torch.tensor([0, 1, 2, 3, 0, -1])
    for loss, exact in (
        (cross_entropy(logits, labels), cross_entropy(logits.double(), labels)),
        (
            binary_cross_entropy(logits[:, 0], labels.clamp(max=1)),
            binary_cross_entropy(logits[:, 0].double(), labels.clamp(max=1)),
        ),
    ):
        assert loss.dtype == expected
        torch.testing.assert_close(loss, exact.to(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_labels_of_another_shape_are_refused(loss: object) -> None:
    logits = random_logits(3, 1)
    message = r"^labels: found shape \(1, 3\), expected \(3(, 1|,)\), one target for each"
    with pytest.raises(DataError, match=message):
        loss(logits, torch.zeros(1, 3))  # type: ignore[operator]


def test_a_class_without_a_logit_is_refused_by_number() -> None:
    with pytest.raises(DataError, match=r"^labels: found class 4, expected classes from 0 to 3, "):
        cross_entropy(random_logits(2, 4), torch.tensor([0, 4]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("n_rows", [0, 1, 130, 300])
def test_a_vocabulary_gives_the_loss_and_the_gradient_of_torch(
    n_rows: int, dtype: torch.dtype
) -> None:
    """300 rows are three chunks and a part of one."""
    found, exact = (random_logits(n_rows, 3000, dtype=dtype) for _ in range(2))
    labels = torch.arange(n_rows) * 7 % 3000
    labels[1::5] = -1
    loss = cross_entropy(found, labels)
    loss.backward()
    counted = max(1, int((labels >= 0).sum()))
    wide = torch.promote_types(dtype, torch.float32)
    expected = F.cross_entropy(exact.to(wide), labels, ignore_index=-1, reduction="sum") / counted
    expected.backward()

    assert loss.dtype == wide
    torch.testing.assert_close(loss, expected)
    assert found.grad is not None
    torch.testing.assert_close(found.grad, exact.grad)


def test_a_vocabulary_with_extreme_rows() -> None:
    logits = torch.zeros(4, 2000)
    logits[0, 5] = 1e4  # the loss of its label is 0
    logits[1, 5] = 1e4  # the loss of another is 1e4
    logits[2] = math.nan  # ignored
    logits[3, :1999] = -math.inf
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.tensor([5, 6, -1, 1999]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4 / 3)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 5].item() == pytest.approx(1 / 3)
    assert not logits.grad[[0, 2, 3]].any()
