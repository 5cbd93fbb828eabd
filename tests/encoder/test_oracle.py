"""The whole encoder against the loops, forward and backward, in every form it can be built in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import PATHS, DebertaEncoder, EncoderInputs
from tests.oracle import Encodable, Oracle
from tests.tiny import tiny_config, tiny_v1_config

LENGTHS = (4, 7, 1)
N_ROWS = sum(LENGTHS)
SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 6,
    "max_position_embeddings": 9,
    "max_relative_positions": 6,  # distances of the longest sequence reach the end and past it
}


def second(**changes: Any) -> DebertaConfig:
    return tiny_config(**{**SMALL, "position_buckets": 4, **changes})


def first(**changes: Any) -> DebertaConfig:
    return tiny_v1_config(**{**SMALL, "max_relative_positions": 4, **changes})


CONFIGS: dict[str, Callable[[], DebertaConfig]] = {
    "v3": second,
    "c2p": lambda: second(pos_att_type="c2p"),
    "p2c": lambda: second(pos_att_type="p2c"),
    "no-terms": lambda: second(pos_att_type=[]),
    "no-relative": lambda: second(relative_attention=False),
    "own-projections": lambda: second(share_att_key=False),
    "no-buckets": lambda: second(position_buckets=-1, max_relative_positions=4),
    "no-table-norm": lambda: second(norm_rel_ebd="none"),
    "convolution": lambda: second(conv_kernel_size=3, conv_act="gelu"),
    "wide-convolution": lambda: second(conv_kernel_size=5, conv_groups=2, conv_act="sigmoid"),
    "absolute": lambda: second(position_biased_input=True, type_vocab_size=3, embedding_size=4),
    "v1": first,
    "v1-c2p": lambda: first(pos_att_type="c2p"),
    "v1-p2c": lambda: first(pos_att_type="p2c", hidden_act="relu"),
    "v1-absolute": lambda: first(
        position_biased_input=True, type_vocab_size=2, relative_attention=False
    ),
}
GIVEN = ("pieces", "everything")


@dataclass(frozen=True, eq=False)
class Case:
    """An encoder in float64, and what it is given."""

    encoder: DebertaEncoder
    pieces: Tensor | None
    inputs: EncoderInputs

    def leaves(self) -> list[Tensor]:
        embeddings = self.inputs.embeddings
        return [*self.encoder.parameters(), *([] if embeddings is None else [embeddings])]


def make_case(config: DebertaConfig, given: str, attention: str = "auto") -> Case:
    """All weights N(0, 0.3), norms and biases included; "everything" has holes at both ends."""
    torch.manual_seed(1)
    encoder = DebertaEncoder(config, attention).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    pieces = torch.randint(1, config.vocab_size, (N_ROWS,))
    embeddings = torch.randn(N_ROWS, config.embedding_size).double().requires_grad_()
    positions = torch.randint(0, config.max_position_embeddings, (N_ROWS,))
    types = torch.randint(0, max(1, config.type_vocab_size), (N_ROWS,))
    holes = torch.zeros(N_ROWS, dtype=torch.bool)
    holes[[3, 4, 7]] = True  # the last piece of the first sequence; two pieces of the second
    if given == "pieces":
        return Case(encoder, pieces, EncoderInputs())
    return Case(encoder, None, EncoderInputs(embeddings, positions, types, holes))


def by_oracle(case: Case) -> tuple[list[Tensor], list[list[Tensor]]]:
    """(N, W) of the embeddings and every layer; by layer and sequence (H, L, L)."""
    weights = dict(case.encoder.named_parameters())
    oracle = Oracle(weights, case.encoder.config)
    inputs, start = case.inputs, 0
    states, attentions = [], []
    for length in LENGTHS:
        mine = range(start, start + length)
        sequence = Encodable(
            rows=[
                weights["embeddings.pieces.weight"][int(case.pieces[number])]
                if case.pieces is not None
                else inputs.embeddings[number]
                for number in mine
            ],
            positions=[
                number - start if inputs.positions is None else int(inputs.positions[number])
                for number in mine
            ],
            types=[0 if inputs.types is None else int(inputs.types[number]) for number in mine],
            kept=[n - start for n in mine if inputs.holes is None or not inputs.holes[n]],
        )
        rows, squares = oracle.encode(sequence)
        states.append([torch.stack(layer) for layer in rows])
        attentions.append([torch.stack(layer) for layer in squares])
        start += length
    return [torch.cat(layer) for layer in zip(*states, strict=True)], [
        list(layer) for layer in zip(*attentions, strict=True)
    ]


def gradients(case: Case, states: list[Tensor]) -> list[Tensor]:
    """Of every parameter and input, for a fixed direction in every layer's output."""
    generator = torch.Generator().manual_seed(2)
    total = sum(
        (state * torch.randn(state.shape, generator=generator, dtype=torch.float64)).sum()
        for state in states
    )
    return list(
        torch.autograd.grad(total, case.leaves(), allow_unused=True, materialize_grads=True)
    )


def spread(rows: Tensor | None) -> Tensor | None:
    """(N, ...) to (B, L, ...), padded on the right with what must not matter."""
    if rows is None:
        return None
    return torch.nn.utils.rnn.pad_sequence(list(rows.split(LENGTHS)), batch_first=True)


def by_rectangle(case: Case) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The same from the rectangle form."""
    inputs = case.inputs
    real = spread(torch.ones(N_ROWS, dtype=torch.bool))
    holes = torch.zeros(N_ROWS, dtype=torch.bool) if inputs.holes is None else inputs.holes
    output = case.encoder.rectangle(
        spread(case.pieces),
        real & ~spread(holes),
        inputs=EncoderInputs(
            spread(inputs.embeddings), spread(inputs.positions), spread(inputs.types)
        ),
        hidden_states=True,
        attentions=True,
    )
    assert torch.equal(output.last_hidden_state, output.hidden_states[-1])
    for state in output.hidden_states:
        assert not state[~real].any()
    squares = [
        [square[:, :length, :length] for square, length in zip(layer, LENGTHS, strict=True)]
        for layer in output.attentions
    ]
    return [state[real] for state in output.hidden_states], squares


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("build", CONFIGS.values(), ids=CONFIGS)
def test_every_form_equals_the_loops_forward_and_backward(
    build: Callable[[], DebertaConfig], given: str
) -> None:
    """Each attention path, and the rectangle; hidden states, attention and all gradients."""
    reference = make_case(build(), given)
    expected, squares = by_oracle(reference)
    below = gradients(reference, expected)
    for path in PATHS:
        case = make_case(build(), given, path)
        output = case.encoder(case.pieces, LENGTHS, inputs=case.inputs, hidden_states=True)
        torch.testing.assert_close(list(output.hidden_states), expected)
        torch.testing.assert_close(gradients(case, list(output.hidden_states)), below)
    case = make_case(build(), given)
    output = case.encoder(case.pieces, LENGTHS, inputs=case.inputs, attentions=True)
    torch.testing.assert_close(output.last_hidden_state, expected[-1])
    torch.testing.assert_close([list(layer) for layer in output.attentions], squares)
    states, found = by_rectangle(case)
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(gradients(case, states), below)
    torch.testing.assert_close(found, squares)
