"""Record the hidden states that `transformers` computes with a checkpoint that is not ours to ship.

Run by tests/reference/test_real_v3_xsmall.py with the interpreter of the peer `transformers`:

    python tests/reference/record_hidden_states.py FOLDER IDS.json OUT.safetensors

IDS.json is a list of lists of piece ids, special pieces included. OUT.safetensors gets, for the
text of number n, its hidden states (pieces, width) as "n.single" and "n.double", by the precision
of weights and computation, and the classifier's logits as "n.logits" and "n.double_logits". Each
text is run alone: no padding is involved.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification


def record(folder: Path, ids: list[list[int]], target: Path) -> None:
    """Run every text and write what came out."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    recorded = {}
    with torch.inference_mode():
        for number, pieces in enumerate(ids):
            output = model(input_ids=torch.tensor([pieces]), output_hidden_states=True)
            recorded[f"{number}.single"] = output.hidden_states[-1][0].clone()
            recorded[f"{number}.logits"] = output.logits[0].clone()
        model.double()
        for number, pieces in enumerate(ids):
            output = model(input_ids=torch.tensor([pieces]), output_hidden_states=True)
            recorded[f"{number}.double"] = output.hidden_states[-1][0].clone()
            recorded[f"{number}.double_logits"] = output.logits[0].clone()
    save_file(recorded, target)


if __name__ == "__main__":
    record(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text("utf-8")), Path(sys.argv[3]))
