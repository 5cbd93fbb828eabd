"""A pipeline that is nothing but an encoder, held by a process that runs it on request.

    python tests/benchmarks/encoder_worker.py COMPONENT.json TEXTS.json

Runs in our environment and in that of a peer. COMPONENT.json is the config of the component, with
its factory; TEXTS.json has lists of texts by name. Requests are lines on standard input, each is
answered by one line of JSON:

    time NAME          {"words": 1234, "seconds": 5.6}   of nlp.pipe over that list
    save NAME FILE     {"texts": 12}                     what the encoder gave, as FILE.npz
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc


def load(component: dict[str, Any]) -> Language:
    """A blank English pipeline with that component, its weights loaded."""
    nlp = spacy.blank("en")
    nlp.add_pipe(component["factory"], config={"model": component["model"]})
    nlp.initialize()
    return nlp


def measure(nlp: Language, texts: list[str]) -> dict[str, float]:
    """Words and seconds of one run."""
    start = time.perf_counter()
    words = sum(len(doc) for doc in nlp.pipe(texts))
    return {"words": words, "seconds": time.perf_counter() - start}


def save(nlp: Language, texts: list[str], target: Path) -> dict[str, float]:
    """Write what `encoder_check.py` compares."""
    arrays: dict[str, Any] = {}
    for number, doc in enumerate(nlp.pipe(texts)):
        for name, array in _arrays(doc).items():
            arrays[f"{number}.{name}"] = array
    np.savez(target, **arrays)
    return {"texts": len(texts)}


def _arrays(doc: Doc) -> dict[str, np.ndarray]:
    """Ours: pieces, tokens and token rows. Theirs: pieces and piece rows, of the first window."""
    if doc.has_extension("deberta"):
        seen = doc._.deberta
        tokens = {"pieces": seen.tokens.pieces, "lengths": seen.tokens.lengths}
        return {"ids": seen.ids, "rows": seen.rows, **tokens}
    data = doc._.trf_data
    real = data.wordpieces.attention_mask[0] > 0
    ids, rows = data.wordpieces.input_ids[0], data.model_output.last_hidden_state[0]
    return {"ids": ids[real][1:-1], "rows": rows[real][1:-1]}


def main() -> None:
    """Answer requests until the input ends."""
    nlp = load(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    texts = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    for line in sys.stdin:
        request, name, *rest = line.split()
        if request == "time":
            answer = measure(nlp, texts[name])
        else:
            answer = save(nlp, texts[name], Path(rest[0]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
