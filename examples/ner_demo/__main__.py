"""The demo: data, training, scores, and the saved pipeline at work.

python -m examples.ner_demo
python -m examples.ner_demo --data my.iob
python -m examples.ner_demo --seeds 0,1,2 --random-weights     the README's table
"""

import argparse
import subprocess
import sys
from pathlib import Path

from examples.ner_demo.data import prepare_data
from examples.ner_demo.training import (
    OURS,
    Plan,
    Score,
    evaluate,
    format_table,
    plan_random,
    plan_tok2vec,
    train,
)
from spacy_deberta.errors import DebertaError

CONFIG = Path("configs/ner_v2.cfg")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="your own CoNLL/IOB file")
    parser.add_argument("--seeds", type=_parse_seeds, default=[0], help="0,1,2: one run for each")
    parser.add_argument(
        "--budget", type=float, default=240.0, help="seconds of training per pipeline"
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="also train a freshly initialized encoder"
    )
    parser.add_argument("--source", help="checkpoint folder instead of the embedded model")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="where results go")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Do all the steps."""
    output: Path = arguments.output
    print("== 1. Data")
    files = prepare_data(arguments.data, output / "data")
    ours = Plan(OURS, CONFIG, ("--paths.source", arguments.source) if arguments.source else ())
    scores = []
    for seed in arguments.seeds:
        plans = [ours, plan_tok2vec(output)]
        if arguments.random_weights:
            plans.append(plan_random(CONFIG, output / f"random-encoder-{seed}", seed))
        for plan in plans:
            scores.append(train_and_score(plan, files, output, seed, arguments.budget))
    pipeline = folder_of(output, OURS, arguments.seeds[0]) / "model-best"
    print(f"\n== 3. The saved pipeline in a new process: spacy.load({str(pipeline)!r})", flush=True)
    page = output / "entities.html"
    show = [sys.executable, "-m", "examples.ner_demo.show", str(pipeline), str(page)]
    if subprocess.run(show, check=False).returncode:
        raise DebertaError(f"{pipeline}: the saved pipeline did not run, see above.")
    print(f"\n== 4. Test part: same data, {arguments.budget:.0f} s of training at most\n")
    print(format_table(scores))


def train_and_score(
    plan: Plan, files: dict[str, Path], output: Path, seed: int, budget: float
) -> Score:
    """Train one pipeline with one seed and score it on the test part."""
    print(f"\n== 2. Training: {plan.name}, seed {seed}, at most {budget:.0f} s", flush=True)
    target = folder_of(output, plan.name, seed)
    seconds = train(plan, files, target, seed=seed, budget=budget)
    f1 = evaluate(target / "model-best", files["test"], show=plan.name == OURS)
    print(f"{plan.name}: entity F1 {f1:.1f} on the test part, trained for {seconds:.0f} s")
    return Score(plan.name, seed, f1, seconds)


def folder_of(output: Path, name: str, seed: int) -> Path:
    """Where the pipeline of that name and seed is written."""
    return output / f"{name.replace(',', '').replace(' ', '-').lower()}-{seed}"


def _parse_seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def main() -> None:
    """Run the demo; an error of ours is one line and exit code 2."""
    try:
        run(parse_arguments())
    except DebertaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
