"""The peer's side of the comparison: run by an interpreter that has `transformers`, not by ours.

From the repository's root, with FOLDER holding a folder with case.json for each case:

    python -m tests.reference.record_transformers write FOLDER   # makes models, records them
    python -m tests.reference.record_transformers read FOLDER    # reads what we saved, records it

All parameters are refilled with N(0, 0.3): at the library's own 0.02 attention is nearly uniform,
and broken position terms pass unnoticed. Two choices of Microsoft's code are put into the library
so that they can be compared: bucketed distances are clamped to the trained rows, which only
matters for sequences beyond max_relative_positions, and v1 gets a multiple-choice model.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.deberta_v2 import modeling_deberta_v2

from tests.reference.case import (
    FAILURE_FILE,
    OUR_FOLDER,
    PEER_FOLDER,
    READ_FILE,
    RECORDED_FILE,
    Case,
    collect,
    read_cases,
)

SPREAD = 0.3  # standard deviation of all parameters
SHARD = "4KB"
CLASSES = {
    "model": "Model",
    "masked-lm": "ForMaskedLM",
    "sequence": "ForSequenceClassification",
    "tokens": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choice": "ForMultipleChoice",
}
PREFIXES = {"v1": "Deberta", "v2": "DebertaV2"}

_their_buckets = modeling_deberta_v2.make_log_bucket_position


def clamped_buckets(distances: Tensor, bucket_size: int, max_position: int) -> Tensor:
    """Buckets of distances that stay below max_position, as Microsoft's code has them."""
    limit = max_position - 1
    return _their_buckets(distances.clamp(-limit, limit), bucket_size, max_position)


def class_of(case: Case) -> Any:
    """The library's class; v1 has none for multiple choice, whose scores are one-label logits."""
    if case.family == "v1" and case.task == "choice":
        return transformers.DebertaForSequenceClassification
    return getattr(transformers, PREFIXES[case.family] + CLASSES[case.task])


def settings(case: Case) -> dict[str, Any]:
    """What the class needs beside the case's configuration."""
    extra: dict[str, Any] = {}
    if case.family == "v1" and case.task == "choice":
        extra["num_labels"] = 1
    if case.task == "masked-lm" and not case.config["legacy"]:
        extra["tie_word_embeddings"] = False  # 4.57 would tie the head's dense layer
    return extra


def run(model: nn.Module, case: Case, **extra: Any) -> Any:
    """One forward pass; multiple choice with v1 goes through the flattened batch."""
    inputs = case.arguments()
    if not (case.family == "v1" and case.task == "choice"):
        return model(**inputs, **extra)
    targets = extra.pop("labels", None)
    output = model(**{name: value.flatten(0, 1) for name, value in inputs.items()}, **extra)
    logits = output.logits.view(len(next(iter(inputs.values()))), -1)
    return SimpleNamespace(
        logits=logits,
        hidden_states=output.hidden_states,
        attentions=output.attentions,
        loss=None if targets is None else F.cross_entropy(logits, targets),
    )


