from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Linear

from spacy_deberta.components.doc_data import encoding
from spacy_deberta.components.transformer import DebertaTransformer
from spacy_deberta.errors import CheckpointError, PipelineError
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.tiny import LISTENER, TEXTS, add_encoder, tiny_nlp

MIXED = [*TEXTS, "", " ", "\n\n", "river" * 200, *TEXTS, "a", "Marie \t Curie\u00a0", ""]


def test_a_blank_pipeline_works_at_once(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)

    doc = nlp("Marie Curie moved to Paris.")

    assert doc.tensor.shape == (6, 16)
    assert doc._.deberta.coverage == 1.0
    assert doc.vector.any()
    assert doc[0:2].vector.any()
    with pytest.warns(UserWarning, match="W007"):  # spaCy's note that there are no word vectors
        assert doc.similarity(nlp("Marie Curie moved to London.")) > 0.5


def test_the_factory_says_what_it_assigns(tiny_source: Path) -> None:
    meta = Language.get_factory_meta("deberta")

    assert set(meta.assigns) == {"doc._.deberta", "doc.tensor"}


@pytest.fixture(scope="module")
def one_by_one(tiny_source: Path) -> tuple[Language, dict[str, Any]]:
    """A pipeline and its rows of each text."""
    nlp = tiny_nlp(tiny_source, batch_pieces=50)
    return nlp, {text: nlp(text).tensor for text in set(MIXED)}


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
@pytest.mark.parametrize("order", [1, -1])
def test_pipe_equals_one_by_one(
    one_by_one: tuple[Language, dict[str, Any]], batch_size: int, order: int
) -> None:
    """Rows 11 and 12."""
    (nlp, rows), texts = one_by_one, MIXED[::order]

    docs = list(nlp.pipe(texts, batch_size=batch_size))

    assert [doc.text for doc in docs] == texts
    for doc, text in zip(docs, texts, strict=True):
        np.testing.assert_allclose(doc.tensor, rows[text], atol=1e-5)


def test_pipe_reads_no_further_than_a_batch(tiny_source: Path) -> None:
    """Row 12."""
    nlp, read = tiny_nlp(tiny_source), []

    def texts() -> Any:
        for text in TEXTS:
            read.append(text)
            yield text

    next(iter(nlp.pipe(texts(), batch_size=2)))

    assert len(read) == 2


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_docs_without_words_have_rows_of_zeros(tiny_source: Path, text: str) -> None:
    """Row 13."""
    doc = tiny_nlp(tiny_source)(text)

    assert doc.tensor.shape == (len(doc), 16)
    assert not doc.tensor.any()
    assert doc._.deberta.coverage == 1.0


def test_a_word_of_50_000_characters_has_a_finite_row(tiny_source: Path) -> None:
    doc = tiny_nlp(tiny_source, window=64, stride=48)("the " + "riverx" * 8334 + " station")

    assert doc.tensor.shape == (3, 16)
    assert np.isfinite(doc.tensor).all()
    assert doc.tensor.any(axis=1).all()


def test_rows_of_a_word_do_not_depend_on_where_windows_are_cut(tiny_source: Path) -> None:
    text = " ".join(TEXTS)
    whole = tiny_nlp(tiny_source, window=200, stride=100)(text)
    cut = tiny_nlp(tiny_source)(text)

    assert whole.tensor.shape == cut.tensor.shape
    assert not np.allclose(whole.tensor, cut.tensor, atol=1e-3)  # the context differs ...
    np.testing.assert_allclose(whole.tensor, cut.tensor, atol=1.5)  # ... the word does not


def test_rows_own_their_memory(tiny_source: Path) -> None:
    docs = list(tiny_nlp(tiny_source).pipe(TEXTS))

    held = [doc.tensor.base.untyped_storage().nbytes() for doc in docs]  # the base is torch's
    assert held == [doc.tensor.nbytes for doc in docs]


