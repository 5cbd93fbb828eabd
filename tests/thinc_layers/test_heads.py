"""Torch heads inside thinc: building, gradients, bytes, pretrained weights."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from thinc.api import Adam, Model, set_dropout_rate

from spacy_deberta import (
    DebertaV2ForMaskedLM,
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
)
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.heads import TiedRows, build_head, load_head
from spacy_deberta.thinc_layers.sequences import build_sequence_model, sequence_encoder
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import tiny_config

WIDTH = 16
MODELS: dict[str, Any] = {
    "token": DebertaV2ForTokenClassification,
    "sequence": DebertaV2ForSequenceClassification,
    "choice": DebertaV2ForMultipleChoice,
    "span": DebertaV2ForQuestionAnswering,
    "mlm": DebertaV2ForMaskedLM,
}
PLAIN = ("token", "sequence", "choice", "span")


def rows(n: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, WIDTH)).astype("f")


def new_head(kind: Any, dropout: float = 0.0) -> Model[Any, Any]:
    head = build_head(kind, 3 if kind in ("token", "sequence") else None, dropout)
    head.initialize(X=rows())
    return head


def checkpoint(folder: Path, kind: str, tokenizer: UnigramTokenizer, **changes: Any) -> Any:
    """A checkpoint with a head, and its model."""
    torch.manual_seed(3)
    settings = {"num_labels": 3, "legacy": False, "position_biased_input": kind == "mlm"}
    model = MODELS[kind](tiny_config(**{**settings, **changes})).eval()
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model


@pytest.mark.parametrize("kind", PLAIN)
def test_rows_become_logits_and_gradients_are_torchs(kind: str) -> None:
    head = new_head(kind)
    module = head.shims[0].module.eval()  # type: ignore[attr-defined]
    given = torch.from_numpy(rows()).requires_grad_()
    wanted = module(given, 1) if kind == "choice" else module(given)
    d_logits = rows(6, seed=1)[:, : wanted.shape[1]].copy()

    logits, backprop = head.begin_update(rows())
    d_rows = backprop(d_logits)

    assert head.get_dim("nO") == {"span": 2, "choice": 1}.get(kind, 3)
    np.testing.assert_allclose(logits, wanted.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(head.predict(rows()), logits, atol=1e-6)
    found = {name: p.grad.clone() for name, p in module.named_parameters()}
    module.zero_grad()
    wanted.backward(torch.from_numpy(d_logits))
    assert given.grad is not None
    np.testing.assert_allclose(d_rows, given.grad.numpy(), atol=1e-6)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


@pytest.mark.parametrize("kind", MODELS)
def test_a_head_of_a_checkpoint_computes_what_it_did_there(
    tmp_path: Path, kind: Any, tiny_tokenizer: UnigramTokenizer
) -> None:
    trained = checkpoint(tmp_path, kind, tiny_tokenizer)
    head = build_head(kind)

    config = load_head(head, tmp_path)

    assert config.num_labels == 3
    with torch.no_grad():
        if kind == "mlm":
            source = build_sequence_model(str(tmp_path))
            source.initialize()
            logits = head.predict(TiedRows(rows(), sequence_encoder(source)))
            table = trained.get_input_embeddings().weight
            wanted = trained.head(torch.from_numpy(rows()), table)
        else:
            logits = head.predict(rows())
            given = torch.from_numpy(rows())
            wanted = trained.head(given, 1) if kind == "choice" else trained.head(given)
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-6)
    head.initialize(X=rows())  # keeps what was loaded, once
    assert head.shims[0].config.id2label == config.id2label  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["token", "sequence", "span", "mlm"])
def test_a_checkpoint_without_the_head_is_refused(tiny_source: Path, kind: Any) -> None:
    with pytest.raises(CheckpointError, match="this file can do: encoder"):
        load_head(build_head(kind), tiny_source)


def test_a_head_behind_the_mask_decoder_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    checkpoint(tmp_path, "mlm", tiny_tokenizer, position_biased_input=False)

    with pytest.raises(CheckpointError, match="enhanced mask decoder"):
        load_head(build_head("mlm"), tmp_path)


def test_another_number_of_labels_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    checkpoint(tmp_path, "token", tiny_tokenizer)

    with pytest.raises(CheckpointError, match="has 3 logits, expected 5"):
        load_head(build_head("token", 5), tmp_path)


def test_a_tied_head_trains_the_table_of_an_encoder_that_is_trained(tiny_source: Path) -> None:
    source = build_sequence_model(str(tiny_source))
    source.initialize()
    head = build_head("mlm", None, 0.0)
    tied = TiedRows(rows(), sequence_encoder(source))
    head.initialize(X=tied)
    table = shim_of(source).encoder.embeddings.pieces.weight

    logits, backprop = head.begin_update(tied)
    d_rows = backprop(np.ones_like(logits))

    assert logits.shape == (6, 512)
    assert d_rows.shape == (6, WIDTH)
    assert table.grad is not None
    assert float(table.grad.abs().sum()) > 0


@pytest.mark.parametrize("kind", PLAIN)
def test_bytes_hold_the_head(kind: Any) -> None:
    head = new_head(kind)

    loaded = build_head(kind, 3 if kind in ("token", "sequence") else None)
    loaded.from_bytes(head.to_bytes())

    np.testing.assert_array_equal(loaded.predict(rows()), head.predict(rows()))
    assert loaded.to_bytes() == head.to_bytes()


def test_damaged_bytes_are_refused() -> None:
    head = new_head("span")
    with pytest.raises(CheckpointError, match="'span' head: damaged"):
        head.shims[0].from_bytes(head.shims[0].to_bytes()[:40])


def test_copies_have_ids_and_weights_of_their_own() -> None:
    head = new_head("token")

    for copied in (head.copy(), copy.deepcopy(head)):
        assert copied.shims[0].id != head.shims[0].id
        _, backprop = copied.begin_update(rows())
        backprop(np.ones((6, 3), dtype="f"))
        copied.finish_update(Adam(0.1))
        assert np.abs(copied.predict(rows()) - head.predict(rows())).max() > 0


def test_dropout_is_what_spacy_sets() -> None:
    head = new_head("token", dropout=0.5)
    dropped = [head.begin_update(rows())[0] for _ in range(2)]
    set_dropout_rate(head, 0.0)
    kept = [head.begin_update(rows())[0] for _ in range(2)]

    assert np.abs(dropped[0] - dropped[1]).max() > 0
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(head.predict(rows()), head.predict(rows()))


def test_a_second_initialization_draws_new_weights() -> None:
    head = new_head("token")
    before = head.predict(rows())

    head.initialize(X=rows())

    assert np.abs(head.predict(rows()) - before).max() > 0


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind='tokens' is unknown; supported: token"):
        build_head("tokens")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_out=3: a 'span' head has 2"):
        build_head("span", 3)
    with pytest.raises(PipelineError, match="no weights yet"):
        build_head("token", 3).predict(rows())
