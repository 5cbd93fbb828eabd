"""What every public class does: padding, outputs, gradients, copies."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError, DataError, PathError
from spacy_deberta.modeling import (
    DebertaForSequenceClassification,
    DebertaV2ForMaskedLM,
    DebertaV2ForMultipleChoice,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
)
from tests.modeling.models import (
    ALL,
    IDS,
    assert_close,
    columns,
    make_batch,
    make_config,
    make_ids,
    make_labels,
    make_model,
    model_class,
    tensors_of,
)

each_class = pytest.mark.parametrize(("family", "task"), ALL, ids=IDS)

# --- padding -------------------------------------------------------------------------------------

TOKENS = make_model("DebertaV2", "ForTokenClassification", conv_kernel_size=3)
MASKED = make_model("DebertaV2", "ForMaskedLM")
BIASED = make_model("Deberta", "Model", position_biased_input=True, type_vocab_size=2)


@settings(max_examples=25)
@given(
    st.sampled_from([TOKENS, MASKED, BIASED]),
    st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=4),
)
def test_batch_mates_and_padding_change_no_output(model: Any, masks: list[list[bool]]) -> None:
    """Alone and without its padding, at the same absolute positions."""
    ids, mask = make_ids(len(masks), 9), torch.tensor(masks)
    with torch.inference_mode():
        together = model(ids, mask)[0]
        assert not together[~mask].any()
        for row, keep in enumerate(masks):
            if any(keep):
                place = columns(keep)
                alone = model(
                    ids[row : row + 1, place],
                    mask[row : row + 1, place],
                    position_ids=place[None],
                )[0]
                assert_close(together[row, place], alone[0])


def test_all_ones_are_no_mask() -> None:
    ids = make_ids(2, 5)
    assert torch.equal(TOKENS(ids, torch.ones_like(ids)).logits, TOKENS(ids).logits)


def test_left_padding_keeps_the_columns_as_positions() -> None:
    ids, mask = make_ids(1, 5), torch.tensor([[0, 0, 1, 1, 1]])
    shifted = BIASED(ids[:, 2:], position_ids=torch.tensor([[2, 3, 4]])).last_hidden_state
    assert_close(BIASED(ids, mask).last_hidden_state[:, 2:], shifted)
    first = BIASED(ids[:, 2:]).last_hidden_state
    assert (shifted - first).abs().max() > 1e-3
    decoded = MASKED(ids[:, 2:], position_ids=torch.tensor([[2, 3, 4]])).logits
    assert_close(MASKED(ids, mask).logits[:, 2:], decoded)
    assert (decoded - MASKED(ids[:, 2:]).logits).abs().max() > 1e-3


@pytest.mark.parametrize("task", ["ForSequenceClassification", "ForReplacedTokenDetection"])
def test_the_first_real_piece_stands_for_the_sequence(task: str) -> None:
    model = make_model("DebertaV2", task)
    ids, mask = make_ids(1, 6), torch.tensor([[0, 0, 1, 1, 1, 1]])
    expected = model(ids[:, 2:]).logits
    found = model(ids, mask).logits
    assert_close(found if task == "ForSequenceClassification" else found[:, 2:], expected)


@each_class
def test_a_batch_of_padding_gives_finite_outputs(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    batch["attention_mask"] = torch.zeros_like(batch["attention_mask"])
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    assert all(tensor.isfinite().all() for tensor in tensors_of(output))
    labels = make_labels(model, batch)
    if labels:
        loss = model(**batch, **labels).loss
        assert loss.isfinite()
        loss.backward()


def test_a_batch_without_sequences_gives_no_rows() -> None:
    output = TOKENS(make_ids(0, 4), output_attentions=True)
    assert output.logits.shape == (0, 4, 3)
    assert output.attentions[0].shape == (0, 2, 4, 4)


# --- outputs -------------------------------------------------------------------------------------


@each_class
def test_hidden_states_and_attentions_come_when_asked(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    mask = batch["attention_mask"].flatten(0, -2).bool()
    count, width = mask.shape
    assert [state.shape for state in output.hidden_states] == [(count, width, 16)] * 3
    assert [square.shape for square in output.attentions] == [(count, 2, width, width)] * 2
    for state in output.hidden_states:
        assert not state[~mask].any()
    for square in output.attentions:
        assert not square.transpose(1, 2)[~mask].any()
        assert not square.permute(0, 3, 1, 2)[~mask].any()
        assert_close(square.sum(-1).transpose(1, 2)[mask], torch.ones(int(mask.sum()), 2))
    plain = model(**batch)
    assert plain.hidden_states is None
    assert plain.attentions is None
    assert_close(plain[0], output[0])


def test_the_last_hidden_state_is_the_encoders() -> None:
    model, ids = make_model("DebertaV2", "Model"), make_ids(2, 5)
    expected = model.encoder(ids.flatten(), [5, 5]).last_hidden_state
    output = model(ids, output_hidden_states=True)
    assert torch.equal(output.last_hidden_state.flatten(0, 1), expected)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


def test_attentions_of_a_fast_path_are_refused() -> None:
    model = make_model("DebertaV2", "Model", "skew")
    with pytest.raises(PathError, match="attention='skew' forms no attention probabilities"):
        model(make_ids(1, 3), output_attentions=True)


@each_class
def test_embeddings_can_stand_for_ids(family: str, task: str) -> None:
    model, batch = make_model(family, task, embedding_size=8), make_batch(task)
    expected = model(**batch)[0]
    embeddings = model.get_input_embeddings()(batch.pop("input_ids"))
    assert_close(model(inputs_embeds=embeddings, **batch)[0], expected)


def test_types_matter_where_they_have_rows() -> None:
    ids, types = make_ids(1, 4), torch.tensor([[0, 0, 1, 1]])
    plain = BIASED(ids).last_hidden_state
    assert torch.equal(BIASED(ids, token_type_ids=types * 0).last_hidden_state, plain)
    assert (BIASED(ids, token_type_ids=types).last_hidden_state - plain).abs().max() > 1e-3
    without = make_model("DebertaV2", "Model")
    plain = without(ids).last_hidden_state
    assert torch.equal(without(ids, token_type_ids=types + 5).last_hidden_state, plain)


def test_one_row_of_positions_serves_all_sequences() -> None:
    ids, place = make_ids(2, 4), torch.tensor([[3, 1, 2, 0]])
    expected = BIASED(ids, position_ids=place.expand(2, -1)).last_hidden_state
    assert torch.equal(BIASED(ids, position_ids=place).last_hidden_state, expected)


# --- losses and gradients ------------------------------------------------------------------------


@each_class
def test_losses_reach_every_parameter_but_what_no_output_reads(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    labels = make_labels(model, batch)
    output = model(**batch, **labels)
    loss = output.loss if labels else output.last_hidden_state.square().sum()
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@each_class
def test_logits_do_not_depend_on_labels(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    labels = make_labels(model, batch)
    asked = model(**batch, **labels)
    expected = model(**batch)
    place = 1 if labels else 0
    found = asked[place]
    if task == "ForMaskedLM":
        wanted = (labels["labels"] >= 0)[..., None]
        assert_close(found, expected[0] * wanted)
    else:
        assert_close(found, expected[0])


@pytest.mark.parametrize("task", ["ForTokenClassification", "ForMaskedLM"])
def test_labels_of_padding_are_ignored(task: str) -> None:
    model, batch = make_model("DebertaV2", task), make_batch(task)
    labels = make_labels(model, batch)["labels"]
    ignored = labels.masked_fill(batch["attention_mask"] == 0, -1)
    assert torch.equal(model(**batch, labels=labels).loss, model(**batch, labels=ignored).loss)


def test_answers_in_padding_are_ignored_and_padding_takes_no_share() -> None:
    model = make_model("DebertaV2", "ForQuestionAnswering")
    ids, mask = make_ids(1, 6), torch.tensor([[1, 1, 1, 0, 0, 0]])
    two, five = torch.tensor([2]), torch.tensor([5])
    alone = model(ids[:, :3], start_positions=two, end_positions=two).loss
    assert_close(model(ids, mask, start_positions=two, end_positions=two).loss, alone)
    assert model(ids, mask, start_positions=five, end_positions=five).loss.item() == 0.0


def test_labels_of_another_shape_are_refused() -> None:
    ids = make_ids(2, 4)
    with pytest.raises(DataError, match=r"^labels: found shape \(2,\), expected \(2, 4\)"):
        TOKENS(ids, labels=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match=r"^labels: found shape \(2,\), expected \(2, 4\)"):
        MASKED(ids, labels=torch.zeros(2, dtype=torch.int64))


def test_choices_need_a_dimension_of_their_own() -> None:
    model = make_model("DebertaV2", "ForMultipleChoice")
    with pytest.raises(DataError, match=r"^input_ids: found shape \(2, 4\), expected 3 dimensions"):
        model(make_ids(2, 4))
    ids = make_ids(3, 2, 4)
    logits = model(ids).logits
    assert logits.shape == (3, 2)
    assert_close(model(ids[1:2]).logits, logits[1:2])


def test_checkpointing_changes_no_gradient() -> None:
    batch = make_batch("ForTokenClassification")
    gradients = []
    for enable in (False, True):
        model = make_model("DebertaV2", "ForTokenClassification").train()
        if enable:
            model.gradient_checkpointing_enable()
        model(**batch, labels=make_labels(model, batch)["labels"]).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert_close(recomputed, plain)
    model.gradient_checkpointing_disable()
    assert not model.encoder.gradient_checkpointing


# --- the object ----------------------------------------------------------------------------------


@each_class
def test_copies_pickles_and_states_give_the_same_model(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    expected = model(**batch)[0]
    fresh = model_class(family, task)(model.config).eval()
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fresh):
        assert torch.equal(other(**batch)[0], expected)
        assert other.config == model.config


@each_class
def test_new_models_start_as_the_originals_do(family: str, task: str) -> None:
    torch.manual_seed(0)
    model = model_class(family, task)(make_config(family, hidden_size=128, initializer_range=0.02))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (0.0 if name.endswith("bias") else 1.0)).all(), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert parameter.mean().item() == pytest.approx(0, abs=0.005), name
            assert parameter.std().item() == pytest.approx(0.02, abs=0.005), name
    assert not model.get_input_embeddings().weight[0].any()


def test_the_second_familys_names_are_subclasses() -> None:
    assert issubclass(DebertaV2ForTokenClassification, DebertaV2PreTrainedModel)
    assert isinstance(TOKENS, DebertaV2PreTrainedModel)


def test_a_config_of_the_other_family_is_refused() -> None:
    message = (
        r"^config: found a DebertaV2Config \(model_type 'deberta-v2'\), expected a DebertaConfig "
        r"for DebertaForSequenceClassification\. Use the DebertaV2 class for the same task\."
    )
    with pytest.raises(ConfigError, match=message):
        DebertaForSequenceClassification(make_config("DebertaV2"))
    with pytest.raises(ConfigError, match="Use the Deberta class for the same task"):
        DebertaV2Model(make_config("Deberta"))


def test_models_tell_their_size_type_and_place() -> None:
    model = make_model("DebertaV2", "Model")
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())
    model.encoder.embeddings.requires_grad_(requires_grad=False)
    frozen = sum(p.numel() for p in model.encoder.embeddings.parameters())
    assert model.num_parameters() - model.num_parameters(only_trainable=True) == frozen
    assert model.device == torch.device("cpu")
    assert model.half().dtype == torch.float16
    assert isinstance(model.encoder, DebertaEncoder)
    assert isinstance(model.get_input_embeddings(), nn.Embedding)


@each_class
def test_a_resized_vocabulary_keeps_its_pieces(family: str, task: str) -> None:
    model, batch = make_model(family, task), make_batch(task)
    expected = model(**batch)[0]
    table = model.resize_token_embeddings(50)
    assert table is model.get_input_embeddings()
    assert table.weight.shape == (50, 16)
    assert model.config.vocab_size == 50
    found = model(**batch)[0]
    assert_close(found[..., :40] if task == "ForMaskedLM" else found, expected)
    grown = batch["input_ids"].clone()
    grown[..., 0] = 49
    model(**{**batch, "input_ids": grown})
    model.resize_token_embeddings(40)
    assert_close(model(**batch)[0], expected)


def test_a_choice_of_one_class_serves_training_as_in_a_loop() -> None:
    """Ten steps of a usual loop bring the loss down."""
    model = DebertaV2ForMultipleChoice(make_config("DebertaV2")).train()
    batch = make_batch("ForMultipleChoice")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(**batch, labels=torch.tensor([0, 1])).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_masked_models_share_their_table_with_the_head() -> None:
    model = DebertaV2ForMaskedLM(make_config("DebertaV2"))
    assert sum(name.endswith("pieces.weight") for name in model.state_dict()) == 1
    assert all("decoder.weight" not in name for name in model.state_dict())
