"""How the pipeline inside the package was trained: one encoder, all tasks at once.

    python -m tests.benchmarks.train_embedded --data DIR --text FILE --source ENCODER --out OUT

DIR holds NAME.spacy files of `convert-data` and `spacy convert`, named as in MIX; FILE is running
text, plain or .xz. `configs/embedded_v2.cfg` has the components and the optimizer. `spacy train`
would do, but reads every Doc for every task; here a step has some Docs of each task, and only the
components of that task see them. The rate falls to zero when the minutes or the steps are over;
with --steps the same command goes on where OUT was saved last, with a fresh optimizer. Docs that
stand in a NAME_dev.spacy or NAME_test.spacy, or in a file of --held-out, are left out wherever they
are.
"""

from __future__ import annotations

import argparse
import lzma
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, load_config, load_model_from_config, registry

CONFIG = Path(__file__).parents[2] / "configs" / "embedded_v2.cfg"
TOKENS = ("tagger", "parser", "ner")

MIX: dict[str, tuple[float, tuple[str, ...]]] = {  # file -> Docs per step, components
    "ewt": (9, TOKENS),
    "wg": (4, TOKENS),
    "wn": (4, TOKENS),
    "sent": (12, ("sentiment",)),
    "nli": (24, ("nli",)),
    "qa": (0.5, ("qa",)),  # of ten questions each
    "mc_codah": (2, ("choice",)),
    "mc_csqa": (2, ("choice",)),
    "text": (16, ("fill_mask",)),  # or --lines
}
LINE = (60, 600)  # characters of a line of running text
SAMPLE = 4000  # Docs of a file to learn labels from
DROPOUT = 0.1
REPORT = 25  # steps
WARM_UP = 50  # steps
SAVE = 100  # steps
STEP_FILE = "step.json"  # beside the pipeline's files: steps that are done


def read_docs(file: Path, nlp: Language, held_out: set[str]) -> list[Example]:
    """The Docs of a file with what they are to be predicted from, none of those held out."""
    docs = DocBin().from_disk(file).get_docs(nlp.vocab)
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs if not texts_of(doc) & held_out]


def texts_of(doc: Doc) -> set[str]:
    """What must not be in training if it is tested on: words and spaces, and the second text."""
    return {" ".join(token.text for token in doc), doc._.get("pair")} - {None}


def read_held_out(files: Iterable[Path], nlp: Language) -> set[str]:
    """The texts of dev and test parts; data sets overlap more than their names tell."""
    docs = (doc for file in files for doc in DocBin().from_disk(file).get_docs(nlp.vocab))
    return {text for doc in docs for text in texts_of(doc)}


def read_lines(file: Path, nlp: Language, n_lines: int) -> list[Example]:
    """Lines of running text, drawn at random."""
    data = file.read_bytes()
    text = (lzma.decompress(data) if file.suffix == ".xz" else data).decode("utf-8")
    lines = [line for line in text.splitlines() if LINE[0] <= len(line) <= LINE[1]]
    drawn = random.sample(lines, min(n_lines, len(lines)))
    return [Example(nlp.make_doc(line), nlp.make_doc(line)) for line in drawn]


def endlessly(examples: Sequence[Example]) -> Iterator[Example]:
    """All of them again and again, in another order each time."""
    order = list(examples)
    while True:
        random.shuffle(order)
        yield from order


def draw(stream: Iterator[Example], n_docs: float, step: int) -> list[Example]:
    """The next Docs; half a Doc is one in every other step."""
    return [next(stream) for _ in range(int((step + 1) * n_docs) - int(step * n_docs))]


