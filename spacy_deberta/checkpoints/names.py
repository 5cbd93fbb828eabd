"""Names of tensors in checkpoint files, beside the names of our modules.

Literal tables, one line per tensor; `{}` is the number of a layer. The file names are those of the
released v2-layout checkpoints, without the prefix "deberta." that files with a head carry.
"""

from __future__ import annotations

import re

ENCODER_NAMES = {
    "embeddings.word_embeddings.weight": "embeddings.pieces.weight",
    "embeddings.position_embeddings.weight": "embeddings.positions.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.types.weight",
    "embeddings.embed_proj.weight": "embeddings.projection.weight",
    "embeddings.LayerNorm.weight": "embeddings.norm.weight",
    "embeddings.LayerNorm.bias": "embeddings.norm.bias",
    "encoder.rel_embeddings.weight": "table.rows.weight",
    "encoder.LayerNorm.weight": "table.norm.weight",
    "encoder.LayerNorm.bias": "table.norm.bias",
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

MASKED_LM_NAMES = {
    "lm_predictions.lm_head.dense.weight": "dense.weight",
    "lm_predictions.lm_head.dense.bias": "dense.bias",
    "lm_predictions.lm_head.LayerNorm.weight": "norm.weight",
    "lm_predictions.lm_head.LayerNorm.bias": "norm.bias",
    "lm_predictions.lm_head.bias": "bias",
}

# What files hold beside the encoder and an encoder does not need: heads, the position table of
# the mask decoder where the input is not biased, the delta of gradient-disentangled sharing, old
# buffers.
BESIDE_ENCODER = re.compile(
    r"(cls|lm_predictions|mask_predictions|pooler|classifier|qa_outputs|proj)\."
    r"|embeddings\.position_ids$"
    r"|embeddings\.(word|position)_embeddings\._weight$"
    r"|embeddings\.position_embeddings\.weight$"
)

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
