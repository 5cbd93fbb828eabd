"""Replaced-token detection: gradients that do not mix, samples that repeat, losses by hand."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spacy_deberta import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from spacy_deberta.checkpoints import open_checkpoint, save_encoder
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.pretraining.data import Batch, Counts
from spacy_deberta.training.pretraining.models import MaskedLM
from spacy_deberta.training.pretraining.objectives import build_objective
from spacy_deberta.training.pretraining.pair import Discriminator, Pair, keep_layers
from spacy_deberta.training.pretraining.rtd import (
    ReplacedTokenObjective,
    draw_uniform,
    sample_pieces,
)
from spacy_deberta.training.pretraining.settings import ModelSettings, ObjectiveSettings
from tests.tiny import tiny_config
from tests.training.pretraining.toy_batches import counts_of, split_batch, toy_batch

RTD = ObjectiveSettings(kind="rtd")
GENERATOR_TABLE = "generator.encoder.embeddings.pieces.weight"
DELTA = "discriminator.encoder.embeddings.pieces.delta.weight"

both_heads = pytest.mark.parametrize("biased", [False, True], ids=["emd", "plain"])


def make_objective(tokenizer: UnigramTokenizer, *, biased: bool = False, **changes: Any) -> Any:
    torch.manual_seed(0)
    shape = {**tiny_config(position_biased_input=biased).to_dict(), "model_type": "deberta-v2"}
    model = ModelSettings(shape=shape)
    return build_objective(replace(RTD, **changes), model, tokenizer)


def gradients(
    objective: Any, batches: Iterable[Batch], counts: Counts, *losses: str
) -> dict[str, Any]:
    """By parameter, of all losses or some; only what they reach."""
    objective.module.zero_grad()
    for batch in batches:
        found = objective.losses(batch, counts)
        sum(found[name] for name in losses or found).backward()
    named = objective.module.named_parameters()
    return {n: p.grad.clone() for n, p in named if p.grad is not None}


def move_delta(objective: Any) -> None:
    """As after some training: a difference that is not zero."""
    delta = objective.module.discriminator.encoder.embeddings.pieces.delta.weight
    with torch.no_grad():
        delta.add_(0.05 * torch.randn(delta.shape, generator=torch.Generator().manual_seed(1)))


@both_heads
def test_neither_loss_reaches_the_other_model(
    tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    batch = toy_batch(tiny_tokenizer)
    for name in ("generator", "discriminator"):
        found = gradients(objective, [batch], counts_of(batch), name)
        all_of_it = {n for n, _ in objective.module.named_parameters() if n.startswith(name)}
        assert found.keys() == all_of_it
    assert found[DELTA].any()


def test_the_discriminator_reads_the_sum_of_both_tables(tiny_tokenizer: UnigramTokenizer) -> None:
    objective = make_objective(tiny_tokenizer)
    pair = objective.module
    shared, source = pair.discriminator.encoder.embeddings.pieces, pair.generator.encoder.embeddings
    assert not shared.delta.weight.any()
    ids = torch.arange(40)
    assert torch.equal(shared(ids), source.pieces(ids))
    move_delta(objective)
    with torch.no_grad():
        source.pieces.weight.mul_(2)
    expected = source.pieces.weight + shared.delta.weight
    assert torch.equal(shared(ids), expected[ids])
    assert torch.equal(shared.weight, expected)
    assert [n for n, _ in shared.named_parameters()] == ["delta.weight"]


def test_parts_are_the_generator_and_the_discriminator(tiny_tokenizer: UnigramTokenizer) -> None:
    objective = make_objective(tiny_tokenizer)
    generator, discriminator = objective.parts()
    assert (generator.name, discriminator.name) == ("generator", "discriminator")
    assert generator.rate == discriminator.rate == 1.0
    together = dict(generator.parameters) | dict(discriminator.parameters)
    assert together == dict(objective.module.named_parameters())
    assert GENERATOR_TABLE in dict(generator.parameters)
    assert DELTA in dict(discriminator.parameters)


@both_heads
def test_losses_are_those_of_a_plain_loop(tiny_tokenizer: UnigramTokenizer, biased: bool) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased, rtd_weight=7.0)
    move_delta(objective)
    pair, batch = objective.module, toy_batch(tiny_tokenizer)
    uniform = draw_uniform(batch)
    generated, judged, n_replaced, start = [], [], 0, 0
    for length in batch.lengths:
        mine = [
            number for number, place in enumerate(batch.targets) if start <= place < start + length
        ]
        text = torch.from_numpy(batch.pieces[start : start + length].copy())
        places = [int(batch.targets[number]) - start for number in mine]
        for number, place in zip(mine, places, strict=True):
            text[place] = int(batch.labels[number])
        hidden, filled = text.clone(), text.clone()
        hidden[places] = tiny_tokenizer.mask_id
        logits = pair.generator(hidden, [length], torch.tensor(places, dtype=torch.int64))
        for row, number, place in zip(logits, mine, places, strict=True):
            generated.append(-row.log_softmax(-1)[batch.labels[number]].item())
            reached = row.softmax(-1).detach().double().cumsum(0)
            filled[place] = int((reached <= uniform[number]).sum())
        verdicts = pair.discriminator(filled, [length])
        for place in range(1, length - 1):
            sign = 1 if filled[place] != text[place] else -1
            n_replaced += sign == 1
            judged.append(-torch.nn.functional.logsigmoid(sign * verdicts[place]).item())
        start += length
    found = objective.losses(batch, counts_of(batch))
    assert 0 < n_replaced <= len(batch.targets)
    assert found["generator"].item() == pytest.approx(np.mean(generated), rel=1e-5)
    assert found["discriminator"].item() == pytest.approx(7.0 * np.mean(judged), rel=1e-5)


@both_heads
def test_micro_batches_add_up_to_the_batch(tiny_tokenizer: UnigramTokenizer, biased: bool) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    move_delta(objective)
    batch = toy_batch(tiny_tokenizer)
    counts = counts_of(batch)
    whole = gradients(objective, [batch], counts)
    parts = gradients(objective, split_batch(batch), counts)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_batch_gives_the_same_losses_every_time(tiny_tokenizer: UnigramTokenizer) -> None:
    """Whatever was drawn in between: no generator of random numbers has a say."""
    objective = make_objective(tiny_tokenizer)
    batch = toy_batch(tiny_tokenizer)
    first = objective.losses(batch, counts_of(batch))
    torch.rand(5)
    second = objective.losses(batch, counts_of(batch))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_draws_depend_on_text_and_targets_of_their_own_sequence_alone(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    batch = toy_batch(tiny_tokenizer)
    whole = draw_uniform(batch)
    assert np.array_equal(np.concatenate([draw_uniform(p) for p in split_batch(batch)]), whole)
    assert ((whole >= 0) & (whole < 1)).all()
    assert len(set(whole)) == len(whole)
    shown = batch.pieces.copy()
    shown[batch.targets] = batch.labels  # what a masking shows there does not matter
    assert np.array_equal(draw_uniform(replace(batch, pieces=shown)), whole)
    back = slice(None, None, -1)
    turned = replace(batch, targets=batch.targets[back], labels=batch.labels[back])
    assert np.array_equal(draw_uniform(turned)[back], whole)
    fewer = replace(batch, targets=batch.targets[1:], labels=batch.labels[1:])
    first = int((batch.targets < batch.lengths[0]).sum())
    assert np.array_equal(draw_uniform(fewer)[first - 1 :], whole[first:])
    assert not np.isin(draw_uniform(fewer)[: first - 1], whole).any()


def test_samples_have_the_probabilities_of_the_logits() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    uniform = torch.from_numpy((np.arange(20_000) + 0.5) / 20_000)
    for temperature in (1.0, 2.0):
        samples = sample_pieces(probabilities.log().expand(20_000, -1), uniform, temperature)
        shares = samples.bincount(minlength=5) / 20_000
        expected = probabilities ** (1 / temperature)
        torch.testing.assert_close(shares, expected / expected.sum(), rtol=0, atol=1e-3)
    ends = sample_pieces(probabilities.log().expand(2, -1), torch.tensor([0.0, 1 - 2**-53]), 1.0)
    assert ends.tolist() == [0, 4]
    never = torch.tensor([[-torch.inf, 0.0]])
    assert sample_pieces(never, torch.zeros(1, dtype=torch.float64), 1.0).tolist() == [1]


def test_samples_of_broken_logits_are_pieces() -> None:
    """So that the loss shows the fault, and the trainer's guard skips the step."""
    logits = torch.full((3, 5), torch.nan)
    samples = sample_pieces(logits, torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64), 1.0)
    assert ((samples >= 0) & (samples < 5)).all()


