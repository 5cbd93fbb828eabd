"""Our side of the comparison: read the peer's checkpoint, compute the same, say how far off it is.

Gradients are compared under the names and in the layout of the original files: a copy of the model
whose parameters are the gradients is saved like any model.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import spacy_deberta
from spacy_deberta.modeling import DebertaPreTrainedModel
from tests.reference.case import (
    OUR_FOLDER,
    PEER_FOLDER,
    READ_FILE,
    RECORDED_FILE,
    WRITTEN_FILE,
    Case,
    collect,
    read_case,
)

STEP = 0.01  # learning rate of the step before the model is saved
CLASSES = {
    "model": "Model",
    "masked-lm": "ForMaskedLM",
    "sequence": "ForSequenceClassification",
    "tokens": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choice": "ForMultipleChoice",
}
PREFIXES = {"v1": "Deberta", "v2": "DebertaV2"}


@dataclass(frozen=True)
class Errors:
    """Largest differences: absolute where values are below 1, else relative to the largest one.

    Attributes:
        outputs: of logits or the last hidden state.
        states: of all layers' hidden states and attention probabilities.
        loss: of the loss.
        gradients: of the gradient of any parameter.
    """

    outputs: float
    states: float
    loss: float
    gradients: float

    @property
    def largest(self) -> float:
        """The largest of them; not a number if any is not."""
        return float(torch.tensor([self.outputs, self.states, self.loss, self.gradients]).max())


def load(folder: Path, case: Case, attention: str = "auto") -> DebertaPreTrainedModel:
    """The model of the checkpoint that the peer wrote."""
    model_class: Any = getattr(spacy_deberta, PREFIXES[case.family] + CLASSES[case.task])
    options = {}
    if case.task == "masked-lm" and not case.config["legacy"]:
        options["mask_decoder"] = "plain"
    return model_class.from_pretrained(folder / PEER_FOLDER, attention=attention, **options)


def run(model: DebertaPreTrainedModel, case: Case, **extra: Any) -> Any:
    """One forward pass; every other case has its mask as bool."""
    inputs = case.arguments()
    if "attention_mask" in inputs and case.seed % 2:
        inputs["attention_mask"] = inputs["attention_mask"].bool()
    return model(**inputs, **extra)


def check(folder: Path, case: Case, attention: str = "auto") -> Errors:
    """Forward, loss and backward against the recording."""
    recorded = load_file(folder / RECORDED_FILE)
    model = load(folder, case, attention)
    outputs = run_backward(model, case, directions(recorded))
    states = {}
    if attention in ("auto", "plain"):  # a fast path has no probabilities to show
        with torch.no_grad():
            output = run(model, case, output_hidden_states=True, output_attentions=True)
        states = collect(case, output)
        expected = {n.removeprefix("output.") for n in recorded if n.startswith("output.")}
        if states.keys() != expected:
            names = sorted(states.keys() ^ expected)
            raise ValueError(f"{case.name}: outputs that only one side has: {names}")
    return Errors(
        outputs=max(difference(outputs[n], recorded[f"output.{n}"]) for n in case.outputs),
        states=max(
            (difference(state, recorded[f"output.{n}"]) for n, state in states.items()), default=0.0
        ),
        loss=difference(outputs["loss"], recorded["loss"]),
        gradients=gradient_error(model, recorded),
    )


def directions(recorded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The projection that makes a loss of outputs without labels."""
    prefix = "direction."
    return {n.removeprefix(prefix): t for n, t in recorded.items() if n.startswith(prefix)}


def run_backward(
    model: DebertaPreTrainedModel, case: Case, projection: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Outputs and loss; the gradients are left in the parameters."""
    output = run(model, case, **case.targets())
    found = {name: case.real(name, getattr(output, name)) for name in case.outputs}
    loss = output.loss if case.labels else sum((found[n] * d).sum() for n, d in projection.items())
    loss.backward()
    return {**{n: t.detach() for n, t in found.items()}, "loss": loss.detach()}


def gradient_error(model: DebertaPreTrainedModel, recorded: Mapping[str, Tensor]) -> float:
    """The largest difference of any parameter's gradient.

    Raises:
        ValueError: the two do not have the same parameters.
    """
    carrier = copy.deepcopy(model)
    with torch.no_grad():
        pairs = zip(carrier.parameters(), model.parameters(), strict=True)
        for parameter, source in pairs:
            gradient = source.grad
            parameter.copy_(torch.zeros_like(parameter) if gradient is None else gradient)
    with tempfile.TemporaryDirectory() as folder:
        carrier.save_pretrained(Path(folder))
        found = load_file(Path(folder) / "model.safetensors")
    expected = expected_gradients(recorded, found)
    if expected.keys() != found.keys():
        names = sorted(expected.keys() ^ found.keys())
        raise ValueError(f"parameters that only one side has: {names}")
    return max(difference(found[name], tensor) for name, tensor in expected.items())


def expected_gradients(recorded: Mapping[str, Tensor], found: Collection[str]) -> dict[str, Tensor]:
    """Recorded gradients by parameter, without parameters that only the peer has and never uses.

    Without relative attention, the peer keeps the norm of a table that it does not have.
    """
    prefix = "gradient."
    gradients = {n.removeprefix(prefix): t for n, t in recorded.items() if n.startswith(prefix)}
    return {n: t for n, t in gradients.items() if n in found or bool(t.any())}


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference, by the scale of the expected values where that is above 1.

    Raises:
        ValueError: the shapes differ.
    """
    if found.shape != expected.shape and found.numel() != expected.numel():
        raise ValueError(f"found shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
    if not expected.numel():
        return 0.0
    scale = max(1.0, float(expected.abs().max()))
    return float((found.reshape(expected.shape).float() - expected).abs().max()) / scale


def write(folder: Path, case: Case) -> None:
    """Train the model for one step and save it, with its outputs beside it."""
    recorded = load_file(folder / RECORDED_FILE)
    model = load(folder, case)
    run_backward(model, case, directions(recorded))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(STEP * parameter.grad)
        model.save_pretrained(folder / OUR_FOLDER)
        found = collect(case, run(model, case, output_hidden_states=True))
    save_file({n: t.clone().contiguous() for n, t in found.items()}, folder / WRITTEN_FILE)


def read_error(folder: Path) -> float:
    """How far the peer's outputs of our checkpoint are from ours."""
    ours, theirs = load_file(folder / WRITTEN_FILE), load_file(folder / READ_FILE)
    return max(difference(ours[name], tensor) for name, tensor in theirs.items())


def half_precision(folder: Path) -> tuple[bool, bool]:
    """Whether the outputs of the peer and ours are finite in float16."""
    case = read_case(folder)
    recorded = load_file(folder / RECORDED_FILE)
    theirs = [tensor for name, tensor in recorded.items() if name.startswith("half.")]
    with torch.no_grad():
        output = run(load(folder, case).half(), case)
    found = [getattr(output, name) for name in case.outputs]
    return all_finite(theirs), all_finite(found)


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether there is neither an infinity nor something that is not a number in them."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
