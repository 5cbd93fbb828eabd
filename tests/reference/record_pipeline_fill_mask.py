"""What the fill-mask pipeline of transformers 4.57.6 answers; run by an interpreter that has it.

    python -m tests.pipelines.models FOLDER                       # ours: the checkpoints
    python -m tests.reference.record_pipeline_fill_mask FOLDER    # theirs: what they answer

Written to tests/pipelines/transformers-4.57.6/fill-mask.json: each case with its call, and either
`expected` or the class and text of the error.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import transformers

OUT = Path(__file__).parents[1] / "pipelines" / "transformers-4.57.6" / "fill-mask.json"
LONG = "the old river " * 40 + "[MASK]."
TRUNCATE = {"tokenizer_kwargs": {"truncation": True}}

# row of the test matrix, input, options
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("1", "The capital is [MASK].", {"top_k": 2}),
    ("1 defaults", "Marie Curie moved to [MASK].", {}),
    ("2", ["The capital is [MASK]."], {"top_k": 2}),
    ("3", ["The capital is [MASK].", "[MASK] moved to [MASK]."], {"top_k": 2}),
    ("4", "[MASK] moved to [MASK].", {"top_k": 3}),
    ("5 no mask", "The capital is Paris.", {}),
    ("5 empty", "", {}),
    ("5 none", None, {}),
    ("5 number", 3, {}),
    ("6 no texts", [], {}),
    ("6 mask alone", "[MASK]", {"top_k": 3}),
    ("7", "The capital is [MASK].", {"targets": ["the"]}),
    ("7 marked", "The capital is [MASK].", {"targets": ["▁the", "the", "Ġthe"]}),
    ("8", "The capital is [MASK].", {"targets": ["zzxqv"]}),
    ("9 no targets", "The capital is [MASK].", {"targets": []}),
    ("9 empty target", "The capital is [MASK].", {"targets": [""]}),
    ("10", "The capital is [MASK].", {"targets": ["a", "e", "a"]}),
    ("11", "The capital is [MASK].", {"targets": ["a", "e", "o"], "top_k": 2}),
    ("11 two masks", "[MASK] is [MASK].", {"targets": ["a", "e", "o"], "top_k": 2}),
    ("11 one string", "The capital is [MASK].", {"targets": "a"}),
    ("12 zero", "The capital is [MASK].", {"top_k": 0}),
    ("12 too many", "The capital is [MASK].", {"top_k": 10_000}),
    ("13", "The capital is [MASK].", {"top_k": 60}),
    ("14", LONG, TRUNCATE),
    ("14 whole", LONG, {"top_k": 2}),
    ("14 first of two", "[MASK] " + LONG, {**TRUNCATE, "top_k": 2}),
    ("16", "\ufb01rst [MASK] ½ é", {"top_k": 2}),
    ("16 spaces", "  a   [MASK]  , b ", {"top_k": 2}),
    ("17", {"generator": ["a [MASK]", "[MASK] b [MASK]"]}, {"top_k": 2}),
]


def run(pipe: Any, given: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The answer, or what was raised."""
    inputs = (text for text in given["generator"]) if isinstance(given, dict) else given
    try:
        found = pipe(inputs, **options)
        if isinstance(found, types.GeneratorType) or isinstance(given, dict):
            found = list(found)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)[:200]}
    return {"expected": found}


def main(folder: Path) -> None:
    """Record all cases of both families."""
    assert transformers.__version__ == "4.57.6", transformers.__version__
    recorded = []
    for family in ("v3", "v1"):
        path = str(folder / f"fill-mask-{family}")
        pipe = transformers.pipeline("fill-mask", path, device="cpu")
        for row, given, options in CASES:
            answer = run(pipe, given, options)
            case = {"row": row, "family": family, "input": given, "options": options}
            recorded.append({**case, **answer})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in recorded)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
