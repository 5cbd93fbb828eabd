"""Behaviours of a spaCy encoder that take long to see: memory over time, sizes, GPU."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, tiny_config

pytestmark = pytest.mark.slow

MEASURE = """
import gc, resource, spacy, sys, threading, time

PAGE = resource.getpagesize()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE

class Peak(threading.Thread):
    '''The largest resident size while it runs.'''

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes, self.runs = resident(), True

    def run(self):
        while self.runs:
            self.bytes = max(self.bytes, resident())
            time.sleep(0.002)

nlp = spacy.blank("en")
nlp.add_pipe("deberta", config={"model": {"source": SOURCE, "batch_pieces": 2048}})
"""


def measured(source: Path, program: str, timeout: int = 900) -> list[float]:
    """What a program in a process of its own prints."""
    script = MEASURE.replace("SOURCE", repr(str(source))) + program
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [float(line) for line in result.stdout.split()]


def test_ten_thousand_docs_leave_nothing_behind(tiny_source: Path) -> None:
    """Row 48: resident memory is flat; kept Docs cost what they show."""
    program = f"""
texts = {list(TEXTS)!r} * 500
for _ in range(6):
    for _ in nlp.pipe(texts, batch_size=64):
        pass
    gc.collect()
    print(resident())
"""
    sizes = measured(tiny_source, program)

    # 300 bytes a Doc; the allocator's own ups and downs came to 0.7 MiB, on a busy machine to more.
    assert min(sizes[4:]) - max(sizes[:2]) < 3 * 2**20


def test_a_million_characters_need_no_more_than_a_short_text(tiny_source: Path) -> None:
    """Row 14: beside the Doc's own rows, pieces and the numbers of its windows."""
    program = f"""
short = " ".join({list(TEXTS)!r} * 100)
long = (short + " ") * (1_000_000 // len(short))
for text in (short, short, long):
    doc = nlp.make_doc(text)
    gc.collect()
    before = resident()
    peak = Peak()
    peak.start()
    nlp.get_pipe("deberta")(doc)
    peak.runs = False
    peak.join()
    view = doc._.deberta
    print((peak.bytes - before - view.nbytes) / 2**20, len(doc), len(view.ids), len(text))
"""
    found = np.array(measured(tiny_source, program)).reshape(3, 4)

    per_piece = 200 / 2**20  # MiB: offsets, window numbers, alignment, a few copies of each
    assert found[2, 3] > 980_000
    assert found[2, 0] < max(found[0, 0], 32) + per_piece * found[2, 2]


def test_more_than_four_gigabytes_can_be_saved(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 34: on the disk 4.3 GB for a moment."""
    small = DebertaEncoder(tiny_config(hidden_size=66))
    encoder = DebertaEncoder(replace(small.config, vocab_size=2**24))  # the largest vocabulary
    with torch.no_grad():
        encoder.embeddings.pieces.weight.zero_()
        encoder.embeddings.pieces.weight[-1, 0] = 0.1  # no number of 16 bits
    shim = DebertaShim(None, "mean")
    shim._take(encoder, tiny_tokenizer)
    tmp_path.joinpath("big").mkdir()

    shim.save(tmp_path / "big")

    assert (tmp_path / "big" / "model.safetensors").stat().st_size > 2**32
    again = DebertaShim(None, "mean")
    again.load(tmp_path / "big")
    assert float(again.encoder.embeddings.pieces.weight[-1, 0].detach()) == pytest.approx(0.1)
    (tmp_path / "big" / "model.safetensors").unlink()
