"""Tiny classifiers of every problem type, for this project and for transformers.

python -m tests.pipelines.classifiers FOLDER      all of them, for record_pipeline_*.py
"""

import sys
from pathlib import Path
from typing import Any

from tests.pipelines.models import write_model

SENTIMENT = {0: "negative", 1: "neutral", 2: "positive"}
TOPICS = {0: "sport", 1: "art", 2: "law", 3: "food"}
MULTI = {"id2label": TOPICS, "problem_type": "multi_label_classification"}
REGRESSION = {"id2label": {0: "similarity"}, "problem_type": "regression"}
NEUTRAL_FIRST = {0: "neutral", 1: "entailment", 2: "contradiction"}

CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> family, fields of the config
    "single-v3": ("v3", {"id2label": SENTIMENT}),
    "single-v1": ("v1", {"id2label": SENTIMENT}),
    "types": ("v3", {"id2label": SENTIMENT, "type_vocab_size": 2}),
    "multi": ("v3", MULTI),
    "regression": ("v3", REGRESSION),
    "lone": ("v3", {"id2label": {0: "LABEL_0"}}),
    "nli": ("v3", {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}),
    "nli-v1": ("v1", {"id2label": {0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"}}),
    "nli-neutral-first": ("v3", {"id2label": NEUTRAL_FIRST}),
    "nli-unnamed": ("v3", {"id2label": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}}),
    "nli-binary": ("v3", {"id2label": {0: "entailment", 1: "not_entailment"}}),
}


def write_classifier(folder: Path, name: str, **changes: Any) -> Path:
    """One of CLASSIFIERS, in a folder of its own."""
    family, config = CLASSIFIERS[name]
    return write_model(folder / name, "text-classification", family, **{**config, **changes})


if __name__ == "__main__":
    for name in CLASSIFIERS:
        write_classifier(Path(sys.argv[1]), name)
