"""Values kept while weights do not change, and what counts as a change."""

import copy
import pickle

import pytest
import torch
from torch import nn

from spacy_deberta.config import DebertaV2Config
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.encoder.cache import WeightCache
from tests.tiny import tiny_config

LENGTHS = [3, 5]
PIECES = torch.tensor([5, 6, 7, 8, 9, 10, 11, 12])


class Counted:
    """A cache, a weight, and how often a value was made of it."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.ones(2))
        self.cache: WeightCache[torch.Tensor] = WeightCache()
        self.n_made = 0

    def get(self) -> torch.Tensor:
        def make() -> torch.Tensor:
            self.n_made += 1
            return self.weight * 2

        return self.cache.get([self.weight, None], make)


def test_a_value_is_made_once() -> None:
    counted = Counted()
    with torch.no_grad():
        first = counted.get()
    with torch.inference_mode():
        assert counted.get() is first
    assert not first.is_inference()
    assert counted.n_made == 1


@pytest.mark.parametrize("change", ["step", "load", "data", "clear"])
def test_a_change_makes_it_again(change: str) -> None:
    counted = Counted()
    with torch.no_grad():
        counted.get()
    if change == "step":
        counted.weight.grad = torch.ones(2)
        torch.optim.AdamW([counted.weight], fused=True).step()
    elif change == "load":
        with torch.no_grad():
            counted.weight.copy_(torch.zeros(2))
    elif change == "data":
        counted.weight.data = torch.zeros(2)
    else:
        counted.cache.clear()
    with torch.no_grad():
        torch.testing.assert_close(counted.get(), counted.weight * 2)
    assert counted.n_made == 2


def test_with_gradients_nothing_is_kept() -> None:
    counted = Counted()
    assert counted.get().requires_grad
    counted.get()
    assert counted.n_made == 2


def test_weights_whose_changes_are_not_counted_are_not_kept() -> None:
    counted = Counted()
    with torch.inference_mode():
        counted.weight = nn.Parameter(torch.ones(2), requires_grad=False)
        counted.get()
        counted.get()
    assert counted.n_made == 2


def test_copies_and_pickles_are_empty() -> None:
    counted = Counted()
    with torch.no_grad():
        counted.get()
    for again in (copy.deepcopy(counted), pickle.loads(pickle.dumps(counted))):
        with torch.no_grad():
            again.get()
        assert again.n_made == 2


def encoder() -> DebertaEncoder:
    torch.manual_seed(0)
    config = tiny_config(norm_rel_ebd="layer_norm", position_buckets=4)
    assert isinstance(config, DebertaV2Config)
    return DebertaEncoder(config).eval()


def states(model: DebertaEncoder) -> torch.Tensor:
    with torch.no_grad():
        return model(PIECES, LENGTHS).last_hidden_state


@pytest.mark.parametrize("name", [name for name, _ in encoder().named_parameters()])
def test_encoder_notices_a_change_of_any_weight(name: str) -> None:
    """Against an encoder that had these weights from the start."""
    model = encoder()
    states(model)
    with torch.no_grad():
        model.get_parameter(name).add_(torch.randn_like(model.get_parameter(name)))
    fresh = encoder()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(states(model), states(fresh))


@pytest.mark.parametrize("name", [name for name, _ in encoder().named_parameters()])
def test_training_mode_forgets_what_was_kept(name: str) -> None:
    """A write through `.data` is not counted by torch."""
    model = encoder()
    states(model)
    weight = model.get_parameter(name)
    weight.data.add_(torch.randn_like(weight))
    model.train()
    model.eval()
    fresh = encoder()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(states(model), states(fresh))


def test_encoder_gives_the_same_bits_whatever_it_saw_before() -> None:
    model, fresh = encoder(), encoder()
    with torch.no_grad():
        model(torch.full((300,), 7), [100, 200])
        model(torch.full((1,), 7), [1])
    assert torch.equal(states(model), states(fresh))


def test_encoder_in_evaluation_equals_the_one_with_gradients() -> None:
    model = encoder()
    torch.testing.assert_close(states(model), model(PIECES, LENGTHS).last_hidden_state)


class _WithMore(nn.Module):
    """A projection with a low-rank part beside it, as adapters put in its place."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.projection = projection
        self.more = nn.Parameter(torch.zeros(projection.weight.shape))

    @property
    def weight(self) -> torch.Tensor:
        return self.projection.weight

    @property
    def bias(self) -> torch.Tensor:
        return self.projection.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.add(self.projection(rows), rows @ self.more.t())


def test_weights_of_a_module_in_the_place_of_a_projection_count() -> None:
    model = encoder()
    attention = model.layers[0].attention
    attention.key = _WithMore(attention.key)
    before = states(model)
    with torch.no_grad():
        attention.key.more.normal_(std=0.3)
    found = states(model)
    assert not torch.allclose(found, before)
    assert torch.equal(found, states(copy.deepcopy(model)))
