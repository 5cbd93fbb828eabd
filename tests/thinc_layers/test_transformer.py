import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from thinc.api import Adam, Linear

from spacy_deberta.errors import AlignmentError, CheckpointError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import DocsToRows, build_deberta_model, shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, make_docs, write_checkpoint

LONG = " ".join(TEXTS)


def tiny_model(source: Path, **settings: Any) -> DocsToRows:
    return build_deberta_model(str(source), **{"window": 12, "stride": 6, **settings})


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "max", "sum"])
def test_one_row_per_token(tiny_source: Path, pooling: str) -> None:
    docs = make_docs(["", *TEXTS, "  ", LONG])

    rows = tiny_model(tiny_source, pooling=pooling).predict(docs)

    assert [r.shape for r in rows] == [(len(doc), 16) for doc in docs]
    assert all(r.dtype == np.float32 and np.isfinite(r).all() for r in rows)


def test_tokens_without_pieces_have_rows_of_zeros(tiny_source: Path) -> None:
    """Row 2."""
    (doc,) = make_docs([TEXTS[3]])

    (rows,) = tiny_model(tiny_source).predict([doc])

    zero = ~rows.any(axis=1)
    assert zero.tolist() == [token.is_space for token in doc]
    assert zero.any()


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["  "], ["\n", ""]])
def test_batches_without_pieces_are_zeros_forward_and_nothing_backward(
    tiny_source: Path, texts: list[str]
) -> None:
    model, docs = tiny_model(tiny_source), make_docs(texts)

    predicted = model.predict(docs)

    assert [r.shape for r in predicted] == [(len(doc), 16) for doc in docs]
    assert not any(r.any() for r in predicted)
    if docs:
        rows, backprop = model.begin_update(docs)
        backprop([np.ones_like(r) for r in rows])


def test_training_and_prediction_give_the_same_rows_without_dropout(tiny_source: Path) -> None:
    model, docs = tiny_model(tiny_source), make_docs(TEXTS)

    rows, _ = model.begin_update(docs)

    for trained, predicted in zip(rows, model.predict(docs), strict=True):
        np.testing.assert_allclose(trained, predicted, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "max", "sum"])
def test_budget_does_not_change_rows(tiny_source: Path, pooling: str) -> None:
    """Row 11."""
    docs = make_docs(["", *TEXTS, " \n ", LONG, f"the {'riverwindow' * 20} crossed"])

    small = tiny_model(tiny_source, pooling=pooling, batch_pieces=12).predict(docs)
    large = tiny_model(tiny_source, pooling=pooling, batch_pieces=10_000).predict(docs)

    for a, b in zip(small, large, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5)


def test_modes_are_eval_after_predict_and_train_in_update(tiny_source: Path) -> None:
    model, docs = tiny_model(tiny_source), make_docs(TEXTS)

    model.begin_update(docs)
    assert shim_of(model).encoder.training
    model.predict(docs)
    assert not shim_of(model).encoder.training


def _loss_change(model: DocsToRows, text: str) -> tuple[float, float]:
    """Change of sum(direction * rows) along a random step of all weights: analytic, numeric."""
    encoder = shim_of(model).encoder.double()
    generator = torch.Generator().manual_seed(0)
    docs = make_docs([text, "a", text[:40]])
    rows, backprop = model.begin_update(docs)
    ups = [np.random.default_rng(1).normal(size=r.shape).astype("f") for r in rows]
    backprop(ups)
    steps = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in encoder.named_parameters()
    }
    analytic = sum(
        float((p.grad * steps[n]).sum())
        for n, p in encoder.named_parameters()
        if p.grad is not None
    )

    def loss_after(distance: float) -> float:
        with torch.no_grad():
            for name, p in encoder.named_parameters():
                p.add_(steps[name], alpha=distance)
        predicted = model.predict(docs)
        return sum(float((u.astype("d") * r).sum()) for u, r in zip(ups, predicted, strict=True))

    h = 1e-3
    ahead, behind = loss_after(h), loss_after(-2 * h)
    return analytic, (ahead - behind) / (2 * h)


