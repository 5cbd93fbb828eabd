"""Masked-LM models: which decoder, which rows, and what a checkpoint must hold for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spacy_deberta.config import DebertaV2Config
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.modeling import (
    DebertaForMaskedLM,
    DebertaV2ForMaskedLM,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2Model,
)
from tests.modeling.models import (
    assert_close,
    assert_same_weights,
    make_batch,
    make_config,
    make_ids,
    make_model,
    model_class,
)

MASK_ID = 39
FILE = "model.safetensors"
POSITIONS = "deberta.embeddings.position_embeddings.weight"


def make_masked(mask_decoder: str = "auto", **changes: Any) -> DebertaV2ForMaskedLM:
    model: DebertaV2ForMaskedLM = make_model(
        "DebertaV2", "ForMaskedLM", "auto", mask_decoder, **changes
    )
    return model


def rewrite(folder: Path, change: Any) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / FILE).items()}
    change(tensors)
    save_file(tensors, folder / FILE)


# --- the forms -----------------------------------------------------------------------------------


def test_new_models_decode_as_microsofts_do() -> None:
    assert make_masked().mask_decoder == "emd"
    assert make_masked(position_biased_input=True).mask_decoder == "plain"
    assert make_masked(embedding_size=8).mask_decoder == "plain"
    assert make_masked("legacy").mask_decoder == "legacy"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="mask_decoder='EMD' is unknown; supported: auto, emd"):
        make_masked("EMD")
    with pytest.raises(ConfigError, match="expected one of auto, emd, plain, legacy for a Deb"):
        DebertaForMaskedLM.from_pretrained(None, mask_decoder="none")
    with pytest.raises(
        ConfigError, match="mask_decoder='emd': expected one of auto for a DebertaV"
    ):
        DebertaV2Model.from_pretrained(None, mask_decoder="emd")


def test_the_mask_decoder_needs_positions_of_its_own() -> None:
    with pytest.raises(ConfigError, match="was trained without the enhanced mask decoder"):
        make_masked("emd", position_biased_input=True)


@pytest.mark.parametrize("mask_decoder", ["plain", "legacy"])
def test_without_a_decoder_the_head_reads_the_last_layer(mask_decoder: str) -> None:
    model, ids = make_masked(mask_decoder), make_ids(2, 5)
    hidden = model.encoder(ids.flatten(), [5, 5]).last_hidden_state
    expected = model.head(hidden, model.get_input_embeddings().weight)
    assert_close(model(ids).logits.flatten(0, 1), expected)


def test_the_decoder_reads_the_second_last_layer() -> None:
    model, ids = make_masked(num_hidden_layers=3), make_ids(1, 5)
    states = model.encoder(ids[0], [5], hidden_states=True).hidden_states
    decoded = model.decoder(model.encoder, states[-2], [5], torch.arange(5))
    expected = model.head(decoded, model.get_input_embeddings().weight)
    assert_close(model(ids).logits[0], expected)
    plain = model.head(states[-1], model.get_input_embeddings().weight)
    assert (plain - expected).abs().max() > 1e-2


def test_the_config_says_which_head_transformers_must_build() -> None:
    legacy = make_masked("legacy").config
    assert (legacy.legacy, legacy.tie_word_embeddings) == (True, True)
    for name in ("emd", "plain"):
        config = make_masked(name).config
        assert (config.legacy, config.tie_word_embeddings) == (False, False)


# --- the rows ------------------------------------------------------------------------------------


def rows_with_logits(logits: Tensor) -> Tensor:
    return logits.any(-1)


def test_all_real_rows_are_predicted_where_nothing_tells_which() -> None:
    batch = make_batch("ForMaskedLM")
    for name in ("emd", "plain", "legacy"):
        logits = make_masked(name)(**batch).logits
        assert torch.equal(rows_with_logits(logits), batch["attention_mask"].bool())


def test_behind_the_decoder_only_masked_pieces_are_predicted() -> None:
    model = make_masked(extra={"mask_token_id": MASK_ID})
    batch = make_batch("ForMaskedLM")
    batch["input_ids"][:, 3] = MASK_ID
    expected = make_masked()(**batch).logits
    logits = model(**batch).logits
    asked = (batch["input_ids"] == MASK_ID) & batch["attention_mask"].bool()
    assert torch.equal(rows_with_logits(logits), asked)
    assert_close(logits[asked], expected[asked])
    plain = make_masked("plain", extra={"mask_token_id": MASK_ID})(**batch).logits
    assert torch.equal(rows_with_logits(plain), batch["attention_mask"].bool())


def test_labels_and_then_a_mask_say_which_pieces_to_predict() -> None:
    model, batch = make_masked(extra={"mask_token_id": MASK_ID}), make_batch("ForMaskedLM")
    keep = batch["attention_mask"].bool()
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, 1] = 5
    output = model(**batch, labels=labels)
    assert torch.equal(rows_with_logits(output.logits), keep & (labels >= 0))
    asked = torch.zeros_like(labels)
    asked[:, 4] = 1
    output = model(**batch, labels=labels, prediction_mask=asked)
    assert torch.equal(rows_with_logits(output.logits), keep & asked.bool())
    assert output.loss.item() == 0.0
    plain = make_masked("plain")(**batch, prediction_mask=asked).logits
    assert torch.equal(rows_with_logits(plain), keep & asked.bool())


@pytest.mark.parametrize("mask_decoder", ["emd", "plain", "legacy"])
def test_the_loss_is_the_mean_over_labeled_pieces(mask_decoder: str) -> None:
    model, batch = make_masked(mask_decoder), make_batch("ForMaskedLM")
    labels = make_ids(5, 7, seed=8)
    labels[:, ::2] = -1
    logits = model(**batch).logits.log_softmax(-1)
    counted = (labels >= 0) & batch["attention_mask"].bool()
    expected = -logits[counted].gather(1, labels[counted][:, None]).mean()
    assert_close(model(**batch, labels=labels).loss, expected)


def test_without_a_label_the_loss_is_zero_and_has_a_gradient() -> None:
    model, batch = make_masked(), make_batch("ForMaskedLM")
    loss = model(**batch, labels=torch.full_like(batch["input_ids"], -100)).loss
    assert loss.item() == 0.0
    loss.backward()


def test_a_prediction_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"^prediction_mask: found shape \(2, 3\), expected \(2, 4\)"
    ):
        make_masked()(make_ids(2, 4), prediction_mask=torch.ones(2, 3))


def test_a_resized_head_gives_new_pieces_no_bias() -> None:
    model = make_masked()
    before = model.head.bias.clone()
    model.resize_token_embeddings(45)
    assert torch.equal(model.head.bias[:40], before)
    assert not model.head.bias[40:].any()
    assert model.head.bias.requires_grad


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask_decoder", ["emd", "plain", "legacy"])
@pytest.mark.parametrize("biased", [False, True], ids=["relative", "absolute"])
def test_what_is_saved_is_recognized(tmp_path: Path, mask_decoder: str, biased: bool) -> None:
    if biased and mask_decoder == "emd":
        return
    model = make_masked(mask_decoder, position_biased_input=biased)
    model.save_pretrained(tmp_path)
    for asked in ("auto", mask_decoder):
        loaded = DebertaV2ForMaskedLM.from_pretrained(tmp_path, mask_decoder=asked)
        assert loaded.mask_decoder == mask_decoder
        assert_same_weights(loaded, model)


def test_released_files_are_read_with_the_decoder(tmp_path: Path) -> None:
    """Their config says nothing about the head; `legacy` is true by default."""
    model = make_masked()
    model.save_pretrained(tmp_path)
    config = DebertaV2Config.from_dict({**model.config.to_dict(), "legacy": True})
    loaded = DebertaV2ForMaskedLM.from_pretrained(tmp_path, config=config)
    assert loaded.mask_decoder == "emd"
    ids = make_ids(2, 5)
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_positions_that_were_dropped_are_asked_for(tmp_path: Path) -> None:
    """`transformers` loses them when it saves a released model."""
    model = make_masked()
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop(POSITIONS))
    config = DebertaV2Config.from_dict({**model.config.to_dict(), "legacy": True})
    message = (
        r"without 'embeddings\.position_embeddings\.weight'.*can do: encoder\. .*'plain' would"
    )
    with pytest.raises(CheckpointError, match=message):
        DebertaV2ForMaskedLM.from_pretrained(tmp_path, config=config)
    with pytest.raises(CheckpointError, match="holds no table of absolute positions"):
        DebertaV2ForMaskedLM.from_pretrained(tmp_path, config=config, mask_decoder="emd")
    plain = DebertaV2ForMaskedLM.from_pretrained(tmp_path, config=config, mask_decoder="plain")
    assert_same_weights(plain.head, model.head)


def test_a_head_of_another_form_is_refused(tmp_path: Path) -> None:
    make_masked("legacy").save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"holds no masked-LM head \('lm_predictions.*fill-mask"
    ):
        DebertaV2ForMaskedLM.from_pretrained(tmp_path, mask_decoder="plain")


def test_a_discriminator_fills_no_masks(tmp_path: Path) -> None:
    """Its file holds a masked-LM head that belongs to the generator."""
    model = make_model("DebertaV2", "ForReplacedTokenDetection")
    model.save_pretrained(tmp_path)
    make_masked().save_pretrained(tmp_path / "generator")
    heads = load_file(tmp_path / "generator" / FILE)
    kept = {name: tensor for name, tensor in heads.items() if name.startswith("lm_predictions")}
    rewrite(tmp_path, lambda tensors: tensors.update(kept))
    message = (
        r"holds no masked-LM head .*trained with its encoder; this file can do: encoder, "
        r"replaced-token-detection\. .*put its pytorch_model\.generator\.bin into the folder"
    )
    with pytest.raises(CheckpointError, match=message):
        DebertaV2ForMaskedLM.from_pretrained(tmp_path)


def test_the_generator_of_a_release_fills_its_masks(tmp_path: Path) -> None:
    """It is half as deep as the discriminator, whose config.json it shares."""
    discriminator = make_model("DebertaV2", "ForReplacedTokenDetection", num_hidden_layers=4)
    discriminator.save_pretrained(tmp_path)
    generator = make_masked(num_hidden_layers=2)
    generator.save_pretrained(tmp_path / "generator")
    tensors = load_file(tmp_path / "generator" / FILE)
    torch.save(tensors, tmp_path / "pytorch_model.generator.bin")
    loaded = DebertaV2ForMaskedLM.from_pretrained(tmp_path)
    assert loaded.config.num_hidden_layers == 2
    assert_same_weights(loaded, generator)
    other = DebertaV2ForReplacedTokenDetection.from_pretrained(tmp_path)
    assert_same_weights(other, discriminator)


@pytest.mark.parametrize(
    ("task", "wanted"),
    [("ForMaskedLM", "pytorch_model.generator.bin"), ("ForReplacedTokenDetection", None)],
)
def test_only_masked_models_ask_the_hub_for_a_generator(
    task: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("DebertaV2", task).save_pretrained(tmp_path)
    asked: list[tuple[Any, ...]] = []

    def resolve(source: str, *, revision: str | None, prefer: str | None) -> Path:
        asked.append((source, revision, prefer))
        return tmp_path

    monkeypatch.setattr("spacy_deberta.modeling.base.resolve_source", resolve)
    model_class("DebertaV2", task).from_pretrained("owner/name", revision="v3")
    assert asked == [("owner/name", "v3", wanted)]


def test_a_fresh_head_can_be_asked_for(tmp_path: Path) -> None:
    bare = make_model("DebertaV2", "Model")
    bare.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="allow_missing_head=True draws a new head"):
        DebertaV2ForMaskedLM.from_pretrained(tmp_path)
    model = DebertaV2ForMaskedLM.from_pretrained(tmp_path, allow_missing_head=True)
    assert model.mask_decoder == "emd"
    assert_same_weights(model.encoder, bare.encoder)
    assert 0.05 < model.decoder.positions.std().item() < 0.2
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_the_first_familys_names_do_the_same(tmp_path: Path) -> None:
    model = make_model("Deberta", "ForMaskedLM")
    model.save_pretrained(tmp_path)
    assert_same_weights(DebertaForMaskedLM.from_pretrained(tmp_path), model)
    assert make_config("Deberta").model_type == "deberta"


@pytest.mark.parametrize("mask_decoder", ["emd", "plain", "legacy"])
def test_rows_alone_are_those_of_the_rectangle(mask_decoder: str) -> None:
    model, batch = make_masked(mask_decoder), make_batch("ForMaskedLM")
    keep = batch["attention_mask"].bool()
    asked = keep & (torch.arange(keep.shape[1]) % 3 == 1)
    assert len({int(row.sum()) for row in asked}) > 1
    rows = model.predict_rows(batch["input_ids"], batch["attention_mask"], asked)
    types = batch.get("token_type_ids")
    typed = model.predict_rows(
        batch["input_ids"], batch["attention_mask"], asked, token_type_ids=types
    )
    assert_close(typed, model(**batch, prediction_mask=asked).logits[asked])
    if types is None:
        assert_close(rows, typed)
    ids = batch["input_ids"][:1, :4]
    whole = model.predict_rows(ids, None, torch.ones_like(ids))
    assert_close(whole, model(ids, prediction_mask=torch.ones_like(ids)).logits[0])
    nothing = model.predict_rows(ids, None, torch.zeros_like(ids))
    assert nothing.shape == (0, model.config.vocab_size)
