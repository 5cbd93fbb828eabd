"""Task pipelines against those of `transformers` 4.57.6, on the same checkpoint and texts.

    python -m tests.benchmarks.peers pipeline-speed
    python -m tests.benchmarks.pipeline_speed --tokenizer FOLDER --text FILE

The checkpoints have the shape of v3-xsmall and random weights. Results are compared first, under
hf_compat; then both run in one process in turn, theirs with batch_size 1 (its default) and 8, of
which the faster counts. "bound" is theirs over the linear maps of our encoder alone, on the batches
that our pipeline makes, in the same run: what no pipeline on the same library for matrix products
can exceed. Peak memory over the loaded pipeline is of a process each.
"""

from __future__ import annotations

import argparse
import gc
import json
import lzma
import math
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import PIPELINE_SPEED, peer_python

TASKS = (
    "fill-mask",
    "token-classification",
    "text-classification",
    "zero-shot-classification",
    "question-answering",
    "feature-extraction",
)
KINDS = ("short", "mixed", "long")
N_TEXTS = {"short": 32, "mixed": 16, "long": 2}
WORDS = {"short": (5, 30), "mixed": (5, 300), "long": (1500, 1500)}
LABELS = ["sports", "politics", "science"]
QUESTION = "Who was there at first?"
LIMIT = 512  # pieces that the tokenizer declares
SHAPE = {
    "vocab_size": 128_100,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "pos_att_type": ("p2c", "c2p"),
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "pooler_hidden_act": "gelu",
}
HEADS: dict[str, tuple[str, dict[int, str] | None]] = {
    "fill-mask": ("DebertaV2ForMaskedLM", None),
    "token-classification": (
        "DebertaV2ForTokenClassification",
        {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"},
    ),
    "text-classification": ("DebertaV2ForSequenceClassification", {0: "no", 1: "yes"}),
    "zero-shot-classification": (
        "DebertaV2ForSequenceClassification",
        {0: "contradiction", 1: "neutral", 2: "entailment"},
    ),
    "question-answering": ("DebertaV2ForQuestionAnswering", None),
    "feature-extraction": ("DebertaV2Model", None),
}
TOLERANCE = 1e-4

Call = Callable[[], Any]


def write_checkpoints(folder: Path, tokenizer: Path) -> None:
    """One folder per task."""
    import torch

    import spacy_deberta.modeling as zoo
    from spacy_deberta.config import DebertaV2Config

    pieces = zoo.DebertaV2Tokenizer.from_pretrained(str(tokenizer))
    for task, (name, labels) in HEADS.items():
        torch.manual_seed(0)
        more = {} if labels is None else {"id2label": labels}
        settings: dict[str, Any] = {**SHAPE, **more}
        model = getattr(zoo, name)(DebertaV2Config(**settings), **_head(task)).eval()
        model.save_pretrained(folder / task)
        pieces.save_pretrained(folder / task)
        file = folder / task / "tokenizer_config.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content |= {"model_max_length": LIMIT, "tokenizer_class": "DebertaV2Tokenizer"}
        file.write_text(json.dumps(content), encoding="utf-8")


def _head(task: str) -> dict[str, Any]:
    return {"mask_decoder": "legacy"} if task == "fill-mask" else {}


def read_words(file: Path) -> list[str]:
    """The words of a text file, plain or .xz."""
    data = file.read_bytes()
    text = (lzma.decompress(data) if file.suffix == ".xz" else data).decode("utf-8")
    return text.split()[:200_000]


def cut_texts(words: list[str], kind: str) -> list[str]:
    """Texts of one kind, always the same."""
    drawn = random.Random(0)
    texts = []
    for _ in range(N_TEXTS[kind]):
        n_words = drawn.randint(*WORDS[kind])
        start = drawn.randrange(len(words) - n_words)
        texts.append(" ".join(words[start : start + n_words]).replace("[", "("))
    return texts


def call_of(pipe: Any, task: str, texts: list[str], more: dict[str, Any]) -> Call:
    """One pass over the texts, for either library."""
    if task == "question-answering":
        questions = [{"question": QUESTION, "context": text} for text in texts]
        return lambda: pipe(questions, **more)
    if task == "zero-shot-classification":
        return lambda: pipe(texts, candidate_labels=LABELS, **more)
    if task == "fill-mask":
        texts = [_masked(text) for text in texts]
    return lambda: pipe(texts, **more)


def _masked(text: str) -> str:
    words = text.split()
    words[len(words) // 2] = "[MASK]"
    return " ".join(words)


def open_theirs(folder: Path, task: str, kind: str) -> Any:
    """Their pipeline; for long texts with the stride without which it cuts entities off."""
    from transformers import logging, pipeline

    logging.set_verbosity_error()
    more: dict[str, Any] = {}
    if task == "token-classification":
        more = {"aggregation_strategy": "average"}
        if kind != "short":
            more["stride"] = LIMIT // 4
    return pipeline(task, str(folder / task), device="cpu", **more)


def open_ours(folder: Path, task: str, **settings: Any) -> Any:
    """Ours, as a user would make it."""
    from pipelines import pipeline

    return pipeline(task, folder / task, device="cpu", **settings)


def check_outputs(folder: Path, task: str, texts: list[str]) -> float:
    """Largest difference of numbers under hf_compat; AssertionError beyond the tolerance."""
    more = {"aggregation_strategy": "average"} if task == "token-classification" else {}
    ours = open_ours(folder, task, hf_compat=True, **more)
    found = call_of(ours, task, texts, {})()
    expected = call_of(open_theirs(folder, task, "short"), task, texts, {})()
    left, right = list(_numbers(found)), list(_numbers(expected))
    assert len(left) == len(right), f"{task}: {len(left)} numbers, expected {len(right)}"
    worst = max(abs(a - b) for a, b in zip(left, right, strict=True))
    assert worst <= TOLERANCE, f"{task}: differs by {worst}"
    return worst


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _numbers(value[key])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one)
    elif not isinstance(value, str) and value is not None:
        yield float(value)


def compare(folder: Path, texts: list[str], task: str, kind: str, repeats: int) -> dict[str, float]:
    """Seconds of ours, of the faster of theirs, and of our linear maps alone."""
    from tests.benchmarks.interleaved import measure_in_turn
    from tests.benchmarks.linear_maps import linear_maps

    theirs, ours = open_theirs(folder, task, kind), open_ours(folder, task)
    calls = {"ours": call_of(ours, task, texts, {})}
    calls["linear"] = linear_maps(ours.model.encoder, calls["ours"])
    for size in (1, 8):
        calls[f"theirs {size}"] = call_of(theirs, task, texts, {"batch_size": size})
    timings = measure_in_turn(calls, repeats, warm_up=1)
    fastest = min(timings["theirs 1"].median, timings["theirs 8"].median)
    return {"ours": timings["ours"].median, "theirs": fastest, "linear": timings["linear"].median}


def peak_of(implementation: str, folder: Path, file: Path, task: str, kind: str) -> float:
    """MiB over the loaded pipeline, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.pipeline_speed", "--peak", implementation]
    command += ["--folder", str(folder), "--text", str(file), "--tasks", task, "--kinds", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(implementation: str, folder: Path, texts: list[str], task: str, kind: str) -> None:
    """What `peak_of` reads."""
    pipe = open_ours(folder, task) if implementation == "ours" else open_theirs(folder, task, kind)
    call_of(pipe, task, ["A word or two or three."], {})()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _memory("VmRSS")
    call_of(pipe, task, texts, {})()
    print(_memory("VmHWM") - before)


def _memory(name: str) -> float:
    """MiB, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def report(arguments: argparse.Namespace, words: list[str], folder: Path) -> None:
    """The table, row by row."""
    import torch

    torch.set_num_threads(arguments.threads)
    print(describe_machine(arguments.threads))
    titles = "task | texts | theirs (s) | ours (s) | ratio | bound | theirs (MiB) | ours (MiB)"
    print(f"| {titles} | differs |\n|---|---|---|---|---|---|---|---|---|")
    for task in arguments.tasks:
        worst = check_outputs(folder, task, cut_texts(words, "short")[:8])
        for kind in arguments.kinds:
            seconds = compare(folder, cut_texts(words, kind), task, kind, arguments.repeats)
            peaks = [
                peak_of(one, folder, arguments.text, task, kind) if arguments.memory else math.nan
                for one in ("theirs", "ours")
            ]
            ratio, bound = (seconds["theirs"] / seconds[name] for name in ("ours", "linear"))
            print(
                f"| {task} | {kind} | {seconds['theirs']:.2f} | {seconds['ours']:.2f} "
                f"| {ratio:.2f} | {bound:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} | {worst:.1e} |",
                flush=True,
            )


def main() -> None:
    """Read the command line; run in the peer's environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, help="folder with v3's spm.model")
    parser.add_argument("--text", type=Path, required=True, help="running text, plain or .xz")
    parser.add_argument("--folder", type=Path, help="checkpoints of an earlier run")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--peak", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if Path(sys.executable) != peer_python(PIPELINE_SPEED):
        command = [str(peer_python(PIPELINE_SPEED)), "-m", "tests.benchmarks.pipeline_speed"]
        sys.exit(subprocess.call([*command, *sys.argv[1:]]))
    warnings.simplefilter("ignore")
    words = read_words(arguments.text)
    if arguments.peak:
        task, kind = arguments.tasks[0], arguments.kinds[0]
        print_peak(arguments.peak, arguments.folder, cut_texts(words, kind), task, kind)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or Path(made)
        if not (folder / TASKS[0]).exists():
            write_checkpoints(folder, arguments.tokenizer)
        report(arguments, words, folder)


if __name__ == "__main__":
    main()
