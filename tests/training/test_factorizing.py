"""A narrower piece table behind a projection."""

import pytest
import torch

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import ConfigError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.factorizing import count_pieces, factorize_pieces
from tests.tiny import tiny_config

LENGTHS = [9, 4]


def wide_encoder(rank: int = 16) -> DebertaEncoder:
    """Sixteen wide, with absolute positions; all rows lie in a space of `rank` dimensions."""
    torch.manual_seed(0)
    encoder = DebertaEncoder(tiny_config(position_biased_input=True)).eval()
    space = torch.linalg.qr(torch.randn(16, rank)).Q
    with torch.no_grad():
        assert encoder.embeddings.positions is not None
        for table in (encoder.embeddings.pieces, encoder.embeddings.positions):
            table.weight.copy_(table.weight @ space @ space.T)
    return encoder


def states(encoder: DebertaEncoder) -> torch.Tensor:
    with torch.no_grad():
        return encoder(torch.arange(1, 14), LENGTHS).last_hidden_state


def test_rows_that_lie_in_a_subspace_are_kept_exactly() -> None:
    encoder = wide_encoder(rank=6)
    narrowed = factorize_pieces(encoder, torch.ones(512), 6)
    assert narrowed.embeddings.pieces.weight.shape == (512, 6)
    torch.testing.assert_close(states(narrowed), states(encoder), atol=1e-5, rtol=0)


def test_frequent_pieces_are_nearer_than_rare_ones() -> None:
    encoder = wide_encoder()
    counts = torch.zeros(512)
    counts[:8] = 1e6
    narrowed = factorize_pieces(encoder, counts, 12)
    projection = narrowed.embeddings.projection.weight
    old = encoder.embeddings.pieces.weight.detach()
    error = (narrowed.embeddings.pieces.weight @ projection.T - old).detach().norm(dim=1)
    assert error[1:8].mean() < 0.6 * error[8:].mean()


def test_the_encoder_itself_is_left_as_it_was() -> None:
    encoder = wide_encoder()
    before = states(encoder)
    factorize_pieces(encoder, torch.ones(512), 4)
    assert torch.equal(states(encoder), before)


@pytest.mark.parametrize("width", [0, 16, 20])
def test_a_width_that_is_not_below_the_layers_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=f"embedding_size={width}: expected less than hidden_siz"):
        factorize_pieces(wide_encoder(), torch.ones(512), width)


def test_a_narrow_table_is_refused() -> None:
    narrow = factorize_pieces(wide_encoder(), torch.ones(512), 8)
    with pytest.raises(ConfigError, match="found 8"):
        factorize_pieces(narrow, torch.ones(512), 4)


def test_pieces_are_counted(tiny_tokenizer: UnigramTokenizer) -> None:
    counts = count_pieces(tiny_tokenizer, ["Paris Paris", "Paris"], 600)
    ids = tiny_tokenizer.encode("Paris").ids
    assert counts[ids[0]] == 3 * int((ids == ids[0]).sum())
    assert counts.sum() == 3 * len(ids)
