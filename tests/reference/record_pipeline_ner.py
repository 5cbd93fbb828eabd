"""Record what the token-classification pipeline of `transformers` says of the tiny checkpoints.

    python -m tests.pipelines.models FOLDER              in our environment: writes the checkpoints
    python tests/reference/record_pipeline_ner.py FOLDER in one with transformers 4.57.6

Writes tests/pipelines/transformers-4.57.6/token-classification.json: for each case the family, the
input, the options, and the result or the error.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import transformers
from transformers import pipeline

OUT = Path(__file__).parents[1] / "pipelines" / "transformers-4.57.6" / "token-classification.json"

TEXTS = [
    "Angela Merkel lives in Berlin.",
    "Hi (Angela), Merkel. x",
    "Angela\nMerkel\tlives",
    "a  b\n c",
    "The old teacher, Marie Curie, crossed the river in Paris; London can't follow!",
    "Text with [MASK] and [SEP] in it",
    "x ½ y",
    " lead and trail  ",
    "",
    "   ",
]
LONG = " ".join(["Marie Curie moved to Paris.", "The old river", "Angela"] * 7)
STRATEGIES = ["none", "simple", "first", "average", "max"]
WORDS = ["Angela", "Merkel", "lives", "in", "New York", "", "Berlin."]


def cases() -> list[tuple[Any, dict[str, Any]]]:
    found: list[tuple[Any, dict[str, Any]]] = [("Angela Merkel", {}), (["Angela Merkel"], {})]
    for strategy in STRATEGIES:
        chosen = {"aggregation_strategy": strategy}
        found += [(text, {**chosen, "ignore_labels": []}) for text in TEXTS]
        found += [(TEXTS[:3], chosen)]
        found += [
            (TEXTS[4], {**chosen, "ignore_labels": labels}) for labels in (["PER"], ["B-PER"])
        ]
        found += [(LONG, {**chosen, "stride": stride}) for stride in (0, 40)]
        found += [(TEXTS[4], {**chosen, "stride": 16, "ignore_labels": []})]
        in_words = {**chosen, "is_split_into_words": True, "ignore_labels": []}
        found += [(WORDS, in_words), ([WORDS, WORDS[:2]], in_words)]
        found += [(WORDS, {**in_words, "delimiter": "--"})]
        found += [(WORDS * 9, {**in_words, "stride": 20})]
    found += [(LONG, {"aggregation_strategy": "simple"})]
    found += [(LONG, {"stride": 16}), ([], {}), (("a", "b"), {}), ([["a"]], {})]
    found += [("x", {"aggregation_strategy": "FOO"}), ("x", {"stride": 64}), ("x", {"stride": 63})]
    return found


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return round(float(value), 7) if type(value).__name__ == "float32" else value


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    recorded = []
    for family in ("v3", "v1"):
        for given, options in cases():
            run = pipeline("ner", str(folder / f"token-classification-{family}"))
            case = {"family": family, "input": given, "options": options}
            try:
                result = plain(run(given, **options))
            except Exception as error:
                case["error"] = type(error).__name__
            else:
                case["result"] = result
            recorded.append(case)
    OUT.parent.mkdir(exist_ok=True)
    content = {"transformers": transformers.__version__, "cases": recorded}
    OUT.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
