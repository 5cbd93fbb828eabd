"""Models from files and to files: strict, in every format, with every head."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.modeling import (
    DebertaForTokenClassification,
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
)
from tests.modeling.models import (
    ALL,
    IDS,
    assert_close,
    assert_same_weights,
    make_batch,
    make_ids,
    make_model,
    model_class,
)

FILE = "model.safetensors"
QUERY = "deberta.encoder.layer.0.attention.self.query_proj.weight"
each_class = pytest.mark.parametrize(("family", "task"), ALL, ids=IDS)


def rewrite(folder: Path, change: Any) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / FILE).items()}
    change(tensors)
    save_file(tensors, folder / FILE)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A folder with a sequence classifier of three labels."""
    names = {0: "no", 1: "yes", 2: "maybe"}
    make_model("DebertaV2", "ForSequenceClassification", id2label=names).save_pretrained(tmp_path)
    return tmp_path


# --- there and back ------------------------------------------------------------------------------


@each_class
def test_saved_models_come_back_bit_for_bit(family: str, task: str, tmp_path: Path) -> None:
    model, batch = make_model(family, task), make_batch(task)
    model.save_pretrained(tmp_path / "new" / "folder")
    loaded = model_class(family, task).from_pretrained(tmp_path / "new" / "folder")
    assert_same_weights(loaded, model)
    assert not loaded.training
    assert loaded.config.to_dict() | {"architectures": 0} == (
        model.config.to_dict() | {"architectures": 0}
    )
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(loaded(**batch)[0], model(**batch)[0])


@each_class
def test_files_say_what_they_are(family: str, task: str, tmp_path: Path) -> None:
    make_model(family, task).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == [family + task]
    assert config["model_type"] == ("deberta" if family == "Deberta" else "deberta-v2")
    names = load_file(tmp_path / FILE)
    assert any(name.startswith("deberta.") for name in names) == (task != "Model")
    assert any("in_proj" in name for name in names) == (family == "Deberta")


