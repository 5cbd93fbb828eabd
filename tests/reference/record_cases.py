"""The cases whose recordings are in the repository, so that a plain test run checks them.

    python -m tests.benchmarks.peers transformers-5.23.0      # once
    python -m tests.reference.record_cases                    # writes transformers-*/ beside this

One small model for each feature of the encoder, every task among them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import TRANSFORMERS
from tests.reference.case import Case
from tests.reference.grid import SIZES, V3, make_case, overflowing_case
from tests.reference.parity import run_peer

FOLDER = Path(__file__).parent
LONG = 12  # pieces, beyond max_relative_positions

SMALL = {
    **SIZES,
    "vocab_size": 24,
    "hidden_size": 8,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "max_relative_positions": 8,
}
USUAL: dict[str, Any] = {
    **V3,
    "position_buckets": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "type_vocab_size": 0,
    "embedding_size": 8,
    "pad_token_id": 0,
    "layer_norm_eps": 1e-7,
    "conv_kernel_size": 0,
    "conv_groups": 1,
    "conv_act": "tanh",
    "width": 6,
    "padding": "right",
    "embeds": False,
    "positions": False,
    "types": True,
    "layout": "safetensors",
    "head": "legacy",
    "loss": "classes",
}
ONE = {"num_hidden_layers": 1}  # where the head or the scores are looked at
NARROW = {"type_vocab_size": 2, "embedding_size": 4}
# name: family, task, changes of USUAL
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "v3-classes": ("v2", "sequence", {}),
    "v3-long": ("v2", "model", {"width": LONG, "padding": "left"}),
    "c2p": ("v2", "tokens", {**ONE, "pos_att_type": ["c2p"], "padding": "left"}),
    "p2c": ("v2", "span", {**ONE, "pos_att_type": ["p2c"]}),
    "no-terms": ("v2", "model", {"pos_att_type": [], "padding": "row"}),
    "no-relative": ("v2", "choice", {**ONE, "relative_attention": False}),
    "own-projections": ("v2", "choice", {**ONE, "share_att_key": False}),
    "own-projections-p2c": (
        "v2",
        "sequence",
        {**ONE, "share_att_key": False, "pos_att_type": ["p2c"], "loss": "soft"},
    ),
    "no-table-norm": ("v2", "masked-lm", {**ONE, "norm_rel_ebd": "none", "head": "plain"}),
    "no-buckets": ("v2", "span", {"position_buckets": -1, "padding": "none", "width": LONG}),
    "biased-input": (
        "v2",
        "masked-lm",
        {"position_biased_input": True, "positions": True, "head": "plain"},
    ),
    "types-and-projection": ("v2", "masked-lm", {**ONE, **NARROW}),
    "embeds": ("v2", "model", {**NARROW, "embeds": True, "hidden_act": "relu"}),
    "convolution": ("v2", "tokens", {"conv_kernel_size": 3}),
    "convolution-groups": (
        "v2",
        "model",
        {"conv_kernel_size": 5, "conv_groups": 2, "conv_act": "gelu", "padding": "holes"},
    ),
    "v1-regression": ("v1", "sequence", {**ONE, "loss": "regression"}),
    "v1-labels": ("v1", "sequence", {**ONE, "loss": "multi", "pos_att_type": ["c2p"]}),
    "v1-tokens": ("v1", "tokens", {**ONE, "pos_att_type": ["p2c"], "padding": "holes"}),
    "v1-span": ("v1", "span", {"padding": "none", "position_biased_input": True}),
    "v1-masked-lm": ("v1", "masked-lm", {**ONE, **NARROW}),
    "v1-masked-lm-plain": ("v1", "masked-lm", {**ONE, "head": "plain", "padding": "left"}),
    "v1-choice": ("v1", "choice", {**ONE, "relative_attention": False}),
    "v1-long": ("v1", "model", {"width": LONG, "pos_att_type": "p2c|c2p"}),
}


def recorded_cases() -> list[Case]:
    """The cases, in the order in which they are recorded."""
    cases = [
        make_case(name, family, task, {**USUAL, **changes}, seed, SMALL)
        for seed, (name, (family, task, changes)) in enumerate(VARIANTS.items())
    ]
    return [*cases, overflowing_case({**SMALL, "max_relative_positions": 16})]


def main() -> None:
    """Replace the recordings."""
    folder = FOLDER / TRANSFORMERS
    shutil.rmtree(folder, ignore_errors=True)
    for case in recorded_cases():
        case.write(folder / case.name)
    run_peer(TRANSFORMERS, "write", folder)


if __name__ == "__main__":
    main()
