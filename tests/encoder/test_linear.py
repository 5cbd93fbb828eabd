"""The product of the projections: equal to torch's, forward and backward, wherever it runs."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_deberta.encoder import linear as module
from spacy_deberta.encoder.linear import Linear, linear

SHAPES = {"rows": (5, 6), "one-row": (1, 6), "batch": (2, 3, 6), "vector": (6,), "no-rows": (0, 6)}


@pytest.fixture(params=["onednn", "mkl", "torch"])
def _either_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what torch carries on this processor, and on those of the other maker."""
    mkl = request.param == "mkl" and torch.backends.mkl.is_available()
    monkeypatch.setattr(module, "_has_intels_mkl", lambda: mkl)
    if request.param == "torch":
        monkeypatch.setattr(module, "_has_onednn", lambda: False)


def leaves(shape: tuple[int, ...], *, bias: bool, dtype: torch.dtype) -> list[Tensor | None]:
    torch.manual_seed(0)
    made = [torch.randn(shape), torch.randn(4, 6), torch.randn(4)]
    tensors: list[Tensor | None] = [tensor.to(dtype).requires_grad_() for tensor in made]
    return tensors if bias else [*tensors[:2], None]


@pytest.mark.usefixtures("_either_library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_product_and_gradients_equal_torch(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    inputs = leaves(shape, bias=bias, dtype=dtype)
    found, expected = linear(*inputs), F.linear(*inputs)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected)
    used = [tensor for tensor in inputs if tensor is not None]
    above = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, used, above), torch.autograd.grad(expected, used, above)
    )


@pytest.mark.filterwarnings("ignore:Input #. requires gradient and is not a double")
def test_gradients_equal_finite_differences() -> None:
    """In float32, which is exact enough over a wide step: the product is linear."""
    inputs = leaves((5, 6), bias=True, dtype=torch.float32)
    assert torch.autograd.gradcheck(linear, inputs, eps=0.5, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("trained", range(3), ids=["rows", "weight", "bias"])
def test_each_input_can_be_the_only_one_trained(trained: int) -> None:
    inputs = leaves((5, 6), bias=True, dtype=torch.float32)
    for number, tensor in enumerate(inputs):
        assert tensor is not None
        tensor.requires_grad_(number == trained)
    linear(*inputs).sum().backward()  # type: ignore[arg-type]
    assert [tensor is not None and tensor.grad is not None for tensor in inputs] == [
        number == trained for number in range(3)
    ]


def test_expanded_and_transposed_gradients_are_read_right() -> None:
    rows, weight, bias = leaves((5, 6), bias=True, dtype=torch.float32)
    assert rows is not None
    assert weight is not None
    above = torch.randn(4, 5).t()
    found = torch.autograd.grad(linear(rows, weight, bias), [rows, weight], above)
    expected = torch.autograd.grad(F.linear(rows, weight, bias), [rows, weight], above)
    torch.testing.assert_close(found, expected)
    transposed = torch.randn(6, 5).t()
    torch.testing.assert_close(linear(transposed, weight, bias), F.linear(transposed, weight, bias))


def test_inference_mode_and_no_grad_give_the_same_numbers() -> None:
    layer, rows = Linear(6, 4), torch.randn(5, 6)
    expected = F.linear(rows, layer.weight, layer.bias)
    with torch.inference_mode():
        torch.testing.assert_close(layer(rows), expected)
    with torch.no_grad():
        assert not layer(rows).requires_grad


def test_autocast_casts_as_for_torchs_own_layer() -> None:
    layer, rows = Linear(6, 4), torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(rows), F.linear(rows, layer.weight, layer.bias))
        assert layer(rows).dtype == torch.bfloat16


@pytest.mark.usefixtures("_either_library")
@pytest.mark.parametrize("n_rows", [1, 7, 16, 129, 512, 513])
def test_arranged_weights_give_the_product_for_any_number_of_rows(n_rows: int) -> None:
    layer, rows = Linear(48, 33), torch.randn(2, n_rows, 48)
    with torch.no_grad():
        expected = F.linear(rows.double(), layer.weight.double(), layer.bias.double())
        for _ in range(2):
            torch.testing.assert_close(layer(rows), expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("vendor_id\t: GenuineIntel", True), ("vendor_id\t: AuthenticAMD", False)],
)
def test_mkl_is_taken_on_its_makers_processors_alone(
    said: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_processor", lambda: said)
    found = module._has_intels_mkl.__wrapped__()
    assert found == (expected and torch.backends.mkl.is_available())


def test_a_product_that_mkl_gets_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_processor", lambda: "GenuineIntel")
    monkeypatch.setattr(module, "_arranged_for_mkl", lambda weight: lambda rows, bias: rows)
    assert not module._has_intels_mkl.__wrapped__()


def test_second_derivatives_are_refused_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_intels_mkl", lambda: False)
    rows, weight, bias = leaves((5, 6), bias=True, dtype=torch.float32)
    assert rows is not None
    if not module._has_onednn():
        pytest.skip("torch's own product has second derivatives")
    (first,) = torch.autograd.grad(
        linear(rows, weight, bias).square().sum(),  # type: ignore[arg-type]
        rows,
        create_graph=True,
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_layers_copy_and_pickle() -> None:
    layer, rows = Linear(6, 4, bias=False), torch.randn(5, 6)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(rows), layer(rows))
