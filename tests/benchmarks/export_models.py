"""Write a checkpoint as ONNX and as OpenVINO's files, from the models of transformers.

    PEER/bin/python tests/benchmarks/export_models.py FOLDER

Runs in the environment of transformers 4.57.6 and nowhere else: the exporter for TorchScript
cannot read the classes of 5.23. FOLDER gets `model.onnx`, `model.xml` and `model.bin`. OpenVINO
refuses the ONNX file (an If of dynamic rank), so that its model is made from the PyTorch module.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor, nn
from transformers import AutoModel

OPSET = 17
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "last_hidden_state"
EXAMPLE = (2, 24)  # sequences, pieces: what tracing runs on; no value of it stays in the files


class LastHiddenState(nn.Module):
    """A model that takes two positional tensors and returns one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """(B, L) ids and mask to (B, L, W)."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def write_onnx(model: nn.Module, example: tuple[Tensor, Tensor], target: Path) -> None:
    """By the TorchScript exporter, batch and length left open."""
    open_axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        model,
        example,
        target,
        input_names=INPUTS,
        output_names=(OUTPUT,),
        dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), open_axes),
        opset_version=OPSET,
        dynamo=False,
    )


def write_openvino(model: nn.Module, example: tuple[Tensor, Tensor], target: Path) -> None:
    """By OpenVINO's own converter, all dimensions left open, weights in float32."""
    shapes = [openvino.PartialShape([-1, -1]) for _ in INPUTS]
    converted = openvino.convert_model(model, example_input=example, input=shapes)
    for port, name in zip(converted.inputs, INPUTS, strict=True):
        port.get_tensor().set_names({name})
    openvino.save_model(converted, target, compress_to_fp16=False)


def main() -> None:
    """Write both."""
    warnings.simplefilter("ignore")  # tracing warns of every branch on a size
    folder = Path(sys.argv[1])
    model = LastHiddenState(AutoModel.from_pretrained(folder, dtype=torch.float32)).eval()
    mask = torch.ones(EXAMPLE, dtype=torch.int64)
    mask[0, -5:] = 0  # so that no branch for "no padding" is traced
    example = (torch.randint(10, 100, EXAMPLE), mask)
    with torch.no_grad():
        write_onnx(model, example, folder / "model.onnx")
        write_openvino(model, example, folder / "model.xml")


if __name__ == "__main__":
    main()
