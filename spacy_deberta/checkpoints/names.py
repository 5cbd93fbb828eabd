"""Names of tensors in checkpoint files, beside the names of our modules.

Literal tables, one line per tensor; `{}` is the number of a layer. The file names are those of the
released checkpoints, without the prefix "deberta." that files with a head carry before the
encoder's names.
"""

from __future__ import annotations

import re

_TRUNK = {
    "embeddings.word_embeddings.weight": "embeddings.pieces.weight",
    "embeddings.position_embeddings.weight": "embeddings.positions.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.types.weight",
    "embeddings.embed_proj.weight": "embeddings.projection.weight",
    "embeddings.LayerNorm.weight": "embeddings.norm.weight",
    "embeddings.LayerNorm.bias": "embeddings.norm.bias",
    "encoder.rel_embeddings.weight": "table.rows.weight",
    "encoder.layer.{}.attention.output.dense.weight": "layers.{}.attention_output.dense.weight",
    "encoder.layer.{}.attention.output.dense.bias": "layers.{}.attention_output.dense.bias",
    "encoder.layer.{}.attention.output.LayerNorm.weight": "layers.{}.attention_output.norm.weight",
    "encoder.layer.{}.attention.output.LayerNorm.bias": "layers.{}.attention_output.norm.bias",
    "encoder.layer.{}.intermediate.dense.weight": "layers.{}.intermediate.weight",
    "encoder.layer.{}.intermediate.dense.bias": "layers.{}.intermediate.bias",
    "encoder.layer.{}.output.dense.weight": "layers.{}.output.dense.weight",
    "encoder.layer.{}.output.dense.bias": "layers.{}.output.dense.bias",
    "encoder.layer.{}.output.LayerNorm.weight": "layers.{}.output.norm.weight",
    "encoder.layer.{}.output.LayerNorm.bias": "layers.{}.output.norm.bias",
}

ENCODER_NAMES = _TRUNK | {
    "encoder.LayerNorm.weight": "table.norm.weight",
    "encoder.LayerNorm.bias": "table.norm.bias",
    "encoder.conv.conv.weight": "convolution.weight",
    "encoder.conv.conv.bias": "convolution.bias",
    "encoder.conv.LayerNorm.weight": "convolution.norm.weight",
    "encoder.conv.LayerNorm.bias": "convolution.norm.bias",
    "encoder.layer.{}.attention.self.query_proj.weight": "layers.{}.attention.query.weight",
    "encoder.layer.{}.attention.self.query_proj.bias": "layers.{}.attention.query.bias",
    "encoder.layer.{}.attention.self.key_proj.weight": "layers.{}.attention.key.weight",
    "encoder.layer.{}.attention.self.key_proj.bias": "layers.{}.attention.key.bias",
    "encoder.layer.{}.attention.self.value_proj.weight": "layers.{}.attention.value.weight",
    "encoder.layer.{}.attention.self.value_proj.bias": "layers.{}.attention.value.bias",
    "encoder.layer.{}.attention.self.pos_key_proj.weight": (
        "layers.{}.attention.position_key.weight"
    ),
    "encoder.layer.{}.attention.self.pos_key_proj.bias": "layers.{}.attention.position_key.bias",
    "encoder.layer.{}.attention.self.pos_query_proj.weight": (
        "layers.{}.attention.position_query.weight"
    ),
    "encoder.layer.{}.attention.self.pos_query_proj.bias": (
        "layers.{}.attention.position_query.bias"
    ),
}

# Version 1 keeps query, key and value in one matrix: layouts.py takes it apart.
FUSED_ENCODER_NAMES = _TRUNK | {
    "encoder.layer.{}.attention.self.in_proj.weight": "layers.{}.attention.fused.weight",
    "encoder.layer.{}.attention.self.q_bias": "layers.{}.attention.query.bias",
    "encoder.layer.{}.attention.self.v_bias": "layers.{}.attention.value.bias",
    "encoder.layer.{}.attention.self.pos_proj.weight": "layers.{}.attention.position_key.weight",
    "encoder.layer.{}.attention.self.pos_q_proj.weight": (
        "layers.{}.attention.position_query.weight"
    ),
    "encoder.layer.{}.attention.self.pos_q_proj.bias": "layers.{}.attention.position_query.bias",
}

MASKED_LM_NAMES = {
    "lm_predictions.lm_head.dense.weight": "dense.weight",
    "lm_predictions.lm_head.dense.bias": "dense.bias",
    "lm_predictions.lm_head.LayerNorm.weight": "norm.weight",
    "lm_predictions.lm_head.LayerNorm.bias": "norm.bias",
    "lm_predictions.lm_head.bias": "bias",
}

LEGACY_MASKED_LM_NAMES = {
    "cls.predictions.transform.dense.weight": "dense.weight",
    "cls.predictions.transform.dense.bias": "dense.bias",
    "cls.predictions.transform.LayerNorm.weight": "norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "norm.bias",
    "cls.predictions.bias": "bias",
}

REPLACED_TOKEN_NAMES = {
    "mask_predictions.LayerNorm.weight": "norm.weight",
    "mask_predictions.LayerNorm.bias": "norm.bias",
    "mask_predictions.dense.weight": "dense.weight",
    "mask_predictions.dense.bias": "dense.bias",
    "mask_predictions.classifier.weight": "classifier.weight",
    "mask_predictions.classifier.bias": "classifier.bias",
}

MASK_DECODER_NAMES = {"embeddings.position_embeddings.weight": "positions"}

_CLASSIFIER = {
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}
_POOLER = {
    "pooler.dense.weight": "pooler.dense.weight",
    "pooler.dense.bias": "pooler.dense.bias",
}
_PROJECTION = {
    "proj.weight": "proj.weight",
    "proj.bias": "proj.bias",
}
_SPAN = {
    "qa_outputs.weight": "qa_outputs.weight",
    "qa_outputs.bias": "qa_outputs.bias",
}

# By kind of head: the names of its tensors. Of the encoder's own names a head has only the table
# of absolute positions, which the mask decoder reads where the input does not.
HEAD_NAMES = {
    "mlm": MASKED_LM_NAMES,
    "legacy_mlm": LEGACY_MASKED_LM_NAMES,
    "mask_decoder": MASK_DECODER_NAMES,
    "rtd": REPLACED_TOKEN_NAMES,
    "pooler_classifier": _POOLER | _CLASSIFIER,
    "classifier": _CLASSIFIER,
    "ner_proj": _PROJECTION | _CLASSIFIER,
    "record": _PROJECTION | _CLASSIFIER,
    "qa": _SPAN,
}

HEAD_TITLES = {
    "mlm": "masked-LM head",
    "legacy_mlm": "masked-LM head of the legacy form",
    "mask_decoder": "table of absolute positions for the mask decoder",
    "rtd": "replaced-token head",
    "pooler_classifier": "pooler with a classifier",
    "classifier": "classifier of pieces",
    "ner_proj": "classifier of pieces behind a projection",
    "record": "ReCoRD head",
    "qa": "question-answering head",
}

_LAYER = re.compile(r"(?<=\.)(\d+)(?=\.)")


def rename(name: str, table: dict[str, str]) -> str | None:
    """The name on the right of the table for one on the left; None where there is none."""
    number = _LAYER.search(name)
    if number is None:
        return table.get(name)
    renamed = table.get(name[: number.start()] + "{}" + name[number.end() :])
    return None if renamed is None else renamed.format(number[0])


def inverted(table: dict[str, str]) -> dict[str, str]:
    """The same table from our names to the file's."""
    return {ours: theirs for theirs, ours in table.items()}
