"""Save a pipeline that is one encoder, or load it in a process of its own and print what it took.

    python pipeline_load_worker.py save COMPONENT.json FOLDER
    python pipeline_load_worker.py load FOLDER [FOLDER_BEFORE]

Runs in our environment and in that of a peer; COMPONENT.json is the config of the component, with
its factory. spaCy is imported before the clock starts. The rest of the imports count, unless a
small pipeline of the same kind, FOLDER_BEFORE, is loaded first. Sizes are bytes. Linux only.

Imports nothing of ours itself: with our root on its path, a peer would find our entry points.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language

TEXT = "the people of the world made this city"  # each word is one piece


def save(component: dict[str, Any], folder: str) -> None:
    """A blank English pipeline with that component, its weights loaded."""
    nlp = spacy.blank("en")
    nlp.add_pipe(component["factory"], config={"model": component["model"]})
    nlp.initialize()
    nlp.to_disk(folder)


def memory(key: str) -> int:
    """A size of this process: VmRSS, or its peak VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = next(line for line in lines if line.startswith(f"{key}:"))
    return int(found.split()[1]) * 1024


def first_rows(nlp: Language) -> Any:
    """The rows of the words of a short text."""
    doc = nlp(TEXT)
    if doc.has_extension("deberta"):
        return doc.tensor
    return doc._.trf_data.model_output.last_hidden_state[0][1:-1]


def measure(folder: str, before: str | None) -> dict[str, Any]:
    """Load, then use it once."""
    if before:
        spacy.load(before)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    held = memory("VmRSS")
    times = [time.perf_counter()]
    nlp = spacy.load(folder)
    times.append(time.perf_counter())
    peak = memory("VmHWM") - held
    rows = first_rows(nlp)
    times.append(time.perf_counter())
    return {
        "load": times[1] - times[0],
        "text": times[2] - times[1],
        "peak": peak,
        "first column": [float(row[0]) for row in rows],
    }


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "save":
        save(json.loads(Path(first).read_text(encoding="utf-8")), rest[0])
    else:
        print(json.dumps(measure(first, rest[0] if rest else None)))
