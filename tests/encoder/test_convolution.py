"""The convolution beside the first layer: exact where sequences begin, end and meet."""

import pytest
import torch

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.encoder.convolution import Convolution
from spacy_deberta.encoder.packing import pack
from tests.tiny import tiny_config


def test_a_convolution_of_three_pieces_by_hand() -> None:
    """Weights 1, 10, 100 from left to right; the norm is taken out."""
    config = tiny_config(
        hidden_size=1, num_attention_heads=1, conv_kernel_size=3, conv_act="linear"
    )
    convolution = Convolution(config).eval()
    convolution.norm = torch.nn.Identity()
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
        convolution.bias.fill_(1000.0)
    packing = pack([3, 1, 2], 6, torch.device("cpu"))
    embedded = torch.arange(1.0, 7.0)[:, None]
    first = torch.full((6, 1), 0.5)
    found = convolution(embedded[packing.order], first[packing.order.clamp(max=5)], packing)
    assert found[packing.inverse].flatten().tolist() == [
        *(1210.5, 1321.5, 1032.5),  # 10 + 200, 1 + 20 + 300, 2 + 30
        1040.5,  # alone
        *(1650.5, 1065.5),  # 50 + 600, 5 + 60
    ]


@pytest.mark.parametrize("groups", [1, 4])
def test_batch_mates_change_nothing(groups: int) -> None:
    torch.manual_seed(0)
    config = tiny_config(
        vocab_size=40, initializer_range=0.3, conv_kernel_size=5, conv_groups=groups
    )
    encoder = DebertaEncoder(config).eval()
    lengths = [1, 9, 4, 9, 2]
    pieces = torch.randint(1, 40, (sum(lengths),))
    together = encoder(pieces, lengths).last_hidden_state.split(lengths)
    for number, sequence in enumerate(pieces.split(lengths)):
        alone = encoder(sequence, [len(sequence)]).last_hidden_state
        torch.testing.assert_close(together[number], alone, atol=1e-5, rtol=0)


def test_it_acts_once_after_the_first_layer_with_dropout_before_the_activation() -> None:
    config = tiny_config(vocab_size=40, conv_kernel_size=3, hidden_dropout_prob=0.5)
    encoder = DebertaEncoder(config).train()
    seen = []
    encoder.convolution.register_forward_hook(lambda *call: seen.append(call[2]))
    encoder.convolution.dropout.register_forward_hook(lambda *call: seen.append(call[2]))
    output = encoder(torch.arange(1, 6), [5], hidden_states=True)
    dropped, convolved = seen
    assert not dropped.all()
    torch.testing.assert_close(output.hidden_states[1], convolved[:5])
    assert not torch.equal(output.hidden_states[2], convolved[:5])