def build(case: Case) -> nn.Module:
    """A model with random weights."""
    model_class = class_of(case)
    config = model_class.config_class(**case.config, **settings(case))
    model = model_class(config).eval()
    torch.manual_seed(case.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            nn.init.normal_(parameter, std=SPREAD)
            if "query_proj" in name or "key_proj" in name:
                parameter.mul_(case.stretch)
            if case.layout == "half":
                parameter.copy_(parameter.half().float())
    return model


def record(folder: Path, case: Case) -> None:
    """Outputs, loss and gradients of one new model, and its checkpoint."""
    model = build(case)
    with torch.no_grad():
        found = collect(case, run(model, case, output_hidden_states=True, output_attentions=True))
    arrays = {f"output.{name}": tensor for name, tensor in found.items()}
    if case.labels:
        loss = run(model, case, **case.targets()).loss
    else:
        outputs = collect(case, run(model, case))
        directions = {name: torch.randn_like(outputs[name]) for name in case.outputs}
        arrays |= {f"direction.{name}": tensor for name, tensor in directions.items()}
        loss = torch.stack([(outputs[n] * d).sum() for n, d in directions.items()]).sum()
    loss.backward()
    arrays["loss"] = loss.detach()
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        arrays[f"gradient.{name}"] = gradient
    write_checkpoint(model, folder / PEER_FOLDER, case.layout)
    if case.stretch != 1:
        arrays |= half_precision(model, case)
    save_file({n: a.clone().contiguous() for n, a in arrays.items()}, folder / RECORDED_FILE)


def half_precision(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """The outputs in float16, which are not numbers where a score overflows."""
    with torch.no_grad():
        found = collect(case, run(model.half(), case))
    model.float()
    return {f"half.{name}": tensor.float() for name, tensor in found.items()}


def write_checkpoint(model: nn.Module, folder: Path, layout: str) -> None:
    """The model's files in one of the layouts that exist in the wild."""
    if layout == "safetensors":
        model.save_pretrained(folder)
        return
    if layout == "shards":
        model.save_pretrained(folder, max_shard_size=SHARD)
        return
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if layout == "half":
        half = {n: t.half() for n, t in tensors.items() if ".decoder." not in n}  # those are tied
        save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    elif layout == "bin-shards":
        write_shards(tensors, folder)
    elif layout == "renamed":
        torch.save(rename_as_old(tensors), folder / "pytorch_model.bin")
    else:
        torch.save(tensors, folder / "pytorch_model.bin")


def write_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Two .bin files and their index."""
    names = list(tensors)
    files = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    parts = (names[::2], names[1::2])
    for file, part in zip(files, parts, strict=True):
        torch.save({name: tensors[name] for name in part}, folder / file)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {n: f for f, part in zip(files, parts, strict=True) for n in part},
    }
    text = json.dumps(index)
    (folder / "pytorch_model.bin.index.json").write_text(text, encoding="utf-8")


def rename_as_old(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of old files: bert. for deberta., gamma and beta, the buffer of position ids."""
    renamed = {}
    for name, tensor in tensors.items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        renamed[f"bert.{old.removeprefix('deberta.')}" if _in_encoder(name) else old] = tensor
    renamed["bert.embeddings.position_ids"] = torch.arange(32)[None]
    return renamed


def _in_encoder(name: str) -> bool:
    return name.removeprefix("deberta.").startswith(("embeddings.", "encoder."))


def read_back(folder: Path, case: Case) -> None:
    """Outputs of the checkpoint that we wrote, or a file that says why there are none."""
    if not (folder / OUR_FOLDER).exists():
        return
    try:
        found = read_ours(folder, case)
    except Exception:
        (folder / FAILURE_FILE).write_text(traceback.format_exc(limit=-2), encoding="utf-8")
        return
    save_file({n: t.clone().contiguous() for n, t in found.items()}, folder / READ_FILE)


def read_ours(folder: Path, case: Case) -> dict[str, Tensor]:
    """Outputs of the checkpoint that we wrote, as the library reads it.

    Raises:
        ValueError: it does not find every tensor that it wants, or finds more.
    """
    model, report = class_of(case).from_pretrained(
        folder / OUR_FOLDER, output_loading_info=True, **settings(case)
    )
    left = {kind: names for kind, names in report.items() if names}
    if left:
        raise ValueError(f"{folder / OUR_FOLDER}: {left}")
    with torch.no_grad():
        return collect(case, run(model.eval(), case, output_hidden_states=True))


def main() -> None:
    """Read the command line and run every case."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    modeling_deberta_v2.make_log_bucket_position = clamped_buckets
    step = {"write": record, "read": read_back}[sys.argv[1]]
    for folder, case in read_cases(Path(sys.argv[2])):
        step(folder, case)


if __name__ == "__main__":
    main()