@pytest.mark.parametrize(
    "task", ["Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]
)
@pytest.mark.parametrize("family", ["Deberta", "DebertaV2"])
def test_models_go_through_files_of_tensorflow(family: str, task: str, tmp_path: Path) -> None:
    model = make_model(family, task)
    model.save_pretrained(tmp_path, format="h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "tf_model.h5"]
    assert_same_weights(model_class(family, task).from_pretrained(tmp_path), model)


def test_what_tensorflow_has_no_class_for_is_not_written(tmp_path: Path) -> None:
    model = make_model("DebertaV2", "ForReplacedTokenDetection")
    with pytest.raises(CheckpointError, match="TensorFlow has no such DeBERTa"):
        model.save_pretrained(tmp_path / "new", format="h5")
    assert not (tmp_path / "new" / "config.json").exists()


def test_pickled_files_are_read(classifier: Path) -> None:
    expected = DebertaV2ForSequenceClassification.from_pretrained(classifier)
    torch.save(load_file(classifier / FILE), classifier / "pytorch_model.bin")
    (classifier / FILE).unlink()
    assert_same_weights(DebertaV2ForSequenceClassification.from_pretrained(classifier), expected)


def test_microsofts_deeper_ner_head_is_recognized(tmp_path: Path) -> None:
    model = make_model("DebertaV2", "ForTokenClassification", "auto", "ner_proj")
    model.save_pretrained(tmp_path)
    assert "proj.weight" in load_file(tmp_path / FILE)
    loaded = DebertaV2ForTokenClassification.from_pretrained(tmp_path)
    assert loaded.head_kind == "ner_proj"
    ids = make_ids(1, 4)
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    with pytest.raises(
        ConfigError, match="head='proj' is unknown; supported: classifier, ner_proj"
    ):
        make_model("DebertaV2", "ForTokenClassification", "auto", "proj")


def test_saving_over_the_folder_a_model_came_from(classifier: Path) -> None:
    model = DebertaV2ForSequenceClassification.from_pretrained(classifier)
    with torch.no_grad():
        model.head.classifier.bias.add_(1)
    model.save_pretrained(classifier)
    assert_same_weights(DebertaV2ForSequenceClassification.from_pretrained(classifier), model)


# --- precision -----------------------------------------------------------------------------------


def test_half_precision_files_become_float32_unless_asked_otherwise(tmp_path: Path) -> None:
    model = make_model("DebertaV2", "ForTokenClassification")
    model.save_pretrained(tmp_path, dtype="float16")
    assert {t.dtype for t in load_file(tmp_path / FILE).values()} == {torch.float16}
    loaded = DebertaV2ForTokenClassification.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    assert_same_weights(loaded, model.half().float())
    for dtype in (torch.bfloat16, "bfloat16"):
        half = DebertaV2ForTokenClassification.from_pretrained(tmp_path, dtype=dtype)
        assert half.dtype == torch.bfloat16


def test_what_was_noted_about_another_file_is_not_written(classifier: Path, tmp_path: Path) -> None:
    path = classifier / "config.json"
    config = {**json.loads(path.read_text()), "torch_dtype": "float16", "mask_token_id": 7}
    path.write_text(json.dumps(config))
    model = DebertaV2ForSequenceClassification.from_pretrained(classifier)
    model.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "torch_dtype" not in written
    assert written["mask_token_id"] == 7


@pytest.mark.parametrize(
    "settings", [{"format": "bin"}, {"format": "h5", "dtype": "float16"}, {"dtype": "int8"}]
)
def test_formats_that_cannot_be_written_are_refused(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^(format|dtype)='"):
        make_model("DebertaV2", "Model").save_pretrained(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


# --- labels --------------------------------------------------------------------------------------


def test_labels_come_from_the_config_unless_given(classifier: Path) -> None:
    load = DebertaV2ForSequenceClassification.from_pretrained
    assert dict(load(classifier).config.id2label) == {0: "no", 1: "yes", 2: "maybe"}
    assert dict(load(classifier, num_labels=3).config.id2label)[2] == "maybe"
    renamed = load(classifier, id2label={0: "a", 1: "b", 2: "c"}).config
    assert (renamed.num_labels, renamed.id2label[2]) == (3, "c")


def test_another_number_of_labels_needs_a_new_classifier(classifier: Path) -> None:
    load = DebertaV2ForSequenceClassification.from_pretrained
    message = r"'classifier\.weight' has shape \(3, 16\), expected \(2, 16\)"
    with pytest.raises(CheckpointError, match=message):
        load(classifier, num_labels=2)
    old, new = load(classifier), load(classifier, num_labels=2, allow_missing_head=True)
    assert new.config.num_labels == 2
    assert not new.config.id2label
    assert new.head.classifier.weight.shape == (2, 16)
    assert not new.head.classifier.bias.any()
    assert_same_weights(new.head.pooler, old.head.pooler)
    assert_same_weights(new.encoder, old.encoder)


# --- what is missing -----------------------------------------------------------------------------


def test_an_absent_head_is_an_error_that_names_what_the_file_can_do(classifier: Path) -> None:
    message = (
        rf"^{classifier / FILE}: holds no question-answering head \('qa_outputs\.weight'\); this "
        r"file can do: encoder, sequence-classification\."
    )
    with pytest.raises(CheckpointError, match=message):
        DebertaV2ForQuestionAnswering.from_pretrained(classifier)
    model = DebertaV2ForQuestionAnswering.from_pretrained(classifier, allow_missing_head=True)
    assert not model.head.qa_outputs.bias.any()
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_other_heads_are_left_aside(classifier: Path) -> None:
    model = DebertaV2Model.from_pretrained(classifier)
    expected = DebertaV2ForSequenceClassification.from_pretrained(classifier)
    assert_same_weights(model.encoder, expected.encoder)


def test_a_classifier_of_sequences_is_none_of_choices(classifier: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"'classifier\.weight' has shape \(3, 16\), expected"
    ):
        DebertaV2ForMultipleChoice.from_pretrained(classifier)


def test_half_a_head_is_refused_also_where_none_would_do(tmp_path: Path) -> None:
    make_model("DebertaV2", "ForReplacedTokenDetection").save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("mask_predictions.dense.bias"))
    with pytest.raises(CheckpointError, match=r"'mask_predictions\.dense\.bias' is missing"):
        DebertaV2ForReplacedTokenDetection.from_pretrained(tmp_path, allow_missing_head=True)


def test_faults_of_encoder_and_head_stand_in_one_message(classifier: Path) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[QUERY]
        tensors["classifier.bias"] = torch.ones(4)
        tensors["pooler.dense.weight"][0, 0] = float("nan")
        tensors["deberta.encoder.layer.0.surprise"] = torch.ones(2)

    rewrite(classifier, damage)
    with pytest.raises(CheckpointError) as caught:
        DebertaV2ForSequenceClassification.from_pretrained(classifier)
    for fault in ("query_proj.weight' is missing", "(4,)", "NaN", "surprise"):
        assert fault in str(caught.value)


def test_a_class_of_the_other_family_is_refused(classifier: Path) -> None:
    message = (
        rf"^{classifier / FILE}: found a DebertaV2Config .*expected a DebertaConfig for Deberta"
    )
    with pytest.raises(ConfigError, match=message):
        DebertaForTokenClassification.from_pretrained(classifier)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="looked for a checkpoint folder"):
        DebertaV2Model.from_pretrained(tmp_path / "nowhere" / "at" / "all")


def test_attention_and_config_are_taken_from_the_caller(classifier: Path) -> None:
    plain = DebertaV2Model.from_pretrained(classifier, attention="plain")
    assert plain.encoder.attention == "plain"
    config = DebertaV2Model.from_pretrained(classifier).config
    model = DebertaV2Model.from_pretrained(classifier, config=config)
    assert model.config == config
    ids = make_ids(2, 5)
    assert_close(plain(ids).last_hidden_state, model(ids).last_hidden_state)


def test_the_embedded_model_fills_masks() -> None:
    model = model_class("DebertaV2", "ForMaskedLM").from_pretrained(None)
    assert model(torch.tensor([[1, 9, 2]])).logits.shape == (1, 3, model.config.vocab_size)