def start_schedule(minutes: float, steps: int | None) -> Callable[[int], float]:
    """What share of the training is over after so many steps: of the steps, or else of the time."""
    if steps is not None:
        return lambda step: step / steps
    start = time.monotonic()
    return lambda step: (time.monotonic() - start) / (60 * minutes)


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes:
        schedule: what share is over after so many steps.
        n_lines: of running text in a step.
        first: steps that are done.
        save: called with the number of steps, now and then.
    """

    schedule: Callable[[int], float]
    n_lines: int
    first: int
    save: Callable[[int], None]


def train(nlp: Language, data: dict[str, list[Example]], optimizer: Any, plan: Plan) -> None:
    """Step until the schedule is at its end."""
    streams = {name: endlessly(examples) for name, examples in data.items()}
    losses: dict[str, float] = {}
    step, peak = plan.first, optimizer.learn_rate
    while (spent := plan.schedule(step)) < 1:
        warmed = (step - plan.first + 1) / WARM_UP
        optimizer.learn_rate = peak * min(1.0, warmed, 1.2 * (1 - spent))
        numbers = {name: plan.n_lines if name == "text" else MIX[name][0] for name in data}
        drawn = {name: draw(streams[name], numbers[name], step) for name in data}
        update(nlp, drawn, optimizer, losses)
        step += 1
        if step % REPORT == 0:
            shown = ", ".join(f"{k} {v / REPORT:.3f}" for k, v in losses.items())
            print(f"step {step}, {100 * spent:.1f} %: {shown}", flush=True)
            losses = {}
        if step % SAVE == 0:
            plan.save(step)


def update(
    nlp: Language, drawn: dict[str, list[Example]], optimizer: Any, losses: dict[str, float]
) -> None:
    """One step: each component sees the Docs of its tasks, the encoder all of them."""
    pipes = dict(nlp.pipeline)
    blank = Example(nlp.make_doc("."), Doc(nlp.vocab, words=["."]))
    tokens = [eg for name in drawn if MIX[name][1] == TOKENS for eg in drawn[name]]
    random.shuffle(tokens)
    pipes["deberta"].update(tokens or [blank], losses=losses)
    batches = dict.fromkeys(TOKENS, tokens) if tokens else {}
    for name, examples in drawn.items():
        if MIX[name][1] != TOKENS:
            batches[MIX[name][1][0]] = batches.get(MIX[name][1][0], []) + examples
    for name, examples in batches.items():
        if examples:
            pipes[name].update(examples, drop=DROPOUT, losses=losses)
    for pipe in pipes.values():
        if pipe.is_trainable:
            pipe.finish_update(optimizer)


def save_pipeline(nlp: Language, folder: Path, step: int) -> None:
    """Replace what was saved before, whole."""
    fresh = folder.with_suffix(".new")
    nlp.to_disk(fresh)
    srsly.write_json(fresh / STEP_FILE, step)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, nargs="*", default=[], help="more .spacy files")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=30)
    length.add_argument("--steps", type=int, help="train so many steps, however long they take")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--lines", type=int, default=MIX["text"][0], help="of text in a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Read the data, train and save."""
    arguments = parse_arguments()
    import torch

    torch.set_num_threads(arguments.threads)
    fix_random_seed(arguments.seed)
    config = load_config(CONFIG, {"paths.source": arguments.source})
    done = arguments.out / STEP_FILE
    step = int(srsly.read_json(done)) if arguments.steps and done.exists() else 0
    random.seed(arguments.seed + step)
    nlp = spacy.load(arguments.out) if step else load_model_from_config(config, auto_fill=True)
    parts = [*arguments.data.glob("*_dev.spacy"), *arguments.data.glob("*_test.spacy")]
    held_out = read_held_out([*parts, *arguments.held_out], nlp)
    data = {
        name: read_docs(arguments.data / f"{name}_train.spacy", nlp, held_out)
        for name in MIX
        if name != "text"
    }
    data["text"] = [eg for file in arguments.text for eg in read_lines(file, nlp, 20_000)]
    print({name: len(examples) for name, examples in data.items()}, flush=True)
    sample = [eg for name in MIX if name != "text" for eg in data[name][:SAMPLE]]
    if not step:
        nlp.initialize(lambda: sample)
    training = registry.resolve({"optimizer": config.interpolate()["training"]["optimizer"]})
    optimizer = training["optimizer"]
    optimizer.learn_rate = arguments.rate
    plan = Plan(
        start_schedule(arguments.minutes, arguments.steps),
        arguments.lines,
        step,
        lambda step: save_pipeline(nlp, arguments.out, step),
    )
    train(nlp, data, optimizer, plan)
    nlp.to_disk(arguments.out)
    print(arguments.out, spacy.__version__)


if __name__ == "__main__":
    main()
