"""What the encoder leaves on a Doc survives copies, bytes and changes of the Doc."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spacy.tokens import Doc, DocBin

from spacy_deberta.components.doc_data import encoding
from tests.tiny import TEXTS, add_encoder, tiny_nlp


def through_bytes(doc: Doc) -> Doc:
    return Doc(doc.vocab).from_bytes(doc.to_bytes())


def through_bin(doc: Doc) -> Doc:
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    return next(DocBin().from_bytes(data).get_docs(doc.vocab))


@pytest.mark.parametrize("carry", [Doc.copy, through_bytes], ids=["copy", "bytes"])
def test_everything_survives(tiny_source: Path, carry: Callable[[Doc], Doc]) -> None:
    """Row 42."""
    doc = tiny_nlp(tiny_source)(TEXTS[1])

    carried = carry(doc)

    np.testing.assert_array_equal(carried.tensor, doc.tensor)
    np.testing.assert_array_equal(carried._.deberta.rows, doc.tensor)
    np.testing.assert_array_equal(carried._.deberta.ids, doc._.deberta.ids)


def test_a_doc_bin_keeps_the_pieces_and_no_rows(tiny_source: Path) -> None:
    """Row 45."""
    doc = tiny_nlp(tiny_source)(TEXTS[1])

    carried = through_bin(doc)

    np.testing.assert_array_equal(carried._.deberta.starts, doc._.deberta.starts)
    assert carried._.deberta.rows is None


def test_rows_are_stored_once(tiny_source: Path) -> None:
    doc = tiny_nlp(tiny_source)(TEXTS[1])

    stored = [a for entry in doc.user_data.values() for a in entry.values()]
    assert sum(a.nbytes for a in stored if isinstance(a, np.ndarray)) == 4 * len(doc._.deberta.ids)


def test_two_encoders_both_keep_their_rows(tiny_source: Path, other_source: Path) -> None:
    nlp = tiny_nlp(tiny_source, name="first")
    alone = nlp(TEXTS[1]).tensor
    add_encoder(nlp, other_source, name="second")

    doc = through_bytes(nlp(TEXTS[1]))

    assert doc._.deberta.component == "second"
    np.testing.assert_array_equal(doc._.deberta.rows, doc.tensor)
    np.testing.assert_array_equal(encoding(doc, "first").rows, alone)


def test_running_again_replaces_what_was_there(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    doc = nlp(TEXTS[1])
    size = len(doc.to_bytes())

    again = nlp(doc)

    assert len(again.to_bytes()) == size
    assert again._.deberta.rows is not None


def test_retokenizing_realigns_the_pieces_and_gives_up_the_rows(tiny_source: Path) -> None:
    """Row 44."""
    doc = tiny_nlp(tiny_source)("Marie Curie wrote a letter")
    before = [doc._.deberta.pieces_of(i).tolist() for i in range(len(doc))]

    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])

    view = doc._.deberta
    assert view.pieces_of(0).tolist() == before[0] + before[1]
    assert view.pieces_of(1).tolist() == before[2]
    assert view.rows is None
    assert doc.tensor.shape == (4, 16)


def test_slices_and_concatenations_keep_the_tensor(tiny_source: Path) -> None:
    """Rows 42 and 43."""
    docs = list(tiny_nlp(tiny_source).pipe(TEXTS[:2]))

    with pytest.warns(UserWarning, match="W101"):
        joined = Doc.from_docs(docs)

    assert joined.tensor.shape == (len(docs[0]) + len(docs[1]), 16)
    np.testing.assert_array_equal(docs[0][1:3].as_doc().tensor, docs[0].tensor[1:3])
