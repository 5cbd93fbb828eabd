"""The whole encoder: what may change an output, and what must not."""

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import PATHS, DebertaEncoder, EncoderInputs
from spacy_deberta.errors import AlignmentError, ConfigError, PathError
from tests.tiny import tiny_config, tiny_v1_config

TOLERANCE = 1e-5


def make_encoder(attention: str = "auto", **changes: object) -> DebertaEncoder:
    """Weights large enough that attention is far from uniform."""
    torch.manual_seed(3)
    settings = {"vocab_size": 40, "initializer_range": 0.3, **changes}
    return DebertaEncoder(tiny_config(**settings), attention).eval()


def make_batch(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 40, (length,), generator=generator) for length in lengths]


def encode(encoder: DebertaEncoder, batch: Sequence[Tensor]) -> list[Tensor]:
    lengths = [len(sequence) for sequence in batch]
    pieces = torch.cat(list(batch)) if batch else torch.zeros(0, dtype=torch.int64)
    return list(encoder(pieces, lengths).last_hidden_state.split(lengths))


ENCODER = make_encoder()


@settings(max_examples=25)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_batch_mates_and_their_order_change_no_output(lengths: list[int], rng: object) -> None:
    batch = make_batch(lengths)
    with torch.inference_mode():
        together = encode(ENCODER, batch)
        order = list(range(len(batch)))
        rng.shuffle(order)  # type: ignore[attr-defined]
        shuffled = encode(ENCODER, [batch[number] for number in order])
        for place, number in enumerate(order):
            (alone,) = encode(ENCODER, [batch[number]])
            torch.testing.assert_close(together[number], alone, atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(shuffled[place], alone, atol=TOLERANCE, rtol=0)


def test_no_sequence_sees_another() -> None:
    pieces = make_batch([4, 6, 5])
    first = encode(ENCODER, pieces)
    changed = encode(ENCODER, [pieces[0], torch.full((6,), 7), pieces[2]])
    assert not torch.equal(first[1], changed[1])
    torch.testing.assert_close(first[0], changed[0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(first[2], changed[2], atol=TOLERANCE, rtol=0)


def test_word_order_matters() -> None:
    (pieces,) = make_batch([5])
    (forward,), (backward,) = encode(ENCODER, [pieces]), encode(ENCODER, [pieces.flip(0)])
    assert (forward - backward.flip(0)).abs().max() > 0.01


@pytest.mark.parametrize("biased", [False, True], ids=["relative", "absolute"])
def test_all_paths_give_the_same_hidden_states(biased: bool) -> None:
    batch = make_batch([3, 9, 4])
    outputs = [
        torch.cat(encode(make_encoder(path, position_biased_input=biased), batch)) for path in PATHS
    ]
    for output in outputs:
        torch.testing.assert_close(output, outputs[0], atol=TOLERANCE, rtol=0)


def test_the_same_call_gives_the_same_bits() -> None:
    batch = make_batch([3, 9, 4])
    assert torch.equal(torch.cat(encode(ENCODER, batch)), torch.cat(encode(ENCODER, batch)))
    again = torch.cat(encode(make_encoder(), batch))
    assert torch.equal(again, torch.cat(encode(ENCODER, batch)))


def test_dropout_acts_in_training_only() -> None:
    encoder = make_encoder(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    batch = make_batch([6, 4])
    evaluated = torch.cat(encode(encoder, batch))
    assert torch.equal(evaluated, torch.cat(encode(encoder, batch)))
    encoder.train()
    assert not torch.equal(torch.cat(encode(encoder, batch)), torch.cat(encode(encoder, batch)))
    encoder.eval()
    assert torch.equal(evaluated, torch.cat(encode(encoder, batch)))


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_each_dropout_has_its_own_setting(name: str) -> None:
    encoder = make_encoder(**{name: 0.5}).train()
    batch = make_batch([6])
    assert not torch.equal(encode(encoder, batch)[0], encode(encoder, batch)[0])


def test_hidden_states_are_the_embeddings_and_every_layer() -> None:
    batch = make_batch([3, 7, 2])
    pieces, lengths = torch.cat(batch), [3, 7, 2]
    assert ENCODER(pieces, lengths).hidden_states is None
    output = ENCODER(pieces, lengths, hidden_states=True)
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    embedded = ENCODER.embeddings(pieces, EncoderInputs())
    torch.testing.assert_close(output.hidden_states[0], embedded)
    short = DebertaEncoder(tiny_config(vocab_size=40, num_hidden_layers=1)).eval()
    short.load_state_dict({k: v for k, v in ENCODER.state_dict().items() if "layers.1." not in k})
    torch.testing.assert_close(
        short(pieces, lengths).last_hidden_state, output.hidden_states[1], atol=TOLERANCE, rtol=0
    )


def test_an_empty_batch_gives_no_rows() -> None:
    output = ENCODER(torch.zeros(0, dtype=torch.int64), [], hidden_states=True)
    assert output.last_hidden_state.shape == (0, 16)
    assert [state.shape for state in output.hidden_states] == [(0, 16)] * 3
    output.last_hidden_state.sum().backward()


def test_sequences_longer_than_any_table_are_encoded() -> None:
    """Without absolute positions the table clips: max_position_embeddings is no limit."""
    (hidden,) = encode(ENCODER, make_batch([150]))
    assert hidden.shape == (150, 16)
    assert hidden.isfinite().all()


def test_distances_past_the_farthest_bucket_read_its_row() -> None:
    """The first piece and one far behind it: two far distances are one distance."""
    encoder = make_encoder(num_hidden_layers=1, max_relative_positions=8)
    pieces = torch.tensor([5] + [9] * 30)
    (hidden,) = encode(encoder, [pieces])
    rows = encoder.table(31)
    assert rows.index[0] == 0
    assert torch.equal(rows.index[:23], torch.zeros(23, dtype=torch.int64))
    (short,) = encode(encoder, [pieces[:20]])
    assert (hidden[0] - short[0]).abs().max() > 1e-4  # it sees more, but at no new distance


def test_too_long_for_absolute_positions_is_refused() -> None:
    encoder = make_encoder(position_biased_input=True, max_position_embeddings=16)
    assert encode(encoder, make_batch([16]))[0].shape == (16, 16)
    message = (
        r"^a sequence has 17 pieces, but this encoder adds absolute positions and knows "
        r"max_position_embeddings=16 of them; cut the text into windows of at most that many"
    )
    with pytest.raises(ConfigError, match=message):
        encode(encoder, make_batch([3, 17]))


@pytest.mark.parametrize("lengths", [[2, 2], [5, 0], []])
def test_lengths_that_do_not_add_up_are_refused(lengths: list[int]) -> None:
    message = rf"^lengths: {len(lengths)} sequences of {sum(lengths)} pieces in all, found 5 pieces"
    with pytest.raises(AlignmentError, match=message):
        ENCODER(torch.ones(5, dtype=torch.int64), lengths)


def test_unknown_attention_is_refused_at_building() -> None:
    with pytest.raises(PathError, match="attention='eager' is unknown"):
        make_encoder("eager")


@pytest.mark.parametrize("biased", [False, True], ids=["relative", "absolute"])
def test_every_parameter_gets_a_gradient(biased: bool) -> None:
    encoder = make_encoder(
        position_biased_input=biased,
        share_att_key=False,
        embedding_size=8,
        type_vocab_size=2,
    )
    hidden = torch.cat(encode(encoder, make_batch([5, 9, 2])))
    (hidden * torch.randn_like(hidden)).sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_copies_compute_the_same() -> None:
    batch = make_batch([4, 2])
    expected = torch.cat(encode(ENCODER, batch))
    for other in (copy.deepcopy(ENCODER), pickle.loads(pickle.dumps(ENCODER))):
        assert torch.equal(torch.cat(encode(other, batch)), expected)


def test_attentions_are_those_of_each_sequence_in_the_callers_order() -> None:
    batch = make_batch([3, 7, 2])
    pieces, lengths = torch.cat(batch), [3, 7, 2]
    assert ENCODER(pieces, lengths).attentions is None
    output = ENCODER(pieces, lengths, attentions=True)
    torch.testing.assert_close(
        output.last_hidden_state, torch.cat(encode(ENCODER, batch)), atol=TOLERANCE, rtol=0
    )
    assert [[tuple(square.shape) for square in layer] for layer in output.attentions] == [
        [(2, 3, 3), (2, 7, 7), (2, 2, 2)]
    ] * 2
    for number, sequence in enumerate(batch):
        alone = ENCODER(sequence, [len(sequence)], attentions=True)
        for layer, square in zip(output.attentions, alone.attentions, strict=True):
            torch.testing.assert_close(layer[number], square[0], atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(square[0].sum(-1), torch.ones(2, len(sequence)))


def test_attentions_in_training_are_those_before_dropout() -> None:
    encoder = make_encoder(attention_probs_dropout_prob=0.5).train()
    (pieces,) = make_batch([6])
    output = encoder(pieces, [6], attentions=True)
    torch.testing.assert_close(output.attentions[0][0].sum(-1), torch.ones(2, 6))
    again = encoder(pieces, [6], attentions=True)
    assert not torch.equal(output.last_hidden_state, again.last_hidden_state)


def test_attentions_of_a_path_that_has_none_are_refused() -> None:
    pieces = torch.ones(3, dtype=torch.int64)
    assert make_encoder("plain")(pieces, [3], attentions=True).attentions is not None
    with pytest.raises(PathError, match=r"^attention='skew' forms no attention probabilities\."):
        make_encoder("skew")(pieces, [3], attentions=True)


@pytest.mark.parametrize("kernel", [0, 3], ids=["attention", "convolution"])
def test_gradient_checkpointing_changes_no_gradient(kernel: int) -> None:
    """Nor, with the same seed, what dropout drops; it computes every layer twice."""
    encoder = make_encoder(
        hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3, conv_kernel_size=kernel
    ).train()
    pieces, lengths = torch.cat(make_batch([6, 4, 6])), [6, 4, 6]
    calls: list[object] = []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda *call: calls.append(call))
    found = []
    for switch in (False, True):
        encoder.gradient_checkpointing = switch
        encoder.zero_grad()
        calls.clear()
        torch.manual_seed(9)
        output = encoder(pieces, lengths, hidden_states=True)
        output.last_hidden_state.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in encoder.named_parameters()}
        found.append((list(output.hidden_states), gradients))
        assert len(calls) == (4 if switch else 2)
    torch.testing.assert_close(found[1], found[0])
    calls.clear()
    encoder.eval()(pieces, lengths).last_hidden_state.sum().backward()
    assert len(calls) == 2


def test_a_grown_vocabulary_keeps_its_rows() -> None:
    encoder = make_encoder(initializer_range=0.05, pad_token_id=1)
    before, expected = encoder.embeddings.pieces.weight.clone(), encode(encoder, make_batch([5]))
    encoder.resize_pieces(4000)
    table = encoder.embeddings.pieces
    assert (encoder.config.vocab_size, table.num_embeddings, table.padding_idx) == (4000, 4000, 1)
    assert torch.equal(table.weight[:40], before)
    assert not table.weight[1].any()
    assert table.weight[40:].std().item() == pytest.approx(0.05, rel=0.05)
    assert table.weight.requires_grad
    assert torch.equal(encode(encoder, make_batch([5]))[0], expected[0])
    encode(encoder, [torch.tensor([3999])])[0].sum().backward()
    assert table.weight.grad[3999].any()


def test_a_cut_vocabulary_keeps_its_first_rows_and_its_padding_piece() -> None:
    encoder = make_encoder(pad_token_id=10).half().requires_grad_(False)
    before = encoder.embeddings.pieces.weight.clone()
    encoder.resize_pieces(11)
    assert torch.equal(encoder.embeddings.pieces.weight, before[:11])
    assert not encoder.embeddings.pieces.weight.requires_grad
    with pytest.raises(ConfigError, match="pad_token_id=10 is not supported; expected below"):
        encoder.resize_pieces(10)
    assert encoder.config.vocab_size == encoder.embeddings.pieces.num_embeddings == 11


@pytest.mark.parametrize("version", [tiny_config, tiny_v1_config], ids=["v2", "v1"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("path", sorted(PATHS))
def test_scores_whose_unscaled_products_overflow_stay_finite(
    path: str, dtype: torch.dtype, version: Callable[..., DebertaConfig]
) -> None:
    """`transformers` gives NaN here in its second version: products of 1e5, scores of 2e4."""
    torch.manual_seed(0)
    config = version(vocab_size=40, hidden_size=64, num_attention_heads=1, num_hidden_layers=1)
    encoder = DebertaEncoder(config, path)
    attention = encoder.layers[0].attention
    with torch.no_grad():
        encoder.table.rows.weight.fill_(0.625)
        encoder.embeddings.norm.weight.zero_()
        encoder.embeddings.norm.bias.fill_(0.625)
        if encoder.config.norm_rel_ebd == "layer_norm":
            encoder.table.norm.weight.zero_()
            encoder.table.norm.bias.fill_(0.625)
        for name, parameter in attention.named_parameters():
            parameter.fill_(0.0 if "bias" in name or "value" in name else 1.0)
    query = attention.query(torch.full((1, 64), 0.625))
    assert (query @ query.T).item() > torch.finfo(torch.float16).max
    output = encoder.to(dtype)(torch.arange(1, 8), [4, 3]).last_hidden_state
    assert output.isfinite().all()
    output.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("version", [tiny_config, tiny_v1_config], ids=["v2", "v1"])
def test_only_the_second_version_has_a_bias_on_keys(version: Callable[..., DebertaConfig]) -> None:
    config = version(share_att_key=False)
    names = {name for name, _ in DebertaEncoder(config).layers[0].attention.named_parameters()}
    with_bias = {name.removesuffix(".bias") for name in names if name.endswith("bias")}
    expected = {"query", "value", "position_query"}
    assert with_bias == (expected | {"key", "position_key"} if config.key_bias else expected)
