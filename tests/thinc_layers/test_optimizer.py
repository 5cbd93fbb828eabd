from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy.tokens import Doc
from thinc.api import Adam, registry
from torch import Tensor, nn

from spacy_deberta.checkpoints import load_encoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.thinc_layers.optimizer import AdamW, build_adamw
from spacy_deberta.thinc_layers.transformer import DocsToRows, build_deberta_model, shim_of
from tests.tiny import TEXTS, make_docs

DOCS = make_docs(TEXTS[:2])


def tiny_model(source: Path) -> DocsToRows:
    model = build_deberta_model(str(source), window=200, stride=100)
    model.predict(DOCS)
    return model


def set_gradients(module: nn.Module, step: int, scale: float = 1.0) -> None:
    """The same random gradients for every module of one shape."""
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def weights(model: DocsToRows) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in shim_of(model).encoder.named_parameters()}


def rates() -> Iterator[float]:
    yield from (0.0, 1e-3, 2e-3, 1e-3)


def test_equals_torch_adamw_under_a_schedule(tiny_source: Path) -> None:
    model = tiny_model(tiny_source)
    optimizer = build_adamw(rates(), weight_decay=0.1, grad_clip=0.5)
    encoder = load_encoder(tiny_source)
    decays = [p for p in encoder.parameters() if p.ndim > 1]
    rest = [p for p in encoder.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": 0.1},
        {"params": rest, "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, eps=1e-6)

    for step, rate in enumerate(rates()):
        set_gradients(shim_of(model).encoder, step)
        model.finish_update(optimizer)
        optimizer.step_schedules()
        set_gradients(encoder, step)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()

    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(weights(model)[name], parameter.detach(), atol=1e-7, rtol=1e-5)


def test_norms_and_biases_do_not_decay(tiny_source: Path) -> None:
    model = tiny_model(tiny_source)
    before = weights(model)
    set_gradients(shim_of(model).encoder, 0, scale=0.0)

    model.finish_update(build_adamw(0.5, weight_decay=0.5))

    for name, after in weights(model).items():
        factor = 0.75 if after.ndim > 1 else 1.0
        torch.testing.assert_close(after, before[name] * factor)


def test_layer_decay_slows_lower_layers(tiny_source: Path) -> None:
    model = tiny_model(tiny_source)
    before = weights(model)
    set_gradients(shim_of(model).encoder, 0)

    model.finish_update(build_adamw(0.01, weight_decay=0.0, layer_decay=0.5))

    moved = {
        name: float((after - before[name]).abs().max()) for name, after in weights(model).items()
    }
    assert moved["layers.1.attention.query.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["layers.0.attention.query.weight"] == pytest.approx(0.005, rel=1e-3)
    assert moved["embeddings.pieces.weight"] == pytest.approx(0.0025, rel=1e-2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_skipped_with_a_warning(
    tiny_source: Path, bad: float
) -> None:
    """Row 22."""
    model, optimizer = tiny_model(tiny_source), build_adamw(0.01)
    before = weights(model)
    set_gradients(shim_of(model).encoder, 0)
    parameter = next(shim_of(model).encoder.parameters())
    assert parameter.grad is not None
    parameter.grad[0, 0] = bad

    with pytest.warns(RuntimeWarning, match=r"encoder is not finite.*\(1 skipped"):
        model.finish_update(optimizer)

    assert isinstance(optimizer, AdamW)
    assert optimizer.n_skipped == 1
    for name, after in weights(model).items():
        torch.testing.assert_close(after, before[name], atol=0, rtol=0)
    set_gradients(shim_of(model).encoder, 1)
    model.finish_update(optimizer)
    assert all(bool(after.isfinite().all()) for after in weights(model).values())
    assert not torch.equal(
        weights(model)["embeddings.pieces.weight"], before["embeddings.pieces.weight"]
    )


def test_head_parameters_are_stepped_with_decoupled_decay_and_their_own_rate() -> None:
    optimizer = build_adamw(0.01, weight_decay=0.01, grad_clip=0.0, head_learn_rate_scale=5.0)
    start = np.random.default_rng(0).normal(size=(3, 4)).astype("f")
    ours = start.copy()
    parameter = nn.Parameter(torch.tensor(start))
    reference = torch.optim.AdamW([parameter], lr=0.05, weight_decay=0.01, eps=1e-6)

    for step in range(5):
        gradient = np.random.default_rng(step + 1).normal(size=(3, 4)).astype("f")
        parameter.grad = torch.tensor(gradient)
        reference.step()
        ours, _ = optimizer((1, "W"), ours, gradient)

    # thinc decays after the step, torch before it: a difference of rate^2 x decay
    np.testing.assert_allclose(ours, parameter.detach().numpy(), atol=2e-4)
    assert np.abs(ours - start).max() > 0.1


def test_head_gradient_that_is_not_finite_is_skipped_with_a_warning() -> None:
    optimizer = build_adamw(0.01)
    gradient = np.array([1.0, np.nan, np.inf], dtype="f")

    with pytest.warns(RuntimeWarning, match="parameter 'W' of thinc layer 7"):
        updated, gradient = optimizer((7, "W"), np.ones(3, dtype="f"), gradient)

    np.testing.assert_array_equal(updated, np.ones(3))
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_averages_are_applied_and_taken_back(tiny_source: Path) -> None:
    """Row 23."""
    model, optimizer = tiny_model(tiny_source), build_adamw(0.05, use_averages=True)
    for step in range(4):
        set_gradients(shim_of(model).encoder, step)
        model.finish_update(optimizer)
    last, rows = weights(model), model.predict(DOCS)[0].copy()

    with model.use_params(optimizer.averages):
        inside, inside_rows = weights(model), model.predict(DOCS)[0].copy()

    name = "layers.0.attention.query.weight"
    average = optimizer.averages[shim_of(model).id, name]
    np.testing.assert_array_equal(inside[name].numpy(), average)
    assert not torch.allclose(inside[name], last[name])
    assert not np.allclose(inside_rows, rows)
    torch.testing.assert_close(weights(model), last, atol=0, rtol=0)
    np.testing.assert_array_equal(model.predict(DOCS)[0], rows)


def test_averages_of_thincs_own_adam_are_applied_too(tiny_source: Path) -> None:
    model, optimizer = tiny_model(tiny_source), Adam(0.05, use_averages=True)
    for step in range(2):
        set_gradients(shim_of(model).encoder, step)
        model.finish_update(optimizer)
    last = weights(model)

    with model.use_params(optimizer.averages):
        assert not torch.equal(
            weights(model)["embeddings.pieces.weight"], last["embeddings.pieces.weight"]
        )


def test_any_other_optimizer_is_called_per_parameter(tiny_source: Path) -> None:
    model = tiny_model(tiny_source)
    set_gradients(shim_of(model).encoder, 0)
    before, keys = weights(model), []

    def shrink(key: tuple[int, str], array: Any, gradient: Any) -> tuple[Any, Any]:
        keys.append(key)
        return array * 0.5, gradient

    model.finish_update(shrink)  # type: ignore[arg-type]

    assert keys == [(shim_of(model).id, name) for name in before]
    torch.testing.assert_close(weights(model), {n: w * 0.5 for n, w in before.items()})
    assert all(p.grad is None for p in shim_of(model).encoder.parameters())


def test_a_step_without_gradients_changes_nothing(tiny_source: Path) -> None:
    model = tiny_model(tiny_source)
    before = weights(model)

    model.finish_update(build_adamw(0.5, weight_decay=0.5))

    torch.testing.assert_close(weights(model), before, atol=0, rtol=0)


def test_gradients_of_several_backwards_add_up(tiny_source: Path) -> None:
    both, one = tiny_model(tiny_source), tiny_model(tiny_source)
    docs: list[Doc] = DOCS
    for part in ([docs[0]], [docs[1]]):
        rows, backprop = both.begin_update(part)
        backprop(rows)
    rows, backprop = one.begin_update(docs)
    backprop(rows)

    for model in (both, one):
        model.finish_update(build_adamw(0.01))

    torch.testing.assert_close(weights(both), weights(one), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layer_decay": 0.0}, "layer_decay=0.0"), ({"head_learn_rate_scale": -1.0}, "scale=-1.0")],
)
def test_factors_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_adamw(**settings)  # type: ignore[arg-type]


def test_it_is_built_from_a_config_block() -> None:
    block = {
        "@optimizers": "spacy-deberta.AdamW.v1",
        "layer_decay": 0.9,
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": 10,
            "total_steps": 100,
            "initial_rate": 1e-4,
        },
    }

    optimizer = registry.resolve({"optimizer": block})["optimizer"]

    assert isinstance(optimizer, AdamW)
    assert optimizer.learn_rate == 0.0
    optimizer.step_schedules()
    assert optimizer.learn_rate == pytest.approx(1e-5)
