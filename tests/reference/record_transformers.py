"""Record what `transformers` computes on tiny random DeBERTa-v2 checkpoints.

Run in an environment of its own, from the repository's root:

    pip install "transformers==5.23.0" torch safetensors
    python tests/reference/record_transformers.py tests/reference/transformers-5.23.0

Each folder gets config.json and model.safetensors, written by `save_pretrained`, and
recorded.safetensors: ids and mask of a padded batch, the hidden states of its real rows, and the
gradient of sum(hidden * direction) for every parameter. All parameters are refilled with N(0, 0.3):
at the library's own 0.02 attention is nearly uniform, and broken position terms pass unnoticed.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import DebertaV2Config, DebertaV2Model

LENGTHS = (1, 7, 16, 11, 16)
BASE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "max_relative_positions": 16,
    "position_buckets": 8,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "type_vocab_size": 0,
}
VARIANTS = {
    "v3": {},
    "c2p": {"pos_att_type": ["c2p"]},
    "p2c": {"pos_att_type": ["p2c"]},
    "no-terms": {"pos_att_type": []},
    "no-relative": {"relative_attention": False, "norm_rel_ebd": "none"},
    "own-projections": {"share_att_key": False},
    "own-projections-c2p": {"share_att_key": False, "pos_att_type": ["c2p"]},
    "no-table-norm": {"norm_rel_ebd": "none"},
    "no-buckets": {"position_buckets": -1},
    "biased-input": {"position_biased_input": True},
    "types-and-projection": {"type_vocab_size": 2, "embedding_size": 8},
    "relu": {"hidden_act": "relu"},
}


def record(folder: Path, changes: dict[str, object], seed: int) -> None:
    """Build, run and save one variant."""
    torch.manual_seed(seed)
    model = DebertaV2Model(DebertaV2Config(**{**BASE, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mask = (torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(4, 60, mask.shape) * mask
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    direction = torch.randn_like(hidden)
    (hidden * direction).sum().backward()
    arrays = {"ids": ids, "mask": mask, "hidden": hidden.detach(), "direction": direction}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        arrays[f"gradient.{name}"] = gradient
    model.save_pretrained(folder)
    dense = {name: array.contiguous() for name, array in arrays.items()}
    save_file(dense, folder / "recorded.safetensors")


if __name__ == "__main__":
    for number, (name, changes) in enumerate(VARIANTS.items()):
        record(Path(sys.argv[1]) / name, changes, seed=number)
        print(name)
