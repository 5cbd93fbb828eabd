"""`pretrain`: masked-LM training of an encoder, from any start with absolute input positions."""

from pathlib import Path
from typing import Annotated

import typer

LOG_STEPS = 50
SAVE_SECONDS = 600


def pretrain(
    start: Annotated[Path, typer.Argument(metavar="START", help="checkpoint folder")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    text: Annotated[list[Path], typer.Option(help="text files, .xz or plain; repeat for more")],
    minutes: Annotated[float, typer.Option(help="wall time")] = 60.0,
    fresh_head: Annotated[
        bool, typer.Option("--fresh-head", help="START has no masked-LM head: begin with a new one")
    ] = False,
    learn_rate: Annotated[float, typer.Option(help="peak rate")] = 5e-4,
    bf16: Annotated[bool, typer.Option(help="compute in bfloat16 where that is safe")] = True,
    n_threads: Annotated[int, typer.Option(help="threads of torch")] = 2,
    seed: Annotated[int, typer.Option(help="of all draws")] = 0,
) -> None:
    """Train an encoder as a masked language model; writes fp16 weights, the head included.

    The text is tokenized into OUT/corpus first. The result is saved every ten minutes.
    """
    import torch

    from spacy_deberta.tokenizers import load_tokenizer
    from spacy_deberta.training.corpus import write_corpus
    from spacy_deberta.training.loop import RunSettings
    from spacy_deberta.training.mlm import (
        BatchSampler,
        MaskedLM,
        MaskedLMSettings,
        train_masked_lm,
    )

    torch.set_num_threads(n_threads)
    tokenizer = load_tokenizer(start)
    corpus = write_corpus(text, tokenizer, output / "corpus")
    print(f"{len(corpus.pieces)} pieces in {len(corpus.ends)} documents", flush=True)
    torch.manual_seed(seed)
    model = MaskedLM.open(start, fresh_head=fresh_head)
    longest = model.encoder.config.max_position_embeddings
    sampler = BatchSampler(corpus, tokenizer, MaskedLMSettings(seed=seed).fitting(longest))
    run = RunSettings(minutes=minutes, seed=seed)
    saved = 0.0
    for progress in train_masked_lm(model, sampler, run, learn_rate=learn_rate, bf16=bf16):
        if progress.step % LOG_STEPS == 0:
            print(progress.describe(), flush=True)
        if progress.seconds - saved > SAVE_SECONDS:
            saved = progress.seconds
            model.save(output, tokenizer)
    model.save(output, tokenizer)
