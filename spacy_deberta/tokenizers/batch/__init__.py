"""Texts, pairs and words to rectangles, as the public tokenizers return them.

    arguments ──samples──> texts ──segments──> pieces ──truncation──> rows ──columns──> encoding

Read in this order:

    samples.py     texts, pairs and words, sorted out
    options.py     the other arguments, checked
    segments.py    texts and words to pieces, all at once
    truncation.py  which pieces fit: cut off, or in windows
    rows.py        special pieces around and between texts; where each position comes from
    columns.py     arrays, padding, tensors
    encoding.py    what users get
    vocabulary.py  pieces, numbers and strings
"""

from spacy_deberta.tokenizers.batch.encoding import BatchEncoding
from spacy_deberta.tokenizers.batch.vocabulary import Vocabulary

__all__ = ["BatchEncoding", "Vocabulary"]
