"""Pairs of texts on Docs: the Doc's own text, and `doc._.pair`."""

from collections.abc import Iterable

from spacy.tokens import Doc
from spacy.training import Example

PAIR = "pair"
PAIR_SCORE = "pair_score"
SCORE = "score"  # the label of a pair's value, such as its similarity, in `doc.cats`


def register_pair() -> None:
    """Make `doc._.pair` and `doc._.pair_score` available."""
    if not Doc.has_extension(PAIR):
        Doc.set_extension(PAIR, default=None)
    if not Doc.has_extension(PAIR_SCORE):
        Doc.set_extension(PAIR_SCORE, getter=_pair_score)


def has_pair(doc: Doc) -> bool:
    """Whether the Doc has a second text."""
    return doc._.get(PAIR) is not None


def take_pairs(examples: Iterable[Example]) -> list[Example]:
    """Give each predicted Doc the second text of its reference, if it has none of its own.

    spaCy's readers make predicted Docs of nothing but the text.

    Returns:
        The examples where that was so.
    """
    taken = []
    for example in examples:
        pair = example.reference._.get(PAIR)
        if pair is not None and example.predicted._.get(PAIR) is None:
            example.predicted._.set(PAIR, pair)
            taken.append(example)
    return taken


def _pair_score(doc: Doc) -> float | None:
    """At module level, for processes that get it pickled."""
    return doc.cats.get(SCORE)
