"""Peak memory of one forward pass, in a process of its own; prints it as JSON.

    python encoder_memory_worker.py encoder ours|transformers FOLDER DTYPE BATCH LENGTH THREADS
    python encoder_memory_worker.py document FOLDER TOKENS THREADS

FOLDER is a checkpoint. Before the measurement its weights are in memory, read to the last page, in
their precision, and the libraries have been used once. The encoder itself has not: whatever it
prepares at first use counts. All sizes are bytes. Linux only.
"""

import ctypes
import gc
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.load_worker import memory

# One word is about one piece, and none brings a new row of the piece table after the first text.
TEXT = (
    "the of and to in is was that for on with as he at by it from his an are which this be had not "
    "they were their has but one all have can first there who when more other about people time if "
    "over after new years into may some two most would made such during where three her only world"
)
OUTPUT = "hidden.npy"  # beside the checkpoint, with the package's name before it


def start_peak() -> int:
    """Give freed memory back, forget the peak until now; what the process holds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory("VmRSS")


def load(which: str, folder: str, dtype: torch.dtype) -> Any:
    """The encoder of one of the two packages, its weights in memory."""
    package: Any = import_module("spacy_deberta" if which == "ours" else "transformers")
    model = package.DebertaV2Model.from_pretrained(folder, dtype=torch.float32).to(dtype).eval()
    for weights in model.state_dict().values():
        weights.sum()  # a memory-mapped page is in memory once it was read
    return model


def use_libraries(dtype: torch.dtype) -> None:
    """Start the threads and load the kernels that both packages need."""
    rows = torch.ones(64, 64, dtype=dtype)
    torch.nn.functional.linear(rows, rows).softmax(-1)
    torch.bmm(rows[None], rows[None])


def measure_encoder(which: str, folder: str, dtype_name: str, batch: int, length: int) -> Any:
    """One forward pass of a full batch."""
    dtype = getattr(torch, dtype_name)
    model = load(which, folder, dtype)
    use_libraries(dtype)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, model.config.vocab_size, (batch, length), generator=generator)
    before = start_peak()
    start = time.perf_counter()
    with torch.inference_mode():
        hidden = model(input_ids=ids).last_hidden_state
    seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
    np.save(Path(folder) / f"{which}-{OUTPUT}", hidden.float().numpy())
    del hidden
    return {"seconds": seconds, "peak": peak, "kept": start_peak() - before}


def measure_document(folder: str, n_tokens: int) -> Any:
    """One document through nlp.pipe of a pipeline that is nothing but the component `deberta`."""
    import spacy
    from spacy.tokens import Doc

    nlp = spacy.blank("en")
    component: Any = nlp.add_pipe("deberta", config={"model": {"source": folder}})
    nlp.initialize()
    for weights in component.model.shims[0].encoder.state_dict().values():
        weights.sum()
    words = TEXT.split()
    doc = Doc(nlp.vocab, words=np.random.default_rng(0).choice(words, n_tokens).tolist())
    nlp(Doc(nlp.vocab, words=words))
    before = start_peak()
    start = time.perf_counter()
    (encoded,) = nlp.pipe([doc])
    seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
    return {
        "tokens": len(encoded),
        "pieces": len(encoded._.deberta.ids),
        "seconds": seconds,
        "peak": peak,
        "kept": start_peak() - before,
        "rows": encoded.tensor.nbytes,
    }


if __name__ == "__main__":
    kind, *rest, n_threads = sys.argv[1:]
    torch.set_num_threads(int(n_threads))
    if kind == "encoder":
        which, folder, dtype_name, batch, length = rest
        answer = measure_encoder(which, folder, dtype_name, int(batch), int(length))
    else:
        answer = measure_document(rest[0], int(rest[1]))
    print(json.dumps(answer))