def test_the_error_handler_gets_only_the_bad_doc(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 46."""
    nlp = tiny_nlp(tiny_source)
    tokenizer = shim_of(nlp.get_pipe("deberta").model).tokenizer
    encode = tokenizer.encode_batch
    failed: list[tuple[str, list[str], str]] = []

    def encode_or_fail(texts: Sequence[str]) -> Any:
        if "bad" in texts:
            raise RuntimeError("no pieces for you")
        return encode(texts)

    def note(name: str, pipe: Any, docs: list[Doc], error: Exception) -> None:
        failed.append((name, [doc.text for doc in docs], str(error)))

    monkeypatch.setattr(tokenizer, "encode_batch", encode_or_fail)
    with pytest.raises(RuntimeError, match="no pieces for you"):
        list(nlp.pipe([TEXTS[0], "bad", TEXTS[1]]))
    nlp.set_error_handler(note)

    docs = list(nlp.pipe([TEXTS[0], "bad", TEXTS[1]]))

    assert [doc.text for doc in docs] == [TEXTS[0], TEXTS[1]]
    assert failed == [("deberta", ["bad"], "no pieces for you")]


def test_an_unknown_source_says_what_was_looked_for_and_where(tmp_path: Path) -> None:
    """Row 55."""
    nlp = tiny_nlp(tmp_path / "nowhere")

    with pytest.raises(CheckpointError, match=r"nowhere.*nothing is there"):
        nlp("Marie")
    with pytest.raises(CheckpointError, match="nowhere"):
        nlp.initialize()


def test_another_architecture_is_refused() -> None:
    with pytest.raises(
        PipelineError, match=r"expected the architecture spacy-deberta.DebertaModel"
    ):
        DebertaTransformer(spacy.blank("en").vocab, Linear())  # type: ignore[arg-type]


def test_labels_and_losses_of_its_own_are_refused(tiny_source: Path) -> None:
    encoder = tiny_nlp(tiny_source).get_pipe("deberta")

    with pytest.raises(PipelineError, match="'deberta' has no labels"):
        encoder.add_label("X")
    with pytest.raises(PipelineError, match="'deberta' has no loss"):
        encoder.get_loss([], None)


def add_listener(nlp: Language, upstream: str = "*", name: str = "pull", **place: Any) -> Any:
    config = {"model": {**LISTENER, "upstream": upstream}}
    return nlp.add_pipe("pull", name=name, config=config, **place)


def test_a_listener_without_an_encoder_is_an_error() -> None:
    """Row 29."""
    nlp = spacy.blank("en")
    add_listener(nlp)

    with pytest.raises(PipelineError, match=r"upstream='\*'.*in the pipeline: none"):
        nlp("Marie")
    with pytest.raises(PipelineError, match="Add a 'deberta' component before"):
        nlp.initialize()


def test_a_listener_with_a_wrong_upstream_names_the_encoders(tiny_source: Path) -> None:
    """Row 29."""
    nlp = tiny_nlp(tiny_source)
    add_encoder(nlp, tiny_source, name="second")
    add_listener(nlp, "third")

    with pytest.raises(PipelineError, match=r"upstream='third'.*: 'deberta', 'second'\."):
        nlp.initialize()


def test_a_listener_before_its_encoder_is_an_error(tiny_source: Path) -> None:
    """Row 29."""
    nlp = tiny_nlp(tiny_source)
    add_listener(nlp, "deberta", before="deberta")

    with pytest.raises(PipelineError, match="in the pipeline: none"):
        nlp.initialize()


def test_renaming_the_encoder_keeps_listeners_of_any_and_reports_the_others(
    tiny_source: Path,
) -> None:
    """Row 41."""
    nlp = tiny_nlp(tiny_source)
    add_listener(nlp, "*", "any")
    add_listener(nlp, "deberta", "named")

    nlp.rename_pipe("deberta", "encoder")

    assert nlp.get_pipe("encoder").listening_components == ["any"]
    with pytest.raises(PipelineError, match=r"upstream='deberta'.*'encoder'"):
        nlp("Marie")


def test_a_listener_outside_the_pipeline_runs_the_encoder_itself(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    head = add_listener(nlp)
    (wanted,) = nlp.get_pipe("deberta").model.predict([nlp.make_doc(TEXTS[0])])

    with nlp.select_pipes(disable=["deberta"]):
        doc = nlp(TEXTS[0])

    np.testing.assert_allclose(head.seen[0], wanted, atol=1e-6)
    assert not doc.tensor.size


def test_rows_that_another_component_replaced_are_not_used(tiny_source: Path) -> None:
    @Language.component("overwrite_tensor")
    def overwrite(doc: Doc) -> Doc:
        doc.tensor = np.ones_like(doc.tensor)
        return doc

    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("overwrite_tensor")
    head = add_listener(nlp)

    doc = nlp(TEXTS[0])

    (wanted,) = nlp.get_pipe("deberta").model.predict([doc])
    np.testing.assert_allclose(head.seen[0], wanted, atol=1e-6)
    assert doc._.deberta.rows is None


def test_remove_pipe_of_a_listener_lets_the_others_train(tiny_source: Path) -> None:
    """Row 41."""
    nlp = tiny_nlp(tiny_source)
    add_listener(nlp, name="one")
    add_listener(nlp, name="two")
    nlp.remove_pipe("two")
    optimizer = nlp.initialize()
    before = nlp(TEXTS[0]).tensor

    doc = nlp.make_doc(TEXTS[0])
    nlp.update([Example(doc, doc.copy())], sgd=optimizer)

    assert not np.allclose(nlp(TEXTS[0]).tensor, before)


def test_remove_listener_says_whether_it_was_there(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    head = add_listener(nlp)
    encoder = nlp.get_pipe("deberta")

    assert encoder.listeners == [head.model]
    assert encoder.remove_listener(head.model, "pull")
    assert not encoder.remove_listener(head.model, "pull")
    assert encoder.listening_components == []


def test_the_view_has_pieces_with_offsets(tiny_source: Path) -> None:
    """Rows 1 and 3."""
    nlp = tiny_nlp(tiny_source)
    doc = nlp(TEXTS[3])
    view = doc._.deberta

    tokenizer = shim_of(nlp.get_pipe("deberta").model).tokenizer
    assert view.component == "deberta"
    np.testing.assert_array_equal(view.ids, tokenizer.encode(doc.text).ids)
    np.testing.assert_array_equal(view.rows, doc.tensor)
    for token in doc:
        pieces = view.pieces_of(token.i)
        if token.is_space:
            assert not len(pieces)
        else:
            covered = doc.text[view.starts[pieces[0]] : view.ends[pieces[-1]]]
            assert covered == token.text
    assert encoding(doc, "deberta").coverage == view.coverage


def test_the_view_of_an_encoder_that_did_not_run_is_an_error(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)

    with pytest.raises(PipelineError, match="encoders that ran on it: none"):
        _ = nlp.make_doc("Marie")._.deberta
    with pytest.raises(PipelineError, match=r"encoder 'other'.*: 'deberta'"):
        encoding(nlp("Marie"), "other")
