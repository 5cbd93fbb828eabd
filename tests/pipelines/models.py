"""Tiny checkpoints with tokenizer and head for every task, also for transformers 4.57.6.

    write_model(folder, "question-answering")            v3: two layers, width 32, 660 pieces
    write_model(folder, "token-classification", "v1", id2label={0: "O", 1: "B-PER", ...})
    python -m tests.pipelines.models FOLDER              all of them, for record_pipeline_*.py

Weights are drawn from a generator whose numbers never change, the vocabularies lie beside this
file; so the same call writes the same checkpoint everywhere.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import spacy_deberta.modeling as zoo
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.modeling import DebertaPreTrainedModel, DebertaTokenizer, DebertaV2Tokenizer

Family = Literal["v3", "v1"]

TOKENIZERS = Path(__file__).parent / "tokenizers"
WINDOW = 64  # model_max_length of every checkpoint here

NER_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NLI_LABELS = ("contradiction", "neutral", "entailment")

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {  # kind -> model class, names of its labels
    "fill-mask": ("ForMaskedLM", ()),  # legacy head: the one that transformers reads
    "fill-mask-emd": ("ForMaskedLM", ()),  # enhanced mask decoder: only ours
    "token-classification": ("ForTokenClassification", NER_LABELS),
    "text-classification": ("ForSequenceClassification", ("negative", "neutral", "positive")),
    "zero-shot-classification": ("ForSequenceClassification", NLI_LABELS),
    "question-answering": ("ForQuestionAnswering", ()),
    "multiple-choice": ("ForMultipleChoice", ()),
    "feature-extraction": ("Model", ()),
}

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 512,
    "max_relative_positions": 512,
    "pos_att_type": ("c2p", "p2c"),
    "relative_attention": True,
    "position_biased_input": False,
}
_V3: dict[str, Any] = {
    "vocab_size": 672,  # more rows than pieces, as in the released files
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pooler_hidden_act": "gelu",
}
_V1: dict[str, Any] = {"vocab_size": 672}


def write_model(
    folder: Path, kind: str, family: Family = "v3", seed: int = 0, **config: Any
) -> Path:
    """Write a checkpoint folder.

    Args:
        folder: made if absent.
        kind: one of KINDS.
        family: "v3" (SentencePiece, log buckets) or "v1" (byte BPE).
        seed: of the weights.
        config: fields of the config instead of those here, such as id2label or problem_type.
    """
    model = build_model(kind, family, seed, **config)
    model.save_pretrained(folder)
    tokenizer_of(family).save_pretrained(folder)
    return folder


def build_model(
    kind: str, family: Family = "v3", seed: int = 0, **config: Any
) -> DebertaPreTrainedModel:
    """The model of `write_model`, in eval mode, with weights that tell inputs apart."""
    name, labels = KINDS[kind]
    prefix = "DebertaV2" if family == "v3" else "Deberta"
    shape = {**_SHAPE, **(_V3 if family == "v3" else _V1)}
    if labels:
        shape["id2label"] = dict(enumerate(labels))
    config_class = DebertaV2Config if family == "v3" else DebertaConfig
    settings: DebertaConfig = config_class(**{**shape, **config})
    extra = {"mask_decoder": "legacy"} if kind == "fill-mask" else {}
    model = getattr(zoo, prefix + name)(settings, **extra)
    draw_weights(model, seed)
    return model.eval()


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """Fill all weights: norms near 1, heads wider than the encoder, so that scores differ."""
    random = np.random.RandomState(seed)  # its numbers are the same in every version of numpy
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            width = 0.6 if name.startswith("head.") else 0.15
            values = random.standard_normal(tuple(tensor.shape)) * width
            if name.endswith("norm.weight"):
                values = 1.0 + 0.1 * values
            tensor.copy_(torch.from_numpy(values))


def tokenizer_of(family: Family = "v3", **settings: Any) -> DebertaTokenizer:
    """The tokenizer of `write_model`: about 660 pieces, 64 of them in a row."""
    tokenizer_class = DebertaV2Tokenizer if family == "v3" else DebertaTokenizer
    chosen = {"model_max_length": WINDOW, **settings}
    return tokenizer_class.from_pretrained(TOKENIZERS / family, **chosen)


def write_all(folder: Path) -> None:
    """Every kind in both families, each at FOLDER/kind-family."""
    for kind in KINDS:
        for family in ("v3", "v1"):
            write_model(folder / f"{kind}-{family}", kind, family)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
