"""Heads beside encoders to files and back, and several modules at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spacy_deberta.checkpoints import (
    GENERATOR_FILE,
    Checkpoint,
    damaged_values,
    encoder_tensors,
    fill_head,
    fill_modules,
    load_encoder,
    load_masked_lm_head,
    open_checkpoint,
    save_encoder,
    state_tensors,
)
from spacy_deberta.checkpoints.files import write_config, write_weights
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError
from spacy_deberta.heads import SequenceHead, SpanHead
from tests.checkpoints.encoders import (
    FILE,
    QUERY,
    WORDS,
    assert_same,
    make_encoder,
    make_head,
    rewrite,
)
from tests.tiny import tiny_config, tiny_v1_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_encoder(make_encoder(), tmp_path)
    return tmp_path


# --- the masked-LM head --------------------------------------------------------------------------


def test_a_head_is_saved_and_loaded_beside_its_encoder(tmp_path: Path) -> None:
    encoder = make_encoder(embedding_size=8)
    head = make_head(encoder)
    save_encoder(encoder, tmp_path, head=head)
    assert_same(load_encoder(tmp_path), encoder)
    loaded = load_masked_lm_head(tmp_path, encoder)
    assert_same(loaded, head)
    assert not loaded.training
    hidden, table = torch.randn(3, 16), encoder.embeddings.pieces.weight
    torch.testing.assert_close(loaded(hidden, table), head(hidden, table))


def test_head_logits_are_the_table_times_a_transformed_row() -> None:
    encoder = make_encoder()
    head, hidden = make_head(encoder), torch.randn(3, 16)
    table = encoder.embeddings.pieces.weight
    rows = torch.nn.functional.gelu(hidden @ head.dense.weight.T + head.dense.bias)
    rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, keepdim=True, correction=0)).sqrt()
    rows = rows * head.norm.weight + head.norm.bias
    torch.testing.assert_close(head(hidden, table), rows @ table.T + head.bias)


def test_a_file_without_a_head_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_masked_lm_head(folder, make_encoder())
    assert str(caught.value) == (
        f"{folder / FILE}: holds no masked-LM head ('lm_predictions.lm_head.dense.weight'); this "
        "file can do: encoder. Use a checkpoint saved together with its head."
    )


def test_the_head_of_a_generator_beside_a_discriminator_is_not_that_encoders(
    folder: Path,
) -> None:
    encoder = make_encoder()
    heads = {"mlm": make_head(encoder).state_dict()}
    tensors = state_tensors(encoder.config, encoder.state_dict(), heads)
    torch.save(tensors, folder / GENERATOR_FILE)
    with pytest.raises(CheckpointError, match=rf"^{folder / FILE}: holds no masked-LM head"):
        load_masked_lm_head(folder, load_encoder(folder))


def test_half_a_head_is_refused(tmp_path: Path) -> None:
    encoder = make_encoder()
    save_encoder(encoder, tmp_path, head=make_head(encoder))

    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors["lm_predictions.lm_head.bias"]
        tensors["lm_predictions.lm_head.dense.bias"] = torch.ones(5)

    with pytest.raises(CheckpointError) as caught:
        load_masked_lm_head(rewrite(tmp_path, damage), encoder)
    assert "'lm_predictions.lm_head.bias' is missing" in str(caught.value)
    assert "dense.bias' has shape (5,), expected (16,)" in str(caught.value)


def test_tensors_are_listed_under_the_files_names() -> None:
    names = set(encoder_tensors(make_encoder()))
    assert WORDS in names
    assert len(names) == len(make_encoder().state_dict())


# --- several modules at once ---------------------------------------------------------------------


def save_model(folder: Path, **heads: torch.nn.Module) -> Checkpoint:
    encoder = make_encoder()
    states = {kind: head.state_dict() for kind, head in heads.items()}
    write_config(folder, encoder.config.to_dict())
    write_weights(folder, state_tensors(encoder.config, encoder.state_dict(), states))
    return open_checkpoint(folder)


def make_classifier(**changes: Any) -> SequenceHead:
    return SequenceHead(tiny_config(vocab_size=30, **changes))


def test_encoder_and_head_are_filled_together(tmp_path: Path) -> None:
    saved = make_classifier()
    checkpoint = save_model(tmp_path, pooler_classifier=saved)
    with torch.device("meta"):
        modules = {
            "encoder": DebertaEncoder(checkpoint.config),
            "pooler_classifier": SequenceHead(checkpoint.config),
        }
    fill_modules(modules, checkpoint)
    assert_same(modules["encoder"], make_encoder())
    assert_same(modules["pooler_classifier"], saved)
    assert not any(module.training for module in modules.values())


def test_faults_of_encoder_and_head_stand_in_one_message_and_nothing_is_filled(
    tmp_path: Path,
) -> None:
    head = make_classifier(num_labels=3)
    torch.nn.init.constant_(head.pooler.dense.bias, float("inf"))
    save_model(tmp_path, pooler_classifier=head)
    checkpoint = open_checkpoint(rewrite(tmp_path, lambda tensors: tensors.pop(f"deberta.{QUERY}")))
    encoder, classifier = make_encoder(), make_classifier()
    before = [parameter.clone() for parameter in classifier.parameters()]
    with pytest.raises(CheckpointError) as caught:
        fill_modules({"encoder": encoder, "pooler_classifier": classifier}, checkpoint)
    message = str(caught.value)
    assert f"'{QUERY}' is missing" in message
    assert "'classifier.weight' has shape (3, 16), expected (2, 16) from config.json" in message
    assert "'pooler.dense.bias' holds NaN or infinite values" in message
    assert all(map(torch.equal, before, classifier.parameters()))


def test_a_head_that_is_not_there_names_the_tasks_of_the_file(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path, pooler_classifier=make_classifier())
    message = (
        r"holds no question-answering head \('qa_outputs.weight'\); this file can do: encoder, "
        r"sequence-classification\. Use"
    )
    with pytest.raises(CheckpointError, match=message):
        fill_head(SpanHead(checkpoint.config), checkpoint, "qa")


def test_tensors_that_a_head_does_not_have_are_refused_with_it_alone(tmp_path: Path) -> None:
    save_model(tmp_path, pooler_classifier=make_classifier())
    name = "pooler.norm.weight"
    rewrite(tmp_path, lambda tensors: tensors.update({name: torch.ones(16)}))
    assert_same(load_encoder(tmp_path), make_encoder())
    with pytest.raises(CheckpointError, match=rf"'{name}' has no place in the model"):
        fill_head(make_classifier(), open_checkpoint(tmp_path), "pooler_classifier")


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_values_of_every_part_of_a_fused_matrix_are_looked_at(part: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = DebertaEncoder(tiny_v1_config(vocab_size=30))
    with torch.no_grad():
        encoder.layers[1].attention.get_submodule(part).weight[3, 2] = float("nan")
    save_encoder(encoder, tmp_path)
    fault = "'encoder.layer.1.attention.self.in_proj.weight' holds NaN or infinite values"
    with pytest.raises(CheckpointError, match=rf": {fault}\. Use"):
        load_encoder(tmp_path)
    assert damaged_values(open_checkpoint(tmp_path)) == [fault]
