"""`distil`: train an upcycled encoder on what it computed with its old vocabulary."""

from pathlib import Path
from typing import Annotated

import typer

LOG_STEPS = 25
SAVE_SECONDS = 300


def distil(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="the BERT-like checkpoint")],
    start: Annotated[Path, typer.Argument(metavar="START", help="what `upcycle` made of it")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    text: Annotated[list[Path], typer.Option(help="text files, .xz or plain; repeat for more")],
    minutes: Annotated[float, typer.Option(help="wall time")] = 30.0,
    share: Annotated[float, typer.Option(help="share of the lines to hold in memory")] = 0.12,
    n_threads: Annotated[int, typer.Option(min=1, help="threads of torch")] = 2,
    seed: Annotated[int, typer.Option(help="of all draws")] = 0,
) -> None:
    """Word-aligned distillation with a masked-LM loss beside it; writes fp16 weights.

    The teacher is the BERT-like encoder in FOLDER, the student the same one over the vocabulary of
    START. OUT also gets the masked-LM head. The result is saved every five minutes. START may
    be the OUT of an earlier run.
    """
    import torch

    from spacy_deberta.training.distillation import (
        DistillationSettings,
        UpcycledPair,
        sample_lines,
    )
    from spacy_deberta.training.loop import RunSettings

    torch.set_num_threads(n_threads)
    settings = DistillationSettings(seed=seed)
    pair = UpcycledPair.open(source, start, settings)
    texts = sample_lines(text, share, seed)
    print(f"{len(texts)} lines of text", flush=True)
    saved = 0.0
    for progress in pair.train(texts, RunSettings(minutes=minutes, seed=seed), settings):
        if progress.step % LOG_STEPS == 0:
            print(progress.describe(), flush=True)
        if progress.seconds - saved > SAVE_SECONDS:
            saved = progress.seconds
            pair.save(output)
    pair.save(output)
