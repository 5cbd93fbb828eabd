"""Load one checkpoint in a process of its own and print what it took, as JSON.

    python load_worker.py ours|transformers FOLDER

Imports come before the measurement. Memory is what the process holds in RAM beyond that, in bytes,
pages of a memory-mapped file included, except where it says private. Linux only.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

LENGTH = 128  # pieces of the forward pass after loading


def model_class(which: str) -> Any:
    """The class of one of the two packages."""
    if which == "ours":
        from spacy_deberta.modeling import DebertaV2ForSequenceClassification
    else:
        from transformers import DebertaV2ForSequenceClassification
    return DebertaV2ForSequenceClassification


def memory(key: str) -> int:
    """A size of this process: VmRSS, its peak VmHWM, or RssAnon, which leaves out mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = next(line for line in lines if line.startswith(f"{key}:"))
    return int(found.split()[1]) * 1024


def measure(which: str, folder: str) -> dict[str, float]:
    """Load the model in float32, then run it once."""
    chosen = model_class(which)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before, private = memory("VmRSS"), memory("RssAnon")
    start = time.perf_counter()
    model = chosen.from_pretrained(folder, dtype=torch.float32).eval()
    seconds = time.perf_counter() - start
    loaded = {
        "seconds": seconds,
        "peak": memory("VmHWM") - before,
        "private": memory("RssAnon") - private,
    }
    ids = torch.arange(LENGTH)[None] % model.config.vocab_size
    with torch.inference_mode():
        logits = model(input_ids=ids).logits
    return {
        **loaded,
        "peak with a forward pass": memory("VmHWM") - before,
        "first logit": float(logits[0, 0]),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
