"""`train-tokenizer`: text files to a SentencePiece vocabulary with DeBERTa's special pieces."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer


def train_tokenizer(
    texts: Annotated[
        list[Path], typer.Argument(metavar="TEXT...", help="text files, .xz or plain")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to write")],
    n_pieces: Annotated[int, typer.Option(help="size of the vocabulary")] = 12_001,
    max_texts: Annotated[int, typer.Option(help="lines to train on, drawn at random")] = 700_000,
    character_coverage: Annotated[
        float, typer.Option(help="share of the characters that get pieces of their own")
    ] = 0.9998,
    n_threads: Annotated[int, typer.Option(help="threads")] = 2,
) -> None:
    """Train a SentencePiece unigram vocabulary with byte fallback."""
    from spacy_deberta.tokenizers import train_unigram
    from spacy_deberta.training.corpus import read_sentences

    tokenizer = train_unigram(
        read_sentences(texts),
        n_pieces=n_pieces,
        max_texts=max_texts,
        character_coverage=character_coverage,
        n_threads=n_threads,
    )
    tokenizer.save(output)
    longest = sorted((tokenizer.piece(n) for n in range(tokenizer.n_pieces)), key=len)[::-1]
    print(f"{output}: {tokenizer.n_pieces} pieces, the longest {', '.join(islice(longest, 5))}")
