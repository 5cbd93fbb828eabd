"""The enhanced mask decoder against its formula, and what may change its rows."""

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.heads import EnhancedMaskDecoder
from tests.oracle import table_row
from tests.oracle_heads import LayerShape, decode_masked
from tests.tiny import tiny_config

TOLERANCE = 1e-5
LENGTHS = (5, 1, 12, 3)
FIRST_VERSION = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 16,
    "pos_att_type": "c2p|p2c",
    "relative_attention": True,
    "position_biased_input": False,
}
CONFIGS = {
    "shared": tiny_config(vocab_size=40),
    "first version": DebertaConfig(**FIRST_VERSION),
    "unshared": tiny_config(vocab_size=40, share_att_key=False),
    "clipped": tiny_config(vocab_size=40, position_buckets=-1, max_relative_positions=6),
    "table as it is": tiny_config(vocab_size=40, norm_rel_ebd="none"),
    "c2p": tiny_config(vocab_size=40, pos_att_type="c2p"),
    "p2c": tiny_config(vocab_size=40, pos_att_type="p2c", share_att_key=False),
    "no terms": tiny_config(vocab_size=40, pos_att_type=()),
    "no table": tiny_config(vocab_size=40, relative_attention=False),
    "convolution": tiny_config(vocab_size=40, conv_kernel_size=3),
    "one layer": tiny_config(vocab_size=40, num_hidden_layers=1),
}


def make_models(config: DebertaConfig) -> tuple[DebertaEncoder, EnhancedMaskDecoder]:
    """Weights large enough that every term shows."""
    torch.manual_seed(5)
    encoder, decoder = DebertaEncoder(config).eval(), EnhancedMaskDecoder(config).eval()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        nn.init.normal_(parameter, std=0.3)
    return encoder, decoder


def make_rows(n_rows: int = sum(LENGTHS), seed: int = 0) -> Tensor:
    return torch.randn(n_rows, 16, generator=torch.Generator().manual_seed(seed))


def expected_rows(
    encoder: DebertaEncoder, decoder: EnhancedMaskDecoder, hidden: Tensor, places: Sequence[int]
) -> Tensor:
    """All rows of one sequence by the oracle; differentiable in the parameters."""
    config = encoder.config
    buckets = config.position_buckets if config.position_buckets > 0 else None
    far = config.max_relative_positions
    shape = LayerShape(
        n_heads=config.num_attention_heads,
        scale=(config.hidden_size / config.num_attention_heads * (1 + len(config.pos_att_type)))
        ** -0.5,
        row_of={
            r: table_row(r, buckets=buckets, max_distance=far)
            for r in range(1 - len(hidden), len(hidden))
        },
        has_c2p=config.relative_attention and "c2p" in config.pos_att_type,
        has_p2c=config.relative_attention and "p2c" in config.pos_att_type,
        eps=config.layer_norm_eps,
    )
    table = None
    if encoder.table is not None:
        table = encoder.table.norm(encoder.table.rows.weight)
    layer = dict(encoder.layers[-1].named_parameters())
    positions = torch.stack([decoder.positions[place] for place in places])
    return decode_masked(hidden, positions, table, layer, shape)


