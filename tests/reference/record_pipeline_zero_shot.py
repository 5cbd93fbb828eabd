"""Record what the zero-shot pipeline of transformers 4.57.6 returns on tiny checkpoints.

    python -m tests.pipelines.classifiers FOLDER                     # this project
    python tests/reference/record_pipeline_zero_shot.py FOLDER       # transformers 4.57.6

Writes tests/pipelines/transformers-4.57.6/zero-shot-classification.json.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

NAME = "zero-shot-classification.json"
TARGET = Path(__file__).parents[1] / "pipelines" / "transformers-4.57.6" / NAME

LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8
MODELS = ["nli", "nli-v1", "nli-neutral-first", "nli-unnamed", "nli-binary"]
INPUTS: list[Any] = [
    "Marie wrote a letter.",
    LONG,
    ["Marie wrote a letter.", "London can't."],
    ["London can't."],
]
CALLS: list[dict[str, Any]] = [
    {"candidate_labels": ["art", "old rivers", "law"]},
    {"candidate_labels": " art, law ,,food "},
    {"candidate_labels": ["art"]},
    {"candidate_labels": ["art", "law", "art"]},
    {"candidate_labels": ["art", "law"], "multi_label": True},
    {"candidate_labels": ["art", "law"], "multi_class": True},
    {"candidate_labels": ["art", "law"], "hypothesis_template": "It is about {} or so."},
    {"candidate_labels": ["a", "the letter " * 40], "multi_label": True},
]


def record(folder: Path) -> list[dict[str, Any]]:
    """Every input with every set of options."""
    from transformers import pipeline

    cases = []
    for model in MODELS:
        classify = pipeline("zero-shot-classification", str(folder / model))
        for inputs, options in itertools.product(INPUTS, CALLS):
            case = {"model": model, "inputs": inputs, "options": options}
            cases.append({**case, "expected": classify(inputs, **options)})
        streamed = list(classify((text for text in ["Marie", "London"]), **CALLS[0]))
        case = {"model": model, "stream": ["Marie", "London"], "options": CALLS[0]}
        cases.append({**case, "expected": streamed})
    return cases


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(case, ensure_ascii=False) for case in record(Path(sys.argv[1]))]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
