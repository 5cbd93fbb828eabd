"""Masked LM as an objective: what the loss is, that batches may be cut, starts and ends."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_deberta import DebertaV2ForMaskedLM
from spacy_deberta.checkpoints import (
    load_encoder,
    load_masked_lm_head,
    open_checkpoint,
    read_config,
    save_encoder,
)
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.heads import EnhancedMaskDecoder
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.pretraining.data import Counts
from spacy_deberta.training.pretraining.models import MaskedLM, choose_tokenizer, read_shape
from spacy_deberta.training.pretraining.objectives import (
    MaskedLMObjective,
    Objective,
    build_objective,
)
from spacy_deberta.training.pretraining.settings import (
    DataSettings,
    ModelSettings,
    ObjectiveSettings,
)
from tests.tiny import tiny_config
from tests.training.pretraining.toy_batches import counts_of, split_batch, toy_batch

SHAPES = {"emd": False, "plain": True}  # whether positions are in the input
both_heads = pytest.mark.parametrize("biased", SHAPES.values(), ids=SHAPES.keys())
MLM = ObjectiveSettings(kind="mlm")


def make_objective(tokenizer: UnigramTokenizer, *, biased: bool, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = tiny_config(position_biased_input=biased)
    return MaskedLMObjective(MaskedLM(DebertaEncoder(config)).train(), tokenizer)


def gradients(objective: Objective, batches: Iterable[Any], counts: Counts) -> dict[str, Any]:
    objective.module.zero_grad()
    for batch in batches:
        sum(objective.losses(batch, counts).values()).backward()
    return {n: p.grad.clone() for n, p in objective.module.named_parameters() if p.grad is not None}


@both_heads
def test_the_loss_is_the_mean_over_all_targets_sequence_by_sequence(
    tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    batch = toy_batch(tiny_tokenizer)
    losses: list[float] = []
    for part in split_batch(batch):
        pieces = torch.from_numpy(part.pieces)
        model = objective.module
        states = model.encoder(pieces, part.lengths, hidden_states=True).hidden_states
        for target, label in zip(part.targets, part.labels, strict=True):
            row = states[-1][[target]]
            if not biased:
                place = torch.tensor([target])
                row = model.decoder(model.encoder, states[-2], part.lengths, place)
            logits = model.head(row, model.encoder.embeddings.pieces.weight)[0]
            losses.append(-logits.log_softmax(-1)[label].item())
    found = objective.losses(batch, counts_of(batch))
    assert found.keys() == {"mlm"}
    assert found["mlm"].item() == pytest.approx(np.mean(losses), rel=1e-5)


@both_heads
def test_micro_batches_add_up_to_the_batch(tiny_tokenizer: UnigramTokenizer, biased: bool) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    batch = toy_batch(tiny_tokenizer)
    counts = counts_of(batch)
    whole = gradients(objective, [batch], counts)
    parts = gradients(objective, split_batch(batch), counts)
    assert whole.keys() == parts.keys() == dict(objective.module.named_parameters()).keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_batch_without_targets_adds_nothing(tiny_tokenizer: UnigramTokenizer) -> None:
    objective = make_objective(tiny_tokenizer, biased=False)
    batch = toy_batch(tiny_tokenizer, mask_share=0.0)
    found = gradients(objective, [batch], Counts(pieces=31, targets=0, sequences=4))
    assert all(not gradient.any() for gradient in found.values())


@both_heads
def test_every_parameter_is_in_exactly_one_part(
    tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    (part,) = objective.parts()
    assert dict(part.parameters) == dict(objective.module.named_parameters())
    assert (part.name, part.rate) == ("mlm", 1.0)


@both_heads
def test_thirty_steps_lower_the_loss_and_raise_the_accuracy(
    tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    optimizer = torch.optim.AdamW(objective.module.parameters(), 1e-2)
    held_out = [toy_batch(tiny_tokenizer, (14,) * 16, seed=99)]
    before = objective.evaluate(held_out)
    for step in range(30):
        batch = toy_batch(tiny_tokenizer, (14,) * 8, seed=step)
        gradients(objective, [batch], counts_of(batch))
        optimizer.step()
    after = objective.evaluate(held_out)
    assert after["mlm_nats"] < 0.7 * before["mlm_nats"]
    assert after["mlm_accuracy"] > before["mlm_accuracy"]
    assert after["mlm_perplexity"] == pytest.approx(math.exp(after["mlm_nats"]))


def test_evaluating_changes_neither_weights_nor_mode(tiny_tokenizer: UnigramTokenizer) -> None:
    objective = make_objective(tiny_tokenizer, biased=False)
    start = {name: tensor.clone() for name, tensor in objective.module.state_dict().items()}
    batch = toy_batch(tiny_tokenizer)
    whole, parts = objective.evaluate([batch]), objective.evaluate(split_batch(batch))
    assert parts == pytest.approx(whole, rel=1e-5)
    assert objective.module.training
    for name, tensor in objective.module.state_dict().items():
        assert torch.equal(tensor, start[name])


@both_heads
def test_a_saved_model_gives_the_same_logits(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    objective.save(tmp_path)
    batch = toy_batch(tiny_tokenizer)
    arguments = torch.from_numpy(batch.pieces), batch.lengths, torch.from_numpy(batch.targets)
    loaded = MaskedLM.from_checkpoint(open_checkpoint(tmp_path), fresh_head=False)
    logits = objective.module.eval()(*arguments)
    assert torch.equal(loaded(*arguments), logits)
    assert "fill-mask" in open_checkpoint(tmp_path).tasks
    load_masked_lm_head(tmp_path, load_encoder(tmp_path))
    config = read_config(tmp_path)
    assert (config["legacy"], config["tie_word_embeddings"]) == (False, False)
    public = DebertaV2ForMaskedLM.from_pretrained(tmp_path)
    assert public.mask_decoder == ("plain" if biased else "emd")
    first = torch.from_numpy(batch.pieces[: batch.lengths[0]])[None]
    mine = batch.targets[batch.targets < batch.lengths[0]]
    asked = torch.zeros_like(first).index_fill(1, torch.from_numpy(mine), 1)
    found = public(first, prediction_mask=asked).logits[0, mine]
    torch.testing.assert_close(found, logits[: len(mine)])
    choose_tokenizer(ModelSettings(init=str(tmp_path)), DataSettings(text=("x",)))


def write_shape(folder: Path, **changes: Any) -> str:
    content = {**tiny_config().to_dict(), **changes}
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return str(folder)


def test_a_random_start_has_the_shape_of_its_config_and_repeats(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    settings = ModelSettings(config=write_shape(tmp_path), shape={"num_hidden_layers": 3})
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        objective = build_objective(MLM, settings, tiny_tokenizer)
        assert objective.module.training
        states.append(objective.module.state_dict())
    weight = "encoder.layers.2.output.dense.weight"
    assert torch.equal(states[0][weight], states[1][weight])
    assert not torch.equal(states[0][weight], states[2][weight])
    assert states[0]["encoder.embeddings.pieces.weight"].shape == (512, 16)


def test_a_shape_without_a_vocabulary_takes_the_tokenizer_s(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    shape = {"hidden_size": 16, "num_attention_heads": 2, "relative_attention": True}
    config = read_shape(ModelSettings(shape=shape), tiny_tokenizer)
    assert config.vocab_size % 64 == 0
    assert 0 <= config.vocab_size - tiny_tokenizer.n_pieces < 64


def test_dropout_is_the_run_s_and_the_config_keeps_its_own(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    shape = write_shape(tmp_path, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    for share in (0.0, 0.3):
        settings = ModelSettings(config=shape, dropout=share)
        module: Any = build_objective(MLM, settings, tiny_tokenizer).module
        assert {p.p for p in module.modules() if isinstance(p, torch.nn.Dropout)} == {share}
        assert {layer.attention.dropout for layer in module.encoder.layers} == {share}
        assert module.encoder.config.hidden_dropout_prob == 0.1


def test_a_checkpoint_is_trained_on_with_its_head_and_its_positions(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    make_objective(tiny_tokenizer, biased=False).save(tmp_path)
    start = make_objective(tiny_tokenizer, biased=False).module.state_dict()
    again = build_objective(MLM, ModelSettings(init=str(tmp_path)), tiny_tokenizer)
    assert again.module.training
    for name, tensor in again.module.state_dict().items():
        assert torch.equal(tensor, start[name])
    fresh = build_objective(MLM, ModelSettings(init=str(tmp_path), fresh_head=True), tiny_tokenizer)
    changed = {n for n, t in fresh.module.state_dict().items() if not torch.equal(t, start[n])}
    assert changed == {"head.dense.weight", "decoder.positions"}


def test_the_head_of_transformers_is_trained_on_where_it_fits(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    config = tiny_config(position_biased_input=True)
    public = DebertaV2ForMaskedLM(config, mask_decoder="legacy")
    public.save_pretrained(tmp_path)
    built = build_objective(MLM, ModelSettings(init=str(tmp_path)), tiny_tokenizer)
    assert torch.equal(built.module.state_dict()["head.dense.weight"], public.head.dense.weight)


def test_a_checkpoint_without_a_head_needs_a_fresh_one(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    save_encoder(DebertaEncoder(tiny_config()), tmp_path)
    message = (
        r"model\.safetensors: holds no masked-LM head and no table of absolute positions for the "
        r"mask decoder; this file can do: encoder\. Set model\.fresh_head = true"
    )
    with pytest.raises(CheckpointError, match=message):
        build_objective(MLM, ModelSettings(init=str(tmp_path)), tiny_tokenizer)
    fresh = ModelSettings(init=str(tmp_path), fresh_head=True)
    built: Any = build_objective(MLM, fresh, tiny_tokenizer)
    assert isinstance(built.module.decoder, EnhancedMaskDecoder)


def test_a_model_smaller_than_the_vocabulary_is_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    message = rf"vocab_size=100, but the tokenizer has {tiny_tokenizer.n_pieces} pieces"
    small = ModelSettings(config=write_shape(tmp_path, vocab_size=100))
    with pytest.raises(ConfigError, match=message):
        build_objective(MLM, small, tiny_tokenizer)
    save_encoder(DebertaEncoder(tiny_config(vocab_size=100)), tmp_path)
    with pytest.raises(ConfigError, match=message):
        build_objective(MLM, ModelSettings(init=str(tmp_path), fresh_head=True), tiny_tokenizer)


def test_settings_that_name_nothing_to_start_from_are_refused(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    with pytest.raises(ConfigError, match=r"model\.init='random' without model\.config and"):
        build_objective(MLM, ModelSettings(), tiny_tokenizer)
    with pytest.raises(ConfigError, match=r"objective\.kind='clm': is unknown; supported: mlm, "):
        build_objective(replace(MLM, kind="clm"), ModelSettings(), tiny_tokenizer)
    with pytest.raises(ConfigError, match=r"data\.tokenizer=None with model\.init='random'"):
        choose_tokenizer(ModelSettings(), DataSettings(text=("x",)))
