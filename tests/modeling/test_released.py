"""The released configurations: built without memory, with the parameter counts of the originals.

Counts of `transformers` 5.23.0, bare encoder, no absolute positions:

    with torch.device("meta"):
        model = DebertaV2Model(DebertaV2Config(**row))
    sum(parameter.numel() for parameter in model.parameters())
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from spacy_deberta.config import DebertaConfig
from spacy_deberta.modeling import DebertaModel, DebertaV2Model

SHARED: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": "c2p|p2c",
    "position_biased_input": False,
}
V2 = {
    **SHARED,
    "model_type": "deberta-v2",
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
V1 = {**SHARED, "model_type": "deberta"}
CONVOLUTION = {"conv_kernel_size": 3, "conv_act": "gelu"}


@dataclass(frozen=True)
class Released:
    """One checkpoint: layers, width, heads, vocabulary; and how many parameters it has."""

    name: str
    shape: tuple[int, int, int, int]
    keys: dict[str, Any]
    total: int
    word_table: int
    layer: int

    def config(self) -> DebertaConfig:
        layers, width, heads, vocabulary = self.shape
        sizes = {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "vocab_size": vocabulary,
        }
        return DebertaConfig.from_dict({**self.keys, **sizes})


RELEASED = [
    Released("v1-base", (12, 768, 12, 50265), V1, 138_601_728, 38_603_520, 8_267_520),
    Released("v1-large", (24, 1024, 16, 50265), V1, 405_163_008, 51_471_360, 14_693_376),
    Released("v1-xlarge", (48, 1024, 16, 50265), V1, 757_804_032, 51_471_360, 14_693_376),
    Released(
        "v2-xlarge",
        (24, 1536, 24, 128100),
        V2 | CONVOLUTION,
        884_593_152,
        196_761_600,
        28_331_520,
    ),
    Released(
        "v2-xxlarge",
        (48, 1536, 24, 128100),
        V2 | CONVOLUTION,
        1_564_549_632,
        196_761_600,
        28_331_520,
    ),
    Released("v3-xsmall", (12, 384, 6, 128100), V2, 70_682_112, 49_190_400, 1_774_464),
    Released("v3-small", (6, 768, 12, 128100), V2, 141_304_320, 98_380_800, 7_087_872),
    Released("v3-base", (12, 768, 12, 128100), V2, 183_831_552, 98_380_800, 7_087_872),
    Released("v3-large", (24, 1024, 16, 128100), V2, 434_012_160, 131_174_400, 12_596_224),
    Released("mdeberta-v3", (12, 768, 12, 251000), V2, 278_218_752, 192_768_000, 7_087_872),
]


@pytest.mark.parametrize("released", RELEASED, ids=lambda released: released.name)
def test_released_configurations_have_the_parameters_of_the_original(released: Released) -> None:
    """All in all, in the word table, and in each layer."""
    config = released.config()
    model_class = DebertaModel if config.model_type == "deberta" else DebertaV2Model
    with torch.device("meta"):
        model = model_class(config)
    assert count(model) == released.total
    assert count(model.encoder.embeddings.pieces) == released.word_table
    assert {count(layer) for layer in model.encoder.layers} == {released.layer}


def test_an_unshared_model_of_48_layers_has_the_parameters_of_the_early_release() -> None:
    """share_att_key is read, never assumed: without it there are two projections more."""
    xxlarge = next(r for r in RELEASED if r.name == "v2-xxlarge")
    config = DebertaConfig.from_dict({**xxlarge.config().to_dict(), "share_att_key": False})
    with torch.device("meta"):
        model = DebertaV2Model(config)
    assert count(model) == 1_791_189_504


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
