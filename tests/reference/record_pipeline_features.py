"""Record what the feature-extraction pipeline of transformers 4.57.6 returns.

    HF4/bin/python tests/reference/record_pipeline_features.py MODELS OUT.json

MODELS is written by `python -m tests.pipelines.models MODELS`. Rows are rounded to 7 digits.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, pipeline

TEXTS = ["A text of some words.", "Short", "", "Zürich 😀 ﬁne"]
LONG = "Many words are in this text. " * 12


def rounded(value: Any) -> Any:
    return [rounded(part) for part in value] if isinstance(value, list) else round(value, 7)


def record(folder: Path) -> dict[str, Any]:
    embed = pipeline("feature-extraction", model=str(folder), tokenizer=str(folder), device=-1)
    cut = {"tokenize_kwargs": {"truncation": True, "max_length": 12}}
    return {
        "one": rounded(embed(TEXTS[0])),
        "list": rounded(embed(TEXTS)),
        "list of one": rounded(embed([TEXTS[1]])),
        "long": [sum(column) for column in zip(*embed(LONG)[0], strict=True)],
        "long length": len(embed(LONG)[0]),
        "cut": rounded(embed(LONG, **cut)),
        "cut to the tokenizer's length": len(embed(LONG, truncation=True)[0]),
        "tensor shape": list(embed(TEXTS[0], return_tensors=True).shape),
    }


def record_choices(folder: Path) -> dict[str, Any]:
    """Logits of multiple choice: there is no pipeline for it, so the model is called."""
    import torch
    from transformers import DebertaV2ForMultipleChoice

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = DebertaV2ForMultipleChoice.from_pretrained(folder).eval()
    context, choices = "Where do fish live?", ["in water", "on trees and roofs", "x"]
    rows = tokenizer([context] * len(choices), choices, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**{name: part.unsqueeze(0) for name, part in rows.items()}).logits[0]
    return {"context": context, "choices": choices, "scores": logits.softmax(-1).tolist()}


if __name__ == "__main__":
    models, out = Path(sys.argv[1]), Path(sys.argv[2])
    results: dict[str, Any] = {
        family: record(models / f"feature-extraction-{family}") for family in ("v3", "v1")
    }
    results["multiple-choice"] = record_choices(models / "multiple-choice-v3")
    out.write_text(json.dumps(results) + "\n", encoding="utf-8")