def expected_batch(encoder: DebertaEncoder, decoder: EnhancedMaskDecoder, hidden: Tensor) -> Tensor:
    return torch.cat(
        [expected_rows(encoder, decoder, rows, range(len(rows))) for rows in hidden.split(LENGTHS)]
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_follow_the_formula(name: str) -> None:
    encoder, decoder = make_models(CONFIGS[name])
    hidden = make_rows()
    rows = torch.tensor([20, 6, 6, 5, 0, 13, 2, 17])
    with torch.no_grad():
        expected = expected_batch(encoder, decoder, hidden)
        decoded = decoder(encoder, hidden, LENGTHS, rows)
    torch.testing.assert_close(decoded, expected[rows], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["shared", "first version", "unshared"])
def test_gradients_follow_the_formula(name: str) -> None:
    encoder, decoder = make_models(CONFIGS[name])
    hidden, same = make_rows().requires_grad_(), make_rows().requires_grad_()
    rows = torch.tensor([3, 9, 11, 20])
    direction = make_rows(len(rows), seed=1)
    (expected_batch(encoder, decoder, same)[rows] * direction).sum().backward()
    modules = nn.ModuleList([encoder, decoder])
    expected = {name: p.grad for name, p in modules.named_parameters() if p.grad is not None}
    modules.zero_grad()
    (decoder(encoder, hidden, LENGTHS, rows) * direction).sum().backward()
    found = {name: p.grad for name, p in modules.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hidden.grad, same.grad, atol=1e-4, rtol=1e-4)


def test_a_row_does_not_depend_on_the_others_asked_for() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden = make_rows()
    everything = decoder(encoder, hidden, LENGTHS, torch.arange(sum(LENGTHS)))
    for row in (0, 4, 5, 17, 20):
        alone = decoder(encoder, hidden, LENGTHS, torch.tensor([row]))
        torch.testing.assert_close(alone[0], everything[row], atol=TOLERANCE, rtol=0)


def test_a_row_does_not_depend_on_batch_mates() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden = make_rows()
    together = decoder(encoder, hidden, LENGTHS, torch.arange(sum(LENGTHS)))
    for rows, expected in zip(hidden.split(LENGTHS), together.split(LENGTHS), strict=True):
        alone = decoder(encoder, rows, [len(rows)], torch.arange(len(rows)))
        torch.testing.assert_close(alone, expected, atol=TOLERANCE, rtol=0)


def test_positions_can_be_given() -> None:
    """They choose rows of the table of positions; distances stay those of the places."""
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden, given = make_rows(6), [9, 3, 3, 40, 0, 63]
    decoded = decoder(encoder, hidden, [6], torch.tensor([5, 1, 3]), torch.tensor(given))
    expected = expected_rows(encoder, decoder, hidden, given)
    torch.testing.assert_close(decoded, expected[[5, 1, 3]], atol=TOLERANCE, rtol=0)


def test_positions_and_word_order_matter() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden, rows = make_rows(4), torch.tensor([1])
    plain = decoder(encoder, hidden, [4], rows)
    shifted = decoder(encoder, hidden, [4], rows, torch.arange(4) + 1)
    assert (plain - shifted).abs().max() > 0.01
    flipped = decoder(encoder, hidden.flip(0), [4], torch.tensor([2]), torch.arange(4).flip(0))
    assert (plain - flipped).abs().max() > 0.01


def test_no_row_attends_to_a_hole() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden, rows = make_rows(6), torch.tensor([0, 4])
    holes = torch.tensor([False, False, True, False, False, True])
    other = hidden.clone()
    other[holes] = 7.0
    first = decoder(encoder, hidden, [6], rows, holes=holes)
    second = decoder(encoder, other, [6], rows, holes=holes)
    torch.testing.assert_close(first, second, atol=TOLERANCE, rtol=0)
    assert not torch.allclose(first, decoder(encoder, hidden, [6], rows), atol=0.01)
    short = decoder(encoder, hidden[:5], [5], rows, holes=holes[:5])
    torch.testing.assert_close(first, short, atol=TOLERANCE, rtol=0)


def test_no_rows_give_none_on_the_graph() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden = make_rows().requires_grad_()
    decoded = decoder(encoder, hidden, LENGTHS, torch.zeros(0, dtype=torch.int64))
    assert decoded.shape == (0, 16)
    decoded.sum().backward()
    assert not hidden.grad.any()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_rectangle_gives_the_same_rows(name: str) -> None:
    encoder, decoder = make_models(CONFIGS[name])
    keep = torch.tensor([[True] * 7, [True, False] * 3 + [True], [True] * 5 + [False] * 2])
    hidden = make_rows(21).view(3, 7, 16)
    positions = torch.arange(21).view(3, 7) % 13
    packed = keep.clone()
    packed[1] = True  # holes
    decoded = decoder(
        encoder,
        hidden[packed],
        [7, 7, 5],
        torch.arange(19),
        positions[packed],
        holes=~keep[packed],
    )
    rectangle = decoder.rectangle(encoder, hidden, keep, positions)
    real = keep[packed]
    torch.testing.assert_close(rectangle[keep], decoded[real], atol=TOLERANCE, rtol=0)
    assert not rectangle[~keep].any()


def test_a_rectangle_numbers_its_columns() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden, keep = make_rows(12).view(2, 6, 16), torch.ones(2, 6, dtype=torch.bool)
    columns = torch.arange(6).expand(2, -1)
    torch.testing.assert_close(
        decoder.rectangle(encoder, hidden, keep),
        decoder.rectangle(encoder, hidden, keep, columns),
    )


def test_a_sequence_of_padding_is_zeros_in_a_rectangle() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden = make_rows(12).view(2, 6, 16).requires_grad_()
    keep = torch.tensor([[True] * 6, [False] * 6])
    decoded = decoder.rectangle(encoder, hidden, keep)
    assert not decoded[1].any()
    decoded.sum().backward()
    assert hidden.grad.isfinite().all()
    assert not hidden.grad[1].any()


@pytest.mark.slow
def test_a_rectangle_can_be_exported_for_every_size() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])

    class Decoding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def forward(self, hidden: Tensor, keep: Tensor) -> Tensor:
            return self.decoder.rectangle(self.encoder, hidden, keep)

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = ({0: batch, 1: length}, {0: batch, 1: length})
    example = (make_rows(14).view(2, 7, 16), torch.ones(2, 7, dtype=torch.bool))
    exported = torch.export.export(Decoding(), example, dynamic_shapes=shapes).module()
    for n_sequences, n_pieces in ((3, 5), (2, 40), (5, 2)):
        hidden = make_rows(n_sequences * n_pieces).view(n_sequences, n_pieces, 16)
        keep = torch.arange(n_pieces) < torch.arange(1, n_sequences + 1)[:, None]
        torch.testing.assert_close(
            exported(hidden, keep), decoder.rectangle(encoder, hidden, keep), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_dropout_acts_in_training_only(name: str) -> None:
    config = tiny_config(vocab_size=40, **{name: 0.5})
    encoder, decoder = make_models(config)
    hidden, rows = make_rows(), torch.tensor([2, 8])

    def decode() -> Any:
        return decoder(encoder, hidden, LENGTHS, rows)

    assert torch.equal(decode(), decode())
    encoder.train()
    assert not torch.equal(decode(), decode())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_where_unscaled_scores_would_not(dtype: torch.dtype) -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden, rows = make_rows(), torch.arange(sum(LENGTHS))
    largest = torch.finfo(torch.float16).max
    with torch.no_grad():
        encoder.table.norm.weight.mul_(14_000)
        attention = encoder.layers[-1].attention
        query = attention.heads(attention.query(hidden))
        far = attention.heads(attention.key(encoder.table(12).rows))
        unscaled = (query @ far.transpose(-1, -2)).abs().max()
        assert largest < unscaled < largest / 2 / attention.scale
        decoded = decoder.to(dtype)(encoder.to(dtype), hidden.to(dtype), LENGTHS, rows)
    assert decoded.isfinite().all()


@pytest.mark.parametrize("place", [64, 70])
def test_a_row_beyond_the_table_of_positions_is_refused(place: int) -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    hidden = make_rows(80)
    for positions in (None, torch.arange(80).flip(0)):  # what is not asked for needs no position
        decoder(encoder, hidden, [80], torch.tensor([63]), positions)
    message = (
        rf"^a piece to predict is at position {place}, but the mask decoder knows "
        r"max_position_embeddings=64 of them, from 0; cut the text into windows"
    )
    with pytest.raises(ConfigError, match=message):
        decoder(encoder, hidden, [80], torch.tensor([3, place]))
    with pytest.raises(ConfigError, match=message):
        decoder(encoder, hidden[:1], [1], torch.tensor([0]), torch.tensor([place]))


def test_a_negative_position_is_refused() -> None:
    encoder, decoder = make_models(CONFIGS["shared"])
    with pytest.raises(ConfigError, match=r"^a piece to predict is at position -2, "):
        decoder(encoder, make_rows(1), [1], torch.tensor([0]), torch.tensor([-2]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_biased_input": True}, "^position_biased_input=True: .* expected False"),
        ({"embedding_size": 8}, "^embedding_size=8: .* expected hidden_size=16"),
    ],
)
def test_a_model_that_was_not_trained_with_it_has_none(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        EnhancedMaskDecoder(tiny_config(**changes))


def test_it_holds_the_table_of_positions_alone() -> None:
    _, decoder = make_models(CONFIGS["shared"])
    assert {name: tuple(p.shape) for name, p in decoder.state_dict().items()} == {
        "positions": (64, 16)
    }
    for other in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        assert torch.equal(other.positions, decoder.positions)
