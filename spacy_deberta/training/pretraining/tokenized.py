"""Texts tokenized once, and opened again as long as nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spacy_deberta.errors import DataError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.corpus import PieceCorpus, write_corpus
from spacy_deberta.training.corpus_meta import describe_texts


def open_corpus(texts: Sequence[Path], tokenizer: Tokenizer, folder: Path) -> PieceCorpus:
    """The tokenized texts: those in the folder if they are the same, else written anew.

    Of several processes, let one call this before the others do.

    Args:
        texts: compared by name, size and checksum; none = whatever the folder holds.
        tokenizer: compared by what it does.
        folder: of the tokenized corpus.

    Raises:
        DataError: a text cannot be read, or there are no texts and the folder's corpus is missing,
            damaged or another tokenizer's.
    """
    if not texts:
        corpus = PieceCorpus.open(folder)
        corpus.check_tokenizer(tokenizer)
        corpus.verify()
        return corpus
    wanted = describe_texts(texts, tokenizer)
    try:
        corpus = PieceCorpus.open(folder)
        if corpus.meta and corpus.meta.same_origin(wanted):
            corpus.verify()
            return corpus
    except DataError:
        pass  # damaged, or none yet: the texts are here to write it again
    return write_corpus(texts, tokenizer, folder)
