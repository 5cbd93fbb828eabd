"""`upcycle`: a BERT checkpoint to a DeBERTa checkpoint that computes the same at first."""

from pathlib import Path
from typing import Annotated

import typer


def upcycle(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="a BERT-like checkpoint")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    tokenizer: Annotated[
        Path, typer.Option(help="folder with the new vocabulary, as train-tokenizer writes it")
    ],
    embedding_size: Annotated[
        int | None, typer.Option(help="width of the piece table, if narrower than the layers")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="text files to count pieces in, for --embedding-size; .xz or plain"),
    ] = None,
) -> None:
    """Turn a BERT-like encoder into a DeBERTa over another vocabulary.

    With the old vocabulary the result would compute what the source does; a new piece starts from
    the mean of the old rows of its text. A narrower table keeps frequent pieces nearly exact. Train
    it on with `pretrain` or `distil`.
    """
    from spacy_deberta.checkpoints import save_encoder
    from spacy_deberta.errors import ConfigError, TokenizerError
    from spacy_deberta.tokenizers import UnigramTokenizer, load_tokenizer
    from spacy_deberta.training.corpus import read_lines
    from spacy_deberta.training.factorizing import count_pieces, factorize_pieces
    from spacy_deberta.training.upcycling import upcycle_encoder
    from spacy_deberta.training.vocabulary import load_old_tokenizer, replace_vocabulary

    new = load_tokenizer(tokenizer)
    if not isinstance(new, UnigramTokenizer):
        raise TokenizerError(
            f"{tokenizer}: holds a byte-level BPE, expected a unigram vocabulary. Write one with "
            "train-tokenizer."
        )
    encoder = replace_vocabulary(upcycle_encoder(source), load_old_tokenizer(source), new)
    if embedding_size is not None:
        if not text:
            raise ConfigError("--embedding-size needs --text FILE, to count pieces in.")
        counts = count_pieces(new, read_lines(text), encoder.config.vocab_size)
        encoder = factorize_pieces(encoder, counts, embedding_size)
    save_encoder(encoder, output)
    new.save(output)
    n_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    print(f"{output}: {n_parameters / 1e6:.1f} million parameters, {new.n_pieces} pieces")
