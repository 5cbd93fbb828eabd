"""Joint encoding: rows of arbitrary sequences, and the exact gradient to the encoder."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy import registry
from thinc.api import Model

from spacy_deberta.encoder import EncoderInputs
from spacy_deberta.errors import AlignmentError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.first_rows import first_rows
from spacy_deberta.thinc_layers.sequences import (
    PieceSequence,
    build_sequence_listener,
    build_sequence_model,
    sequence_encoder,
)
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import write_checkpoint

WIDTH = 16


def sequences(
    seed: int = 0, lengths: tuple[int, ...] = (5, 11, 1, 0, 7, 11)
) -> list[PieceSequence]:
    draw = np.random.default_rng(seed)
    return [PieceSequence(draw.integers(5, 300, n)) for n in lengths]


def sequence_model(source: Path, budget: int = 8192) -> Model[Any, Any]:
    model = build_sequence_model(str(source), budget)
    model.initialize()
    return model


def test_rows_are_those_of_each_sequence_alone(tiny_source: Path) -> None:
    model, given = sequence_model(tiny_source), sequences()

    rows = model.predict(given)

    encoder = shim_of(model).encoder
    assert [row.shape for row in rows] == [(len(one.ids), WIDTH) for one in given]
    for one, found in zip(given, rows, strict=True):
        if len(one.ids):
            alone = encoder(torch.from_numpy(one.ids), [len(one.ids)]).last_hidden_state
            np.testing.assert_allclose(found, alone.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("budget", [1, 12, 20])
def test_the_budget_changes_no_row_in_prediction_or_training(
    tiny_source: Path, budget: int
) -> None:
    wide, narrow = sequence_model(tiny_source), sequence_model(tiny_source, budget)

    expected = wide.predict(sequences())

    found, _ = narrow.begin_update(sequences())
    for one, other, third in zip(expected, narrow.predict(sequences()), found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(one, third, atol=1e-5)


@pytest.mark.parametrize("limit", [1, 12, 1000])
def test_first_rows_are_the_same_in_parts_and_keep_no_others(
    tiny_source: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spacy_deberta.thinc_layers.first_rows.PREDICTED_PIECES", limit)
    model, given = sequence_model(tiny_source), [one for one in sequences() if len(one.ids)]
    expected = [rows[0] for rows in model.predict(given)]

    found, ignored = first_rows(model, given, is_train=False)
    trained, backprop = first_rows(model, given, is_train=True)

    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.base is None  # not a view of all rows
    np.testing.assert_allclose(trained, expected, atol=1e-6)
    ignored(found)
    backprop(np.ones_like(trained))
    gradient = shim_of(model).encoder.embeddings.pieces.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_types_reach_an_encoder_that_has_a_table_of_them(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    source = write_checkpoint(tmp_path / "typed", tiny_tokenizer, type_vocab_size=2)
    model = sequence_model(source)
    ids, types = np.arange(5, 11), np.array([0, 0, 0, 1, 1, 1])

    plain, typed = model.predict([PieceSequence(ids), PieceSequence(ids, types)])

    wanted = shim_of(model).encoder(
        torch.from_numpy(ids), [6], inputs=EncoderInputs(types=torch.from_numpy(types))
    )
    np.testing.assert_allclose(typed, wanted.last_hidden_state.detach().numpy(), atol=1e-5)
    assert np.abs(typed - plain).max() > 1e-2
    with pytest.raises(AlignmentError, match="6 pieces has 2 types"):
        model.predict([PieceSequence(ids, types[:2])])


@pytest.mark.parametrize("budget", [8192, 12])
def test_the_gradient_equals_finite_differences(tiny_source: Path, budget: int) -> None:
    model, given = sequence_model(tiny_source, budget), sequences()
    shim_of(model).encoder.double()  # differences of float32 would drown in rounding
    draw = np.random.default_rng(1)
    d_rows = [draw.normal(size=(len(one.ids), WIDTH)).astype("f") for one in given]
    encoder = shim_of(model).encoder
    directions = [torch.randn_like(p) for p in encoder.parameters()]

    def loss(step: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(encoder.parameters(), directions, strict=True):
                parameter.add_(direction, alpha=step)
            encoder.train()
            total = 0.0
            for one, d in zip(given, d_rows, strict=True):
                if len(one.ids):
                    states = encoder(torch.from_numpy(one.ids), [len(one.ids)]).last_hidden_state
                    total += float((states * torch.from_numpy(d)).sum())
            for parameter, direction in zip(encoder.parameters(), directions, strict=True):
                parameter.sub_(direction, alpha=step)
        return total

    _, backprop = model.begin_update(given)
    backprop(d_rows)

    analytic = sum(
        float((p.grad * d).sum())
        for p, d in zip(encoder.parameters(), directions, strict=True)
        if p.grad is not None
    )
    numeric = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert analytic == pytest.approx(numeric, rel=1e-4)


def test_a_saved_model_needs_no_source(tiny_source: Path) -> None:
    model = sequence_model(tiny_source)
    data = model.to_bytes()

    loaded = build_sequence_model("nowhere").from_bytes(data)

    assert loaded.get_dim("nO") == WIDTH
    for one, other in zip(model.predict(sequences()), loaded.predict(sequences()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_copy_has_an_encoder_of_its_own(tiny_source: Path) -> None:
    model = sequence_model(tiny_source)

    for copied in (model.copy(), copy.deepcopy(model)):
        assert copied.shims[0].id != model.shims[0].id
        assert shim_of(copied).encoder is not shim_of(model).encoder


def test_the_encoder_of_a_model_has_what_making_sequences_takes(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    encoder = sequence_encoder(sequence_model(tiny_source))

    assert encoder.tokenizer.cls_id == tiny_tokenizer.cls_id
    assert encoder.config.hidden_size == WIDTH
    assert encoder.max_length is None
    assert encoder.piece_table().shape == (512, WIDTH)


def test_absolute_positions_bound_the_length(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    source = write_checkpoint(tmp_path / "biased", tiny_tokenizer, position_biased_input=True)

    assert sequence_encoder(sequence_model(source)).max_length == 64


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_pieces=0"):
        build_sequence_model(None, 0)
    with pytest.raises(ConfigError, match="grad_factor=-1"):
        build_sequence_listener("*", -1)
    with pytest.raises(PipelineError, match="no encoder to listen to"):
        build_sequence_listener("deberta").predict(sequences())
    with pytest.raises(PipelineError, match=r"SequenceListener\.v1"):
        sequence_encoder(Model("other", lambda m, x, t: (x, lambda d: d)))


def test_bf16_rows_and_gradients_are_near_those_of_fp32(tiny_source: Path) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        model = build_sequence_model(str(tiny_source), precision=precision)
        model.initialize()
        rows = np.concatenate(model.predict(sequences()))
        trained, backprop = model.begin_update(sequences())
        draw = np.random.default_rng(0)
        backprop([draw.normal(size=row.shape).astype(np.float32) for row in trained])
        weight = shim_of(model).encoder.layers[0].intermediate.weight
        assert weight.grad is not None
        assert rows.dtype == np.float32
        assert weight.dtype == weight.grad.dtype == torch.float32
        found[precision] = rows, weight.grad.numpy().ravel()

    (rows, gradient), (low_rows, low_gradient) = found["fp32"], found["bf16"]
    assert 0 < np.abs(rows - low_rows).max() < 0.1
    lengths = np.linalg.norm(gradient) * np.linalg.norm(low_gradient)
    assert gradient @ low_gradient / lengths > 0.99


def test_an_unknown_precision_or_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision='int8' is unknown"):
        build_sequence_model(precision="int8")
    with pytest.raises(ConfigError, match="device='tpu0' is no device"):
        build_sequence_model(device="tpu0")


def test_architectures_are_registered() -> None:
    for name in ("SequenceListener", "SequenceModel", "Head"):
        assert registry.architectures.get(f"spacy-deberta.{name}.v1")
