"""What `doc.cats` of a reference says: labels, and values that count."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example

from spacy_deberta.decoding.classes import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Floats
from spacy_deberta.errors import DataError

MODES = {"exclusive": SINGLE_LABEL, "multilabel": MULTI_LABEL, "regression": REGRESSION}

ROUNDING = 0.01  # soft labels may add up to so much more or less than 1


def labels_of(examples: Iterable[Example]) -> list[str]:
    """All labels of the references, in order of appearance; numbers of `doc._.choices` are none."""
    references = [example.reference for example in examples]
    return list(dict.fromkeys(label for doc in references for label in _own_labels(doc)))


def truths_of(
    examples: Sequence[Example], labels: Sequence[str], mode: str
) -> tuple[Floats, Floats]:
    """Annotated values (B, n_labels), and 1 where there is one that counts.

    Args:
        examples: B of them.
        labels: of the component.
        mode: one of MODES.

    Raises:
        DataError: a label with a value that cannot be.
    """
    truths = np.zeros((len(examples), len(labels)))
    known = np.zeros_like(truths)
    for number, example in enumerate(examples):
        cats = example.reference.cats
        truths[number] = [cats.get(label, 0.0) for label in labels]
        known[number] = [label in cats for label in labels]
    if MODES[mode] == SINGLE_LABEL:
        known[:] = truths.any(axis=1, keepdims=True)
    _check_truths(examples, truths, mode)
    return truths, known


def _check_truths(examples: Sequence[Example], truths: Floats, mode: str) -> None:
    bad = ~np.isfinite(truths).all(axis=1)
    expected = "finite values"
    if MODES[mode] != REGRESSION:
        bad |= ((truths < 0) | (truths > 1)).any(axis=1)
        expected = "values from 0 to 1"
    if MODES[mode] == SINGLE_LABEL:
        bad |= truths.any(axis=1) & ~np.isclose(truths.sum(axis=1), 1, atol=ROUNDING)
        expected += " that add up to 1"
    for number in np.flatnonzero(bad).tolist():
        reference = examples[number].reference
        raise DataError(
            f"doc.cats={dict(reference.cats)} of {reference.text[:40]!r}: expected {expected}, "
            f"with mode='{mode}'."
        )


def _own_labels(doc: Doc) -> Iterator[str]:
    choices = doc._.choices if Doc.has_extension("choices") else ()
    numbers = {str(number) for number, _ in enumerate(choices or ())}
    return (label for label in doc.cats if label not in numbers)
