"""Record what the question-answering pipeline of transformers 4.57.6 returns on tiny checkpoints.

    python -m tests.pipelines.models FOLDER                                    # this project
    python tests/reference/record_pipeline_question_answering.py FOLDER        # transformers 4.57.6

Writes tests/pipelines/transformers-4.57.6/question-answering.json.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "pipelines" / "transformers-4.57.6" / "question-answering.json"

SHORT = "My name is Wolfgang and I live in Berlin. Paris and paris and Paris."
ODD = "  Ada (1833) ate ﬁne food,\n for ½ hour…  日本 can't wait."
LONG = "The old river crossed the quiet village; a letter came from London in 1911. " * 8
WHERE, WHO = "Where do I live?", "Who wrote the letter?"

CALLS: list[dict[str, Any]] = [
    {"question": WHERE, "context": SHORT},
    {"question": WHO, "context": ODD},
    {"question": WHO, "context": LONG},
    {"question": [WHERE, WHO], "context": SHORT},
    {"question": [WHERE, WHO], "context": [SHORT, LONG]},
    {"question": [WHO], "context": [ODD]},
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"top_k": 4},
    {"top_k": 3, "handle_impossible_answer": True},
    {"top_k": 4, "align_to_words": False},
    {"align_to_words": False, "max_answer_len": 3},
    {"top_k": 5, "max_seq_len": 40, "doc_stride": 12},
    {"handle_impossible_answer": True, "max_seq_len": 48, "doc_stride": 1, "max_answer_len": 40},
]


def record(folder: Path) -> list[dict[str, Any]]:
    """Every call with every set of options, for both families."""
    from transformers import pipeline

    cases = []
    for family in ("v3", "v1"):
        answer = pipeline("question-answering", str(folder / f"question-answering-{family}"))
        for call, options in itertools.product(CALLS, OPTIONS):
            expected = answer(**call, **options)
            case = {"family": family, "call": call, "options": options, "expected": expected}
            cases.append(case)
        items = [{"question": WHERE, "context": SHORT}, {"question": WHO, "context": LONG}]
        cases.append(
            {"family": family, "call": {"data": items}, "options": {}, "expected": answer(items)}
        )
        streamed = list(answer(item for item in [*items, {"question": WHO, "context": ""}]))
        items = [*items, {"question": WHO, "context": ""}]
        cases.append(
            {"family": family, "call": {"stream": items}, "options": {}, "expected": streamed}
        )
    return cases


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    cases = record(Path(sys.argv[1]))
    TARGET.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
