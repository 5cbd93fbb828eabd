"""Tiny models of every class for tests, and batches with padding wherever it can be."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import spacy_deberta
from spacy_deberta.modeling import DebertaPreTrainedModel
from tests.tiny import tiny_config, tiny_v1_config

VOCABULARY = 40
TASKS = (
    "Model",
    "ForMaskedLM",
    "ForMultipleChoice",
    "ForQuestionAnswering",
    "ForReplacedTokenDetection",
    "ForSequenceClassification",
    "ForTokenClassification",
)
ALL = [(family, task) for family in ("Deberta", "DebertaV2") for task in TASKS]
IDS = [family + task for family, task in ALL]


def model_class(family: str, task: str) -> Any:
    return getattr(spacy_deberta, family + task)


def make_config(family: str, **changes: Any) -> Any:
    settings = {"vocab_size": VOCABULARY, "num_labels": 3, **changes}
    return tiny_v1_config(**settings) if family == "Deberta" else tiny_config(**settings)


def make_model(family: str, task: str, *arguments: Any, **changes: Any) -> Any:
    """A model with weights far from those of a new one, biases and norms included."""
    return refill(model_class(family, task)(make_config(family, **changes), *arguments)).eval()


def refill(module: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def make_ids(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, VOCABULARY, shape, generator=generator)


def make_batch(task: str, width: int = 7) -> dict[str, Tensor]:
    """Padding on the right, holes, padding on the left, no padding, nothing but padding."""
    mask = torch.ones(5, width, dtype=torch.int64)
    mask[0, 4:] = 0
    mask[1, 2:4] = 0
    mask[2, :3] = 0
    mask[4] = 0
    ids = make_ids(5, width)
    if task == "ForMultipleChoice":  # of each question two choices
        return {"input_ids": ids[:4].view(2, 2, -1), "attention_mask": mask[:4].view(2, 2, -1)}
    return {"input_ids": ids, "attention_mask": mask}


def make_labels(model: DebertaPreTrainedModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Targets for any class, some of them ignored."""
    shape = batch["input_ids"].shape
    name = type(model).__name__
    if name.endswith("QuestionAnswering"):
        positions = torch.arange(shape[0]) % 4
        return {"start_positions": positions, "end_positions": positions + 1}
    if name.endswith("Model"):
        return {}
    if name.endswith(("SequenceClassification", "MultipleChoice")):
        return {"labels": torch.arange(shape[0]) % 2}
    n_classes = {"MaskedLM": VOCABULARY, "Detection": 2, "TokenClassification": 3}
    size = next(size for suffix, size in n_classes.items() if name.endswith(suffix))
    labels = make_ids(*shape, seed=3) % size
    labels[:, 1] = -100
    return {"labels": labels}


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors of an output, those in tuples, too."""
    found: list[Tensor] = []
    for value in output.to_tuple():
        found += [value] if isinstance(value, Tensor) else list(value)
    return found


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def assert_same_weights(found: nn.Module, expected: nn.Module) -> None:
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def columns(keep: Sequence[int]) -> Tensor:
    """The columns from the first real piece to the last."""
    kept = [number for number, value in enumerate(keep) if value]
    return torch.arange(kept[0], kept[-1] + 1)
