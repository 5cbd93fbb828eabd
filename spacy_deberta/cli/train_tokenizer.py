"""`train-tokenizer`: text files to a SentencePiece vocabulary with DeBERTa's special pieces."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

COUNTED_SHARE = 0.12  # of the lines; enough to rank the pieces of a vocabulary


def train_tokenizer(
    texts: Annotated[
        list[Path], typer.Argument(metavar="TEXT...", help="text files, .xz or plain")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to write")],
    n_pieces: Annotated[int, typer.Option(help="size of the vocabulary")] = 12_001,
    max_texts: Annotated[
        int, typer.Option(min=0, help="lines to train on, drawn at random")
    ] = 700_000,
    character_coverage: Annotated[
        float, typer.Option(help="share of the characters that get pieces of their own")
    ] = 0.9998,
    n_threads: Annotated[int, typer.Option(min=1, help="threads")] = 2,
    wordpiece: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="keep the most frequent pieces of this uncased BERT instead of learning new ones",
        ),
    ] = None,
) -> None:
    """Train a SentencePiece unigram vocabulary with byte fallback."""
    from spacy_deberta.tokenizers import train_unigram
    from spacy_deberta.training.corpus import read_sentences
    from spacy_deberta.training.distillation import sample_lines
    from spacy_deberta.training.vocabulary import load_old_tokenizer
    from spacy_deberta.training.wordpiece import unigram_from_wordpiece

    if wordpiece is not None:
        lines = sample_lines(texts, COUNTED_SHARE, seed=0)
        tokenizer = unigram_from_wordpiece(load_old_tokenizer(wordpiece), lines, n_pieces)
        tokenizer.save(output)
        print(f"{output}: {tokenizer.n_pieces} pieces of {wordpiece}")
        return
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
