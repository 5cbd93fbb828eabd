"""Record what the text-classification pipeline of transformers 4.57.6 returns on tiny checkpoints.

    python -m tests.pipelines.classifiers FOLDER                              # this project
    python tests/reference/record_pipeline_text_classification.py FOLDER      # transformers 4.57.6

Writes tests/pipelines/transformers-4.57.6/text-classification.json.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

TARGET = (
    Path(__file__).parents[1] / "pipelines" / "transformers-4.57.6" / "text-classification.json"
)

LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8
PAIR = {"text": "The old river", "text_pair": "crossed the village."}
CUT_PAIR = {"text": "a quiet garden behind", "text_pair": "the old river"}
MODELS = ["single-v3", "single-v1", "types", "multi", "regression", "lone"]
INPUTS: list[Any] = [
    "Marie wrote a letter.",
    "",
    LONG,
    PAIR,
    ["Marie wrote a letter.", "London can't."],
    ["London can't."],
    [PAIR, {"text": "a letter"}, CUT_PAIR],
    [[["The old river", "crossed the village."]]],
    [],
]
INITS: list[dict[str, Any]] = [{}, {"top_k": 1}, {"top_k": None}, {"return_all_scores": True}]
CALLS: list[dict[str, Any]] = [
    {},
    {"top_k": 2},
    {"top_k": None},
    {"top_k": 0},
    {"top_k": -1},
    {"top_k": 99},
    {"return_all_scores": True},
    {"return_all_scores": False},
    {"function_to_apply": "softmax", "top_k": None},
    {"function_to_apply": "SIGMOID"},
    {"function_to_apply": "none", "top_k": 2},
    {"truncation": True, "top_k": None},
    {"truncation": True, "max_length": 12},
]
BY_KEYWORD = [(["Marie wrote", "London"], {"text_pair": "a letter"})]


def record(folder: Path) -> list[dict[str, Any]]:
    """Every input with every set of options for the first model, some of them for the others."""
    from transformers import pipeline

    cases = []
    for model, init in [(MODELS[0], init) for init in INITS] + [
        (model, {}) for model in MODELS[1:]
    ]:
        classify = pipeline("text-classification", str(folder / model), **init)
        calls = list(itertools.product(INPUTS, CALLS))
        if init:
            calls = list(itertools.product(INPUTS[::3], [{}, {"top_k": 0}, *CALLS[6:8]]))
        elif model != MODELS[0]:
            calls = calls[::5]
        for inputs, options in [*calls, *(BY_KEYWORD if not init else [])]:
            found = classify(inputs, **options)
            case = {"model": model, "init": init, "inputs": inputs, "options": options}
            cases.append({**case, "expected": found})
        streamed = list(classify(text for text in ["Marie", "London can't."]))
        case = {"model": model, "init": init, "stream": ["Marie", "London can't."]}
        cases.append({**case, "options": {}, "expected": streamed})
    return cases


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(case, ensure_ascii=False) for case in record(Path(sys.argv[1]))]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
