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
) -> None:
    """Turn a BERT-like encoder into a DeBERTa over another vocabulary.

    With the old vocabulary the result would compute what the source does; a new piece starts from
    the mean of the old rows of its text. Train it on with `distil`.
    """
    from spacy_deberta.checkpoints import save_encoder
    from spacy_deberta.errors import TokenizerError
    from spacy_deberta.tokenizers import UnigramTokenizer, load_tokenizer
    from spacy_deberta.training.upcycling import (
        load_wordpiece,
        replace_vocabulary,
        upcycle_encoder,
    )

    new = load_tokenizer(tokenizer)
    if not isinstance(new, UnigramTokenizer):
        raise TokenizerError(
            f"{tokenizer}: holds a byte-level BPE, expected a unigram vocabulary. Write one with "
            "train-tokenizer."
        )
    encoder = replace_vocabulary(upcycle_encoder(source), load_wordpiece(source), new)
    save_encoder(encoder, output)
    new.save(output)
    n_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    print(f"{output}: {n_parameters / 1e6:.1f} million parameters, {new.n_pieces} pieces")