def test_what_the_generator_guesses_right_counts_as_original(
    tiny_tokenizer: UnigramTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = make_objective(tiny_tokenizer)
    batch = toy_batch(tiny_tokenizer)
    right = torch.from_numpy(batch.labels)
    monkeypatch.setattr(
        "spacy_deberta.training.pretraining.rtd.sample_pieces", lambda *_: right.clone()
    )
    scores = objective.evaluate([batch])
    assert scores["rtd_replaced"] == 0.0


def test_under_autocast_losses_stay_float32_and_near(tiny_tokenizer: UnigramTokenizer) -> None:
    objective = make_objective(tiny_tokenizer)
    batch = toy_batch(tiny_tokenizer)
    wide = objective.losses(batch, counts_of(batch))
    with torch.autocast("cpu", torch.bfloat16):
        narrow = objective.losses(batch, counts_of(batch))
    for name, loss in narrow.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, wide[name], rtol=0.05, atol=0.05)


def test_a_batch_without_targets_teaches_the_discriminator_alone(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    objective = make_objective(tiny_tokenizer)
    batch = toy_batch(tiny_tokenizer, mask_share=0.0)
    found = gradients(objective, [batch], counts_of(batch))
    assert found[DELTA].any()
    assert not any(g.any() for name, g in found.items() if name.startswith("generator."))


@both_heads
def test_thirty_steps_lower_both_losses(tiny_tokenizer: UnigramTokenizer, biased: bool) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    optimizer = torch.optim.AdamW(objective.module.parameters(), 1e-2)
    held_out = [toy_batch(tiny_tokenizer, (14,) * 16, seed=99)]
    before = objective.evaluate(held_out)
    for step in range(30):
        batch = toy_batch(tiny_tokenizer, (14,) * 8, seed=step)
        gradients(objective, [batch], counts_of(batch))
        optimizer.step()
    after = objective.evaluate(held_out)
    assert after["mlm_nats"] < 0.75 * before["mlm_nats"]
    assert after["rtd_nats"] < 0.9 * before["rtd_nats"]
    assert objective.module.discriminator.encoder.embeddings.pieces.delta.weight.any()


@pytest.mark.slow
@both_heads
def test_the_discriminator_finds_pieces_from_anywhere(
    tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    """At this temperature every piece is as likely as any other: the share alone is no answer."""
    objective = make_objective(tiny_tokenizer, biased=biased, sampling_temperature=100.0)
    optimizer = torch.optim.AdamW(objective.module.parameters(), 5e-3)
    for step in range(100):
        batch = toy_batch(tiny_tokenizer, (14,) * 16, seed=step)
        gradients(objective, [batch], counts_of(batch))
        optimizer.step()
    scores = objective.evaluate([toy_batch(tiny_tokenizer, (14,) * 32, seed=999)])
    share = scores["rtd_replaced"]
    guessing = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert scores["rtd_nats"] < 0.5 * guessing
    assert scores["rtd_f1"] > 0.8


@both_heads
def test_saved_models_give_the_same_logits(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased)
    move_delta(objective)
    objective.save(tmp_path)
    pair, batch = objective.module.eval(), toy_batch(tiny_tokenizer)
    pieces, length = torch.from_numpy(batch.pieces[:9]), [9]
    assert open_checkpoint(tmp_path).tasks == ("encoder", "replaced-token-detection")
    found = DebertaV2ForReplacedTokenDetection.from_pretrained(tmp_path)
    torch.testing.assert_close(found(pieces[None]).logits[0], pair.discriminator(pieces, length))
    generator = DebertaV2ForMaskedLM.from_pretrained(tmp_path / "generator")
    assert generator.mask_decoder == ("plain" if biased else "emd")
    places = torch.tensor([1, 4, 5])
    asked = torch.zeros(1, 9).index_fill(1, places, 1)
    logits = generator(pieces[None], prediction_mask=asked).logits[0, places]
    torch.testing.assert_close(logits, pair.generator(pieces, length, places))


@both_heads
def test_a_saved_pair_is_trained_on(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, biased: bool
) -> None:
    objective = make_objective(tiny_tokenizer, biased=biased, generator_layers=2)
    move_delta(objective)
    objective.save(tmp_path)
    again = build_objective(RTD, ModelSettings(init=str(tmp_path)), tiny_tokenizer)
    start = objective.module.state_dict()
    for name, tensor in again.module.state_dict().items():
        torch.testing.assert_close(tensor, start[name], msg=name)
    batch = toy_batch(tiny_tokenizer)
    first, second = (o.losses(batch, counts_of(batch)) for o in (objective, again))
    for name, loss in first.items():
        torch.testing.assert_close(second[name], loss)


def save_masked_lm(folder: Path, tokenizer: UnigramTokenizer) -> MaskedLM:
    torch.manual_seed(3)
    model = MaskedLM(DebertaEncoder(tiny_config(num_hidden_layers=4)))
    model.save(folder, tokenizer)
    return model


def test_a_masked_lm_becomes_generator_and_discriminator(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """The generator takes every second layer and the head; only the other's head is new."""
    model = save_masked_lm(tmp_path, tiny_tokenizer)
    settings = ModelSettings(init=str(tmp_path), fresh_head=True)
    pair: Any = build_objective(RTD, settings, tiny_tokenizer).module
    names = ["output.dense.weight", "attention.query.weight"]
    for name in names:
        for layer, original in enumerate((1, 3)):
            assert torch.equal(
                pair.generator.encoder.layers[layer].get_parameter(name),
                model.encoder.layers[original].get_parameter(name),
            )
    assert pair.generator.encoder.config.num_hidden_layers == 2
    assert torch.equal(pair.generator.head.dense.weight, model.head.dense.weight)
    assert torch.equal(pair.generator.decoder.positions, model.decoder.positions)
    assert len(pair.discriminator.encoder.layers) == 4
    assert not pair.discriminator.encoder.embeddings.pieces.delta.weight.any()
    full = replace(RTD, generator_layers=4)
    pair = build_objective(full, settings, tiny_tokenizer).module
    for name, tensor in pair.generator.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_generator_and_discriminator_of_one_file_are_trained_apart(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    save_masked_lm(tmp_path, tiny_tokenizer)
    settings = ModelSettings(init=str(tmp_path), fresh_head=True)
    pair: Any = build_objective(replace(RTD, generator_layers=4), settings, tiny_tokenizer).module
    name = "encoder.layers.0.output.dense.weight"
    before = pair.discriminator.get_parameter(name).clone()
    with torch.no_grad():
        pair.generator.get_parameter(name).add_(1.0)
    assert torch.equal(pair.discriminator.get_parameter(name), before)


def test_starts_that_cannot_work_are_refused(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    save_masked_lm(tmp_path, tiny_tokenizer)
    message = r"model\.safetensors: holds no replaced-token head; this file can do: encoder, fill-"
    with pytest.raises(CheckpointError, match=message):
        build_objective(RTD, ModelSettings(init=str(tmp_path)), tiny_tokenizer)
    deep, settings = (
        replace(RTD, generator_layers=5),
        ModelSettings(init=str(tmp_path), fresh_head=True),
    )
    with pytest.raises(ConfigError, match=r"objective\.generator_layers=5: expected at most 4"):
        build_objective(deep, settings, tiny_tokenizer)
    small = MaskedLM(DebertaEncoder(tiny_config(vocab_size=400)))
    with pytest.raises(ConfigError, match=r"table of pieces has shape \(512, 16\), the generator"):
        Pair(small, Discriminator(DebertaEncoder(tiny_config())))


def test_an_encoder_alone_becomes_a_pair_with_new_heads(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    save_encoder(DebertaEncoder(tiny_config()), tmp_path)
    settings = ModelSettings(init=str(tmp_path), fresh_head=True)
    objective = build_objective(RTD, settings, tiny_tokenizer)
    assert isinstance(objective, ReplacedTokenObjective)
    batch = toy_batch(tiny_tokenizer)
    assert all(loss.isfinite() for loss in objective.losses(batch, counts_of(batch)).values())


@pytest.mark.parametrize(
    ("n_layers", "chosen"), [(1, [5]), (2, [2, 5]), (3, [1, 3, 5]), (4, [0, 2, 3, 5])]
)
def test_layers_are_kept_at_even_distances_up_to_the_last(n_layers: int, chosen: list[int]) -> None:
    encoder = DebertaEncoder(tiny_config(num_hidden_layers=6))
    layers = list(encoder.layers)
    keep_layers(encoder, n_layers)
    assert [layers.index(layer) for layer in encoder.layers] == chosen
    assert encoder.config.num_hidden_layers == n_layers
