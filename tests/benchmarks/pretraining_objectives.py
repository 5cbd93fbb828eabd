"""Pre-training objectives from one start: positions in the input, mask decoder, replaced pieces.

    python -m spacy_deberta upcycle MINILM START --tokenizer spacy_deberta/models/embedded/deberta
    python -m tests.benchmarks.pretraining_objectives --start START --text FILE --held-out FILE \
        --steps 400 --out DIR

START has absolute positions in its input and no head. "input" keeps them there; "decoder" hands
the same rows to the enhanced mask decoder at once, "faded" bit by bit; "replaced" is a generator
of half the layers beside a discriminator, both with positions in the input, for --replaced-steps,
which should cost the same time. Each run's folder DIR/NAME/model is a checkpoint to fine-tune. The
run with the decoder is scored with it and with the plain head on the same weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacy_deberta.checkpoints import load_encoder, open_checkpoint, resolve_source
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.modeling import DebertaV2ForMaskedLM
from spacy_deberta.tokenizers import load_tokenizer
from spacy_deberta.training.pretraining.models import MaskedLM
from spacy_deberta.training.scoring import read_passages, score_running_text
from spacy_deberta.training.scoring.scorers import BATCH_PIECES, MaskedScorer

CONFIGS = Path(__file__).parents[2] / "configs"
POSITIONS = "embeddings.positions.weight"
INPUT, DECODER, FADED, REPLACED = "input", "decoder", "faded", "replaced"
STAGES = 8  # of fading
FADING = 0.6  # of the steps, before the positions are gone


def write_starts(start: Path, out: Path, seed: int) -> None:
    """The start with a new head, the same one for both places of the positions."""
    encoder = load_encoder(resolve_source(str(start)))
    torch.manual_seed(seed)
    kept = MaskedLM(encoder)
    kept.save(out / INPUT / "start", load_tokenizer(start))
    moved = move_positions(kept, encoder.state_dict()[POSITIONS])
    moved.save(out / DECODER / "start", load_tokenizer(start))


def move_positions(model: MaskedLM, positions: Tensor) -> MaskedLM:
    """The same without positions in its input; the mask decoder has these."""
    weights = dict(model.encoder.state_dict())
    del weights[POSITIONS]
    bare = DebertaEncoder(replace(model.encoder.config, position_biased_input=False))
    bare.load_state_dict(weights)
    moved = MaskedLM(bare)
    assert moved.decoder is not None
    moved.head.load_state_dict(model.head.state_dict())
    moved.decoder.load_state_dict({"positions": positions})
    return moved


def fade(out: Path, config: Path, settings: Mapping[str, Any]) -> None:
    """Shrink the positions of the input before each stage, and hand them over before the last.

    Args:
        out: has the start with positions in its input.
        config: of the objective.
        settings: of the whole run.
    """
    run, steps = Path(settings["run.out"]), settings["run.steps"]
    n_fading = round(FADING * steps / (STAGES - 1))
    before = out / INPUT / "start"
    tokenizer = load_tokenizer(before)
    whole = load_model(before).encoder.state_dict()[POSITIONS].clone()
    for stage in range(STAGES):
        model, last = load_model(before), stage == STAGES - 1
        if last:
            model = move_positions(model, whole)
        else:
            model.encoder.state_dict()[POSITIONS].mul_(1 - 1 / (STAGES - stage))
        folder = run if last else run / f"stage-{stage}"
        model.save(folder / "start", tokenizer)
        stage_settings = {
            "model.init": str(folder / "start"),
            "run.out": str(folder),
            "run.steps": steps - n_fading * (STAGES - 1) if last else n_fading,
            "optimizer.warmup_steps": 5,
            "optimizer.decay_share": settings["optimizer.decay_share"] if last else 0.0,
        }
        pretrain(folder, config, {**settings, **stage_settings})
        before = folder / "model"


def load_model(folder: Path) -> MaskedLM:
    """A checkpoint to train on."""
    return MaskedLM.from_checkpoint(open_checkpoint(folder), fresh_head=False)


def settings_of(
    run: Path, arguments: argparse.Namespace, length: Mapping[str, float]
) -> dict[str, Any]:
    """What all runs share: windows of 128, batches of one size, no running mean.

    Args:
        run: the folder of this run.
        arguments: text, out, pieces, rate, seed and threads.
        length: {"steps": n} or {"minutes": n}.
    """
    return {
        "data.text": [str(file) for file in arguments.text],
        "data.corpus": str(arguments.out / "corpus"),
        "batches.pieces": arguments.pieces,
        "batches.ramp_from": arguments.pieces,
        "batches.ramp_steps": 0,
        "batches.windows": [[1.0, 128]],
        "batches.mask_from": 0.2,
        "optimizer.learn_rate": arguments.rate,
        "optimizer.decay_share": 0.2,
        "run.steps": None,
        "run.out": str(run),
        "run.seed": arguments.seed,
        "run.ema": 0,
        "run.threads": arguments.threads,
    } | {f"run.{key}": value for key, value in length.items()}


def pretrain(run: Path, config: Path, settings: Mapping[str, Any]) -> None:
    """Run the command, beginning where an earlier one stopped."""
    run.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "spacy_deberta", "pretrain", str(config)]
    for key, value in settings.items():
        command += [f"--{key}", json.dumps(value)]
    with (run / "output.txt").open("w", encoding="utf-8") as output:
        subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT)


def score(folder: Path, decoder: str, held_out: Path, lines: int) -> str:
    """How well masked words of held-out text are predicted."""
    model = DebertaV2ForMaskedLM.from_pretrained(folder, mask_decoder=decoder).eval()
    tokenizer = load_tokenizer(folder)
    scorer = MaskedScorer(model, tokenizer, BATCH_PIECES)
    report = score_running_text(read_passages(held_out, lines), scorer, tokenizer)
    return (
        f"{100 * report.masked_accuracy:.1f} % of {report.n_masked:,} masked pieces right, "
        f"{report.masked_nats:.3f} nats a piece"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of every comparison of runs."""
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--held-out-lines", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=4096, help="of a step")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def main() -> None:
    """Pre-train and score."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--replaced-steps", type=int, default=250)
    names = (INPUT, DECODER, FADED, REPLACED)
    parser.add_argument("--runs", nargs="+", choices=names, default=names)
    add_arguments(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write_starts(arguments.start, arguments.out, arguments.seed)
    runs = {
        INPUT: (CONFIGS / "pretrain_mlm.cfg", arguments.steps),
        DECODER: (CONFIGS / "pretrain_mlm.cfg", arguments.steps),
        FADED: (CONFIGS / "pretrain_mlm.cfg", arguments.steps),
        REPLACED: (CONFIGS / "pretrain_v3.cfg", arguments.replaced_steps),
    }
    for name in arguments.runs:
        config, steps = runs[name]
        run = arguments.out / name
        settings = settings_of(run, arguments, {"steps": steps})
        if name == FADED:
            fade(arguments.out, config, settings)
            continue
        more = {
            "model.init": str(arguments.out / (DECODER if name == DECODER else INPUT) / "start"),
            "model.fresh_head": name == REPLACED,  # of the discriminator; the generator has one
            "optimizer.warmup_steps": max(1, steps // 20),
        }
        pretrain(run, config, settings | more)
    scored = ((INPUT, "plain"), (DECODER, "emd"), (DECODER, "plain"), (FADED, "emd"))
    for name, decoder in scored:
        if name in arguments.runs:
            folder = arguments.out / name / "model"
            line = score(folder, decoder, arguments.held_out, arguments.held_out_lines)
            print(f"{name}, {decoder} head: {line}", flush=True)


if __name__ == "__main__":
    main()
