"""The rectangle form: the packed form's numbers, from a graph that fits every batch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from tests.tiny import tiny_config, tiny_v1_config

CONFIGS: dict[str, DebertaConfig] = {
    "convolution": tiny_config(vocab_size=40, conv_kernel_size=3, max_relative_positions=12),
    "v1": tiny_v1_config(
        vocab_size=40, max_position_embeddings=24, position_biased_input=True, type_vocab_size=2
    ),
    "no-relative": tiny_config(vocab_size=40, relative_attention=False),
}


def make_encoder(config: DebertaConfig) -> DebertaEncoder:
    torch.manual_seed(4)
    encoder = DebertaEncoder(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    return encoder


def make_batch(n_sequences: int, width: int) -> tuple[Tensor, Tensor, list[int]]:
    """Ids and mask of a batch whose longest sequence fills the width."""
    generator = torch.Generator().manual_seed(n_sequences)
    lengths = torch.randint(1, width + 1, (n_sequences,), generator=generator)
    lengths[0] = width
    mask = torch.arange(width) < lengths[:, None]
    ids = torch.randint(1, 40, mask.shape, generator=generator)
    return ids, mask, lengths.tolist()


class Exported(nn.Module):
    """What a program would be exported of."""

    def __init__(self, encoder: DebertaEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Any, Any]:
        output = self.encoder.rectangle(ids, mask, hidden_states=True, attentions=True)
        return output.last_hidden_state, output.hidden_states, output.attentions


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_exported_program_fits_every_batch(config: DebertaConfig) -> None:
    """Also numbers of sequences and lengths (beyond the farthest distance) it was not traced at."""
    encoder = make_encoder(config)
    ids, mask, _ = make_batch(2, 7)
    count, width = Dim("count"), Dim("width", max=24)
    shapes = {"ids": {0: count, 1: width}, "mask": {0: count, 1: width}}
    program = export(Exported(encoder), (ids, mask), dynamic_shapes=shapes).module()
    for n_sequences, length in ((2, 7), (1, 3), (5, 24)):
        ids, mask, lengths = make_batch(n_sequences, length)
        last, states, attentions = program(ids, mask)
        expected = encoder(ids[mask], lengths, hidden_states=True, attentions=True)
        torch.testing.assert_close(last[mask], expected.last_hidden_state, atol=1e-6, rtol=0)
        for state, packed in zip(states, expected.hidden_states, strict=True):
            torch.testing.assert_close(state[mask], packed, atol=1e-6, rtol=0)
            assert not state[~mask].any()
        for layer, packed in zip(attentions, expected.attentions, strict=True):
            torch.testing.assert_close(layer[0], packed[0], atol=1e-6, rtol=0)


def test_padding_may_be_anywhere_and_hold_anything() -> None:
    encoder = make_encoder(CONFIGS["convolution"])
    ids, _, _ = make_batch(3, 9)
    keep = torch.ones(3, 9, dtype=torch.bool)
    keep[0, :4] = keep[1, 3:5] = keep[1, 8] = False
    found = encoder.rectangle(ids, keep).last_hidden_state
    assert torch.equal(found, encoder.rectangle(ids * keep, keep).last_hidden_state)
    bare = encoder(ids[0, 4:], [5]).last_hidden_state
    torch.testing.assert_close(found[0, 4:], bare, atol=1e-6, rtol=0)
    assert not found[~keep].any()


def test_a_row_without_pieces_is_zeros_and_trains_nothing() -> None:
    encoder = make_encoder(CONFIGS["convolution"])
    ids, keep, _ = make_batch(2, 5)
    keep[1] = False
    output = encoder.rectangle(ids, keep, attentions=True)
    assert not output.last_hidden_state[1].any()
    assert not any(layer[1].any() for layer in output.attentions)
    output.last_hidden_state.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_the_map_of_distances_is_there_when_weights_are_filled_in_later() -> None:
    """Modules are built on the meta device, and their tensors assigned."""
    encoder = make_encoder(CONFIGS["convolution"])
    with torch.device("meta"):
        other = DebertaEncoder(encoder.config)
    other.load_state_dict(encoder.state_dict(), assign=True)
    ids, keep, _ = make_batch(2, 6)
    found = other.eval().rectangle(ids, keep).last_hidden_state
    assert torch.equal(found, encoder.rectangle(ids, keep).last_hidden_state)
