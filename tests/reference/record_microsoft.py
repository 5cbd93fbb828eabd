"""Record what Microsoft's own code computes: what `transformers` does not have, or does otherwise.

Run by an interpreter with torch, safetensors and what that code imports, from the repository's
root, with a copy of github.com/microsoft/DeBERTa (recorded: 4d7fe0b) on the path:

    pip install torch safetensors numpy six ujson regex requests tqdm
    PYTHONPATH=.:MICROSOFT_DEBERTA python -m tests.reference.record_microsoft

The enhanced mask decoder, replaced tokens, its NER and ReCoRD heads. Files are written as that code
writes them: pytorch_model.bin, and a model_config.json that does not say which layout it is for.
All parameters are refilled with N(0, 0.3). Sequences are longer than max_relative_positions.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from DeBERTa.apps.models.masked_language_model import MaskedLanguageModel
from DeBERTa.apps.models.ner import NERModel
from DeBERTa.apps.models.record_qa import ReCoRDQAModel
from DeBERTa.apps.models.replaced_token_detection_model import ReplacedTokenDetectionModel
from DeBERTa.deberta.config import ModelConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.reference.case import PEER_FOLDER, RECORDED_FILE, Case

FOLDER = Path(__file__).parent / "microsoft-4d7fe0b"
SPREAD = 0.3  # standard deviation of all parameters
IGNORED = -100
WIDTH = 18  # pieces, more than max_relative_positions
LENGTHS = (18, 6, 17)
N_LABELS = 5

BASE: dict[str, Any] = {
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 20,
    "max_relative_positions": 16,  # its single precision rounds some other pairs to another bucket
    "position_buckets": 8,
    "relative_attention": True,
    "pos_att_type": "c2p|p2c",
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "padding_idx": 0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-7,
}
V1 = {"position_buckets": -1, "norm_rel_ebd": "none", "share_att_key": False}
CONVOLUTION = {"conv_kernel_size": 3, "conv_act": "gelu"}
MODELS = {
    "masked-lm": MaskedLanguageModel,
    "replaced": ReplacedTokenDetectionModel,
    "ner": NERModel,
    "record": ReCoRDQAModel,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mask-decoder": ("v2", "masked-lm", {"num_hidden_layers": 3, **CONVOLUTION}),
    "mask-decoder-v1": ("v1", "masked-lm", V1),
    "biased-input": ("v2", "masked-lm", {"position_biased_input": True, "embedding_size": 4}),
    "replaced": ("v2", "replaced", {}),
    "ner": ("v2", "ner", {"share_att_key": False}),
    "record": ("v2", "record", {}),
}


def make_case(name: str, seed: int) -> Case:
    """Inputs and labels in our form."""
    family, task, changes = CASES[name]
    rng = random.Random(seed)

    def integers(low: int, high: int) -> list[list[int]]:
        return [[rng.randrange(low, high) for _ in range(WIDTH)] for _ in LENGTHS]

    mask = [[int(place < length) for place in range(WIDTH)] for length in LENGTHS]
    inputs = {"input_ids": integers(1, 22), "attention_mask": mask}
    if task == "record":
        inputs["entities"] = [
            [[2, 3, 0], [5, 0, 0]],
            [[1, 0, 0], [0, 0, 0]],
            [[4, 5, 6], [8, 0, 0]],
        ]
        labels: Any = [[1, 0], [1, 0], [0, 1]]
    else:
        low, high, step = {
            "masked-lm": (1, 24, 2),  # every other piece is no target
            "ner": (0, N_LABELS, 3),
            "replaced": (0, 2, 1),  # all are
        }[task]
        labels = [
            [label if kept and place % step != 1 else IGNORED for place, label, kept in row]
            for row in (
                zip(range(WIDTH), *pair, strict=True)
                for pair in zip(integers(low, high), mask, strict=True)
            )
        ]
    return Case(name, family, task, {**BASE, **changes}, inputs, {"labels": labels}, "bin", seed)


def build(case: Case) -> nn.Module:
    """Microsoft's model with random weights; v1 is its v2 without biases on the key side."""
    extra = {"num_labels": N_LABELS} if case.task == "ner" else {}
    model = MODELS[case.task](ModelConfig.from_dict(dict(case.config)), **extra).eval()
    torch.manual_seed(case.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            nn.init.normal_(parameter, std=SPREAD)
            if case.family == "v1" and name.endswith("key_proj.bias"):
                parameter.zero_()
    return model


def run(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Logits and loss; its masked-LM logits are those of the targets alone, one after the other."""
    inputs, labels = case.arguments(), case.targets()["labels"]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if case.task == "masked-lm":
        labels = labels.clamp(min=0)  # 0 = no target
    if case.task == "replaced":
        labels = torch.where(labels == 1, ids + 1, ids)  # what stood there before
    arguments = {"input_mask": mask, "labels": labels}
    if case.task == "record":
        arguments["entity_indice"] = inputs["entities"]
    output = model(ids, **arguments)
    return {"logits": output["logits"], "loss": output["loss"].mean()}


def in_file(tensors: dict[str, Tensor], case: Case) -> dict[str, Tensor]:
    """Names and layout of the family's files."""
    if case.family != "v1":
        return tensors
    files: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.partition("attention.self.")
        if leaf == "query_proj.weight":
            parts = [
                tensors[f"{stem}attention.self.{n}_proj.weight"] for n in ("query", "key", "value")
            ]
            fused = torch.stack(parts).unflatten(1, (case.config["num_attention_heads"], -1))
            files[f"{stem}attention.self.in_proj.weight"] = fused.transpose(0, 1).flatten(0, 2)
        elif leaf not in (
            "key_proj.weight",
            "value_proj.weight",
            "key_proj.bias",
            "pos_key_proj.bias",
        ):
            for theirs, old in OLD_NAMES.items():
                leaf = leaf.replace(theirs, old) if leaf.startswith(theirs) else leaf
            files[f"{stem}attention.self.{leaf}" if leaf else name] = tensor
    return files


OLD_NAMES = {
    "query_proj.bias": "q_bias",
    "value_proj.bias": "v_bias",
    "pos_key_proj": "pos_proj",
    "pos_query_proj": "pos_q_proj",
}


def record(case: Case, folder: Path) -> None:
    """One model: its files, logits, loss and gradients."""
    case.write(folder)
    model = build(case)
    found = run(model, case)
    found["loss"].backward()
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
    }
    arrays = {f"gradient.{n}": g for n, g in in_file(gradients, case).items()}
    arrays |= {"output.logits": found["logits"], "loss": found["loss"]}
    save_file(
        {n: a.detach().clone().contiguous() for n, a in arrays.items()}, folder / RECORDED_FILE
    )
    peer = folder / PEER_FOLDER
    peer.mkdir(exist_ok=True)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    tensors = {name: t.clone() for name, t in in_file(parameters, case).items()}
    torch.save(tensors, peer / "pytorch_model.bin")
    extra = {"num_labels": N_LABELS} if case.task == "ner" else {}
    text = json.dumps({**case.config, **extra}, indent=1)
    (peer / "model_config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for number, case_name in enumerate(CASES):
        record(make_case(case_name, number), FOLDER / case_name)