@pytest.mark.parametrize("pooling", ["mean", "first", "sum"])
@pytest.mark.parametrize(
    ("window", "stride"), [(200, 150), (12, 10), (12, 4)], ids=["one", "several", "overlapping"]
)
def test_gradient_is_that_of_finite_differences(
    tiny_source: Path, window: int, stride: int, pooling: str
) -> None:
    """Rows 8 and 9."""
    model = tiny_model(tiny_source, window=window, stride=stride, pooling=pooling, batch_pieces=40)

    analytic, numeric = _loss_change(model, LONG)

    assert abs(analytic) > 1
    assert analytic == pytest.approx(numeric, rel=2e-3)


def test_nothing_is_read_at_construction(tmp_path: Path) -> None:
    model = build_deberta_model(str(tmp_path / "nowhere"))

    assert not shim_of(model).is_loaded
    with pytest.raises(CheckpointError, match="nowhere"):
        model.predict(make_docs(TEXTS))
    with pytest.raises(CheckpointError, match="nowhere"):
        model.initialize()


def _no_stride() -> DocsToRows:
    return build_deberta_model(window=128, stride=128)


def _no_pooling() -> DocsToRows:
    return build_deberta_model(pooling="median")


def _no_budget() -> DocsToRows:
    return build_deberta_model(batch_pieces=0)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (_no_stride, AlignmentError, r"stride=128 .* window=128"),
        (_no_pooling, ConfigError, r"pooling='median'"),
        (_no_budget, ConfigError, r"batch_pieces=0"),
    ],
)
def test_wrong_settings_are_refused_at_construction(
    build: Callable[[], DocsToRows], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build()


def test_window_longer_than_the_absolute_positions_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    source = write_checkpoint(tmp_path, tiny_tokenizer, position_biased_input=True)

    with pytest.raises(ConfigError, match=r"window=65 .* max_position_embeddings=64"):
        tiny_model(source, window=65).predict(make_docs(TEXTS))
    tiny_model(source, window=64).predict(make_docs(TEXTS))


def test_another_model_is_refused() -> None:
    with pytest.raises(PipelineError, match="linear"):
        shim_of(Linear())  # type: ignore[arg-type]


def test_bytes_replace_the_source(tiny_source: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(tiny_source, tmp_path / "source")
    docs = make_docs(TEXTS)
    model = tiny_model(gone)
    wanted = model.predict(docs)
    data = model.to_bytes()
    shutil.rmtree(gone)

    loaded = tiny_model(gone).from_bytes(data)

    assert loaded.get_dim("nO") == 16
    for a, b in zip(wanted, loaded.predict(docs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.to_bytes() == data


@pytest.mark.parametrize("loaded", [True, False])
def test_each_copy_has_its_own_id_and_weights(tiny_source: Path, loaded: bool) -> None:
    model, docs = tiny_model(tiny_source), make_docs(TEXTS)
    if loaded:
        model.predict(docs)

    copied, deep = model.copy(), copy.deepcopy(model)

    assert len({shim_of(m).id for m in (model, copied, deep)}) == 3
    with torch.no_grad():
        shim_of(copied).encoder.layers[0].attention.query.weight.zero_()
    rows = [m.predict(docs)[0] for m in (model, copied, deep)]
    assert not np.allclose(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_initialize_goes_back_to_the_source(tiny_source: Path) -> None:
    model, docs = tiny_model(tiny_source), make_docs(TEXTS)
    before = model.predict(docs)[0].copy()
    with torch.no_grad():
        shim_of(model).encoder.layers[0].attention.query.weight.zero_()

    model.initialize()

    np.testing.assert_array_equal(model.predict(docs)[0], before)


def test_initialize_keeps_loaded_weights_when_the_source_is_gone(
    tiny_source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = shutil.copytree(tiny_source, tmp_path / "source")
    model, docs = tiny_model(gone), make_docs(TEXTS)
    before = model.predict(docs)[0].copy()
    shutil.rmtree(gone)

    model.initialize()

    np.testing.assert_array_equal(model.predict(docs)[0], before)
    assert "keeps the weights it has" in caplog.text


@pytest.mark.parametrize("optimizer", [Adam(0.1), build_adamw(0.1)], ids=["Adam", "AdamW"])
def test_training_does_not_change_the_checkpoint(tiny_source: Path, optimizer: Any) -> None:
    before = (tiny_source / "model.safetensors").read_bytes()
    model, docs = tiny_model(tiny_source), make_docs(TEXTS)
    rows, backprop = model.begin_update(docs)
    backprop(rows)
    model.finish_update(optimizer)

    assert not np.allclose(model.predict(docs)[0], rows[0])
    assert (tiny_source / "model.safetensors").read_bytes() == before
