"""TensorFlow's names and layouts: one for each of PyTorch's, and back."""

import pytest
import torch

from spacy_deberta.checkpoints.h5_names import (
    TF_LAYERS,
    has_fused,
    keras_layers,
    keras_name,
    tensorflow_name,
    to_torch,
    torch_name,
    turn,
)
from spacy_deberta.errors import CheckpointError

LAYER = "deberta.encoder.layer.11."
TF_LAYER = "deberta/encoder/layer_._11/"
BOTH = {
    "deberta.embeddings.word_embeddings.weight": "deberta/embeddings/word_embeddings/weight:0",
    "deberta.embeddings.position_embeddings.weight": (
        "deberta/embeddings/position_embeddings/embeddings:0"
    ),
    "deberta.embeddings.token_type_embeddings.weight": (
        "deberta/embeddings/token_type_embeddings/embeddings:0"
    ),
    "deberta.embeddings.embed_proj.weight": "deberta/embeddings/embed_proj/kernel:0",
    "deberta.embeddings.LayerNorm.weight": "deberta/embeddings/LayerNorm/gamma:0",
    "deberta.embeddings.LayerNorm.bias": "deberta/embeddings/LayerNorm/beta:0",
    "deberta.encoder.rel_embeddings.weight": "deberta/encoder/rel_embeddings.weight:0",
    LAYER + "attention.output.dense.weight": TF_LAYER + "attention/output/dense/kernel:0",
    LAYER + "attention.output.dense.bias": TF_LAYER + "attention/output/dense/bias:0",
    LAYER + "output.LayerNorm.weight": TF_LAYER + "output/LayerNorm/gamma:0",
    "pooler.dense.weight": "pooler/dense/kernel:0",
    "classifier.weight": "classifier/kernel:0",
    "qa_outputs.bias": "qa_outputs/bias:0",
    "cls.predictions.bias": "cls/predictions/bias:0",
    "cls.predictions.transform.dense.weight": "cls/predictions/transform/dense/kernel:0",
    "cls.predictions.transform.LayerNorm.bias": "cls/predictions/transform/LayerNorm/beta:0",
}
FIRST = {
    LAYER + "attention.self.in_proj.weight": TF_LAYER + "attention/self/in_proj/kernel:0",
    LAYER + "attention.self.q_bias": TF_LAYER + "attention/self/q_bias:0",
    LAYER + "attention.self.v_bias": TF_LAYER + "attention/self/v_bias:0",
    LAYER + "attention.self.pos_proj.weight": TF_LAYER + "attention/self/pos_proj/kernel:0",
    LAYER + "attention.self.pos_q_proj.bias": TF_LAYER + "attention/self/pos_q_proj/bias:0",
}
SECOND = {
    LAYER + "attention.self.query_proj.weight": TF_LAYER + "attention/self/query_proj/kernel:0",
    LAYER + "attention.self.pos_key_proj.weight": TF_LAYER + "attention/self/pos_proj/kernel:0",
    LAYER + "attention.self.pos_query_proj.bias": TF_LAYER + "attention/self/pos_q_proj/bias:0",
    "deberta.encoder.LayerNorm.weight": "deberta/encoder/LayerNorm/gamma:0",
    "deberta.encoder.conv.conv.weight": "deberta/encoder/conv/conv/kernel:0",
    "deberta.encoder.conv.LayerNorm.bias": "deberta/encoder/conv/LayerNorm/beta:0",
}


@pytest.mark.parametrize(
    ("names", "fused"), [(BOTH, True), (BOTH, False), (FIRST, True), (SECOND, False)]
)
def test_names_go_there_and_back(names: dict[str, str], fused: bool) -> None:
    for ours, theirs in names.items():
        assert tensorflow_name(ours) == theirs
        assert torch_name(theirs, fused=fused) == ours


def test_only_the_first_version_has_the_fused_projection() -> None:
    assert has_fused({**BOTH, **{theirs: ours for ours, theirs in FIRST.items()}})
    assert not has_fused(SECOND.values())


def test_only_kernels_are_turned() -> None:
    kernel, conv, table = torch.randn(2, 3), torch.randn(3, 4, 5), torch.randn(6, 2)
    assert torch.equal(turn("a/kernel:0", kernel), kernel.t())
    turned = turn("deberta/encoder/conv/conv/kernel:0", conv)
    assert turned.shape == (5, 4, 3)
    assert all(
        turned[out, into, k] == conv[k, into, out]
        for k in range(3)
        for into in range(4)
        for out in range(5)
    )
    assert torch.equal(turn("deberta/encoder/conv/conv/kernel:0", turned), conv)
    assert turned.is_contiguous()
    for name in ("a/weight:0", "a/position_embeddings/embeddings:0", "a/rel_embeddings.weight:0"):
        assert turn(name, table) is table


def test_two_weights_of_one_name_are_refused() -> None:
    tensors = {"a/kernel:0": torch.ones(1, 1), "a/weight:0": torch.ones(1, 1)}
    with pytest.raises(CheckpointError, match=r"^x\.safetensors: holds a tensor twice"):
        to_torch(tensors, "x.safetensors")


def test_every_class_of_tensorflow_has_its_layers_and_its_name() -> None:
    for tail, layers in TF_LAYERS.items():
        assert keras_layers(f"DebertaV2{tail}") == keras_layers(f"TFDebertaV2{tail}") == layers
    assert keras_name("DebertaV2ForMaskedLM") == "tf_deberta_v2_for_masked_lm"
    assert keras_name("TFDebertaModel") == "tf_deberta_model"
    assert keras_name("DebertaForQuestionAnswering") == "tf_deberta_for_question_answering"


@pytest.mark.parametrize(
    "name", ["DebertaForMultipleChoice", "DebertaV2ForReplacedTokenDetection", "BertModel", ""]
)
def test_classes_that_tensorflow_does_not_have_are_refused(name: str) -> None:
    message = rf"^{name}: TensorFlow has no such DeBERTa; expected one of .*Save it as safetensors"
    with pytest.raises(CheckpointError, match=message):
        keras_layers(name)
