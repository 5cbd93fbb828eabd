"""What may be given beside piece ids: its effect, and every way in which it does not fit."""

from typing import Any

import pytest
import torch

from spacy_deberta.encoder import DebertaEncoder, EncoderInputs
from spacy_deberta.errors import AlignmentError
from tests.tiny import tiny_config

LENGTHS = [3, 2]
PIECES = torch.tensor([5, 6, 7, 8, 9])


def make_encoder(**changes: Any) -> DebertaEncoder:
    torch.manual_seed(0)
    settings = {"vocab_size": 40, "initializer_range": 0.3, **changes}
    return DebertaEncoder(tiny_config(**settings)).eval()


ABSOLUTE = make_encoder(position_biased_input=True, type_vocab_size=3, embedding_size=8)
RELATIVE = make_encoder()


def encode(encoder: DebertaEncoder, **inputs: torch.Tensor) -> torch.Tensor:
    pieces = None if "embeddings" in inputs else PIECES
    hidden: torch.Tensor = encoder(
        pieces, LENGTHS, inputs=EncoderInputs(**inputs)
    ).last_hidden_state
    return hidden


def test_rows_of_the_table_given_as_embeddings_change_nothing() -> None:
    rows = ABSOLUTE.embeddings.pieces(PIECES)
    assert torch.equal(encode(ABSOLUTE, embeddings=rows), encode(ABSOLUTE))


def test_the_own_places_and_type_0_given_change_nothing() -> None:
    expected = encode(ABSOLUTE)
    assert torch.equal(encode(ABSOLUTE, positions=torch.tensor([0, 1, 2, 0, 1])), expected)
    assert torch.equal(encode(ABSOLUTE, types=torch.zeros(5, dtype=torch.int64)), expected)


def test_other_positions_and_types_change_their_own_sequence_only() -> None:
    expected = encode(ABSOLUTE)
    for changed in (
        encode(ABSOLUTE, positions=torch.tensor([0, 1, 2, 1, 2])),
        encode(ABSOLUTE, types=torch.tensor([0, 0, 0, 0, 2])),
    ):
        torch.testing.assert_close(changed[:3], expected[:3])
        assert (changed[3:] - expected[3:]).abs().max() > 0.01


def test_positions_and_types_without_rows_are_ignored() -> None:
    anything = torch.tensor([900, -1, 7, 7, 7])
    assert torch.equal(encode(RELATIVE, positions=anything, types=anything), encode(RELATIVE))


def test_given_positions_lift_the_limit_of_the_table() -> None:
    """A window of a long text may count on from anywhere that has a row."""
    encoder = make_encoder(position_biased_input=True, max_position_embeddings=3)
    inputs = EncoderInputs(positions=torch.tensor([0, 1, 2, 2, 2]))
    assert encoder(PIECES, [5], inputs=inputs).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("kernel", [0, 3], ids=["attention", "convolution"])
def test_a_hole_is_never_seen_but_keeps_its_place(kernel: int) -> None:
    encoder = make_encoder(conv_kernel_size=kernel)
    holes = torch.tensor([False, True, False, False, False])
    found = encode(encoder, holes=holes)
    assert not found[1].any()
    other = PIECES.clone()
    other[1] = 30
    again = encoder(other, LENGTHS, inputs=EncoderInputs(holes=holes)).last_hidden_state
    assert torch.equal(found, again)
    without = encoder(PIECES[[0, 2, 3, 4]], [2, 2]).last_hidden_state
    assert (found[2] - without[1]).abs().max() > 0.01  # its neighbors moved together
    torch.testing.assert_close(found[3:], without[2:])


@pytest.mark.parametrize("kernel", [0, 3], ids=["attention", "convolution"])
def test_holes_at_either_end_are_as_no_pieces(kernel: int) -> None:
    """Left and right padding, for an encoder without absolute positions."""
    encoder = make_encoder(conv_kernel_size=kernel)
    holes = torch.tensor([True, False, False, False, True])
    found = encode(encoder, holes=holes)
    bare = encoder(PIECES[1:4], [2, 1]).last_hidden_state
    torch.testing.assert_close(found[1:4], bare, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lengths", [[3, 2], [2, 1, 2]])
def test_a_sequence_of_holes_alone_is_zeros_and_trains_nothing(lengths: list[int]) -> None:
    encoder = make_encoder(conv_kernel_size=3)
    holes = torch.zeros(5, dtype=torch.bool)
    holes[: lengths[0]] = True
    output = encoder(
        PIECES, lengths, inputs=EncoderInputs(holes=holes), hidden_states=True, attentions=True
    )
    for state in output.hidden_states:
        assert state.isfinite().all()
        assert not state[holes].any()
    assert not any(layer[0].any() for layer in output.attentions)
    output.last_hidden_state.sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)
    assert not encoder.embeddings.pieces.weight.grad[PIECES[: lengths[0]]].any()


NUMBERS = torch.arange(5)
MISFITS: dict[str, tuple[torch.Tensor | None, dict[str, torch.Tensor], str]] = {
    "neither": (None, {}, "found neither of pieces and inputs.embeddings; expected exactly one"),
    "both": (PIECES, {"embeddings": torch.ones(5, 8)}, "found both of pieces and inputs"),
    "square": (PIECES[None], {}, r"pieces: found shape \(1, 5\), expected \(1,\)\."),
    "width": (None, {"embeddings": torch.ones(5, 9)}, r"inputs.embeddings: found shape \(5, 9\)"),
    "short": (PIECES, {"types": NUMBERS[:4]}, r"inputs.types: found shape \(4,\), expected \(5,\)"),
    "holes": (PIECES, {"holes": NUMBERS}, "inputs.holes: found torch.int64, expected torch.bool"),
    "type": (PIECES, {"types": NUMBERS}, "inputs.types: found ids from 0 to 4, expected 0 to 2"),
    "position": (PIECES, {"positions": NUMBERS - 1}, "inputs.positions: found ids from -1 to 3,"),
    "far": (PIECES, {"positions": NUMBERS + 60}, "found ids from 60 to 64, expected 0 to 63"),
}


@pytest.mark.parametrize(("pieces", "inputs", "message"), MISFITS.values(), ids=MISFITS)
def test_inputs_that_do_not_fit_are_named(
    pieces: torch.Tensor | None, inputs: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(AlignmentError, match=message):
        ABSOLUTE(pieces, LENGTHS, inputs=EncoderInputs(**inputs))
