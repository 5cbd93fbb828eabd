"""What a spaCy encoder leaves on Docs, their memory, and what a pipeline pays for it."""

import gc
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from confection import ConfigValidationError
from spacy.tokens import Doc, DocBin
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_deberta.components.doc_data import encoding
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.components.behaviours import encoder_nlp, task_nlp
from tests.tiny import (
    TEXTS,
    add_encoder,
    ner_examples,
    tiny_nlp,
)

# Docs


def carried_by_bytes(doc: Doc) -> Doc:
    return Doc(doc.vocab).from_bytes(doc.to_bytes())


@pytest.mark.parametrize("carry", [Doc.copy, carried_by_bytes], ids=["copy", "bytes"])
def test_all_layers_and_attentions_can_be_kept(
    tiny_source: Path, carry: Callable[[Doc], Doc]
) -> None:
    nlp = encoder_nlp(tiny_source, keep="attentions")
    doc = carry(nlp(" ".join(TEXTS)))
    view = doc._.deberta

    assert set(view.layers) == {0, 1}
    assert all(layer.shape == (len(doc), 16) for layer in view.layers.values())
    assert not np.allclose(view.layers[0], view.layers[1])
    assert len(view.windows) == len(view.attentions) > 3
    for (start, end), square in zip(view.windows, view.attentions, strict=True):
        n_pieces = end - start + 2
        assert square.shape == (2, 2, n_pieces, n_pieces)
        np.testing.assert_allclose(square.sum(axis=-1), 1.0, atol=1e-5)
    assert view.windows[-1][1] == len(view.ids)


def test_kept_layers_are_those_of_the_encoder(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source, window=60, stride=30)
    nlp.get_pipe("deberta").keep = "attentions"
    doc = nlp(TEXTS[0])
    view, shim = doc._.deberta, shim_of(nlp.get_pipe("deberta").model)

    ids = torch.tensor([shim.tokenizer.cls_id, *view.ids.tolist(), shim.tokenizer.sep_id])
    with torch.no_grad():
        output = shim.encoder(ids, [len(ids)], hidden_states=True, attentions=True)

    for number, layer in view.layers.items():
        state = output.hidden_states[number][1:-1].numpy()
        for token in doc:
            mean = state[view.pieces_of(token.i)].mean(axis=0)
            np.testing.assert_allclose(layer[token.i], mean, atol=1e-5)
    for found, wanted in zip(view.attentions[0], output.attentions, strict=True):
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("keep", ["nothing", "pieces", "layers", "attentions"])
def test_a_doc_holds_the_memory_that_it_shows(tiny_source: Path, keep: str) -> None:
    for doc in encoder_nlp(tiny_source, keep=keep).pipe(TEXTS):
        arrays = [doc.tensor]
        for entry in doc.user_data.values():
            for value in entry.values():
                arrays += [a for a in _flat(value) if isinstance(a, np.ndarray)]
        for array in arrays:
            assert _held(array) == array.nbytes
        shown = doc.tensor.nbytes if keep == "nothing" else doc._.deberta.nbytes
        assert sum(array.nbytes for array in arrays) <= shown


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _held(array: np.ndarray) -> int:
    base = array.base
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, torch.Tensor):
        return base.untyped_storage().nbytes()
    return array.nbytes if base is None else base.nbytes


def test_keeping_nothing_leaves_rows_and_a_small_doc_bin(tiny_source: Path) -> None:
    """Row 45."""
    rng = random.Random(0)
    words = [f"{word}{number}" for number in range(40) for word in " ".join(TEXTS).split()]
    texts = [" ".join(rng.choices(words, k=24)) for _ in range(100)]
    sizes = {}
    for keep in ("none", "nothing", "pieces"):
        nlp = spacy.blank("en") if keep == "none" else encoder_nlp(tiny_source, keep=keep)
        docs = list(nlp.pipe(texts))
        sizes[keep] = len(DocBin(docs=docs, store_user_data=True).to_bytes())

    assert sizes["nothing"] <= 1.05 * sizes["none"]
    assert sizes["pieces"] <= 2 * sizes["none"]
    assert docs[0].tensor.any()


def test_keeping_nothing_is_said_when_pieces_are_asked_for(tiny_source: Path) -> None:
    doc = encoder_nlp(tiny_source, keep="nothing")(TEXTS[0])

    with pytest.raises(PipelineError, match=r"left its rows in doc.tensor, but no pieces"):
        _ = doc._.deberta


def test_spacys_doc_cleaner_frees_a_doc(tiny_source: Path) -> None:
    nlp = task_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    head = nlp.get_pipe("ner")
    nlp.add_pipe("doc_cleaner", config={"attrs": {"tensor": None, "_.deberta": None}})

    doc = nlp(TEXTS[0])

    assert doc.tensor is None
    assert not doc.user_data
    head.predict([doc])  # a listener runs the encoder itself
    with pytest.raises(PipelineError, match="is written by the encoder"):
        doc._.deberta = 1


def test_joined_and_cut_docs_have_rows_and_say_that_they_have_no_pieces(
    tiny_source: Path,
) -> None:
    """Rows 42 and 43."""
    nlp = tiny_nlp(tiny_source)
    one, two = nlp.pipe(TEXTS[:2])

    with pytest.warns(UserWarning, match="W101"):
        joined = Doc.from_docs([one, two])
    cut = two[2:6].as_doc()

    np.testing.assert_array_equal(joined.tensor, np.vstack([one.tensor, two.tensor]))
    np.testing.assert_array_equal(cut.tensor, two.tensor[2:6])
    for doc in (joined, cut):
        with pytest.raises(PipelineError, match="encoders that ran on it"):
            encoding(doc)


@pytest.mark.parametrize("change", ["merge", "split", "both"])
def test_a_head_after_the_retokenizer_gets_rows_of_the_new_tokens(
    tiny_source: Path, change: str
) -> None:
    """Row 44: also where the number of tokens is the same again."""
    nlp = tiny_nlp(tiny_source)
    head = nlp.add_pipe("pull")
    doc = nlp.get_pipe("deberta")(nlp.make_doc(TEXTS[0]))
    with doc.retokenize() as retokenizer:
        if change != "split":
            retokenizer.merge(doc[0:2])
        if change != "merge":
            retokenizer.split(doc[3], ["t", "o"], heads=[(doc[3], 1), doc[2]])

    (found,) = head.model.predict([doc])

    fresh = Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
    np.testing.assert_allclose(found, nlp.get_pipe("deberta")(fresh).tensor, atol=1e-6)


def test_a_memory_zone_leaves_nothing_behind(tiny_source: Path) -> None:
    """Row 47, also after an update whose last listener did not run."""
    nlp = task_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    for number in range(2):
        n_strings, n_docs = len(nlp.vocab.strings), count_docs()
        with nlp.memory_zone():
            doc = nlp(f"Zorbulon{number} the unheard-of{number}")
            nlp.update([Example(doc, doc.copy())], sgd=build_adamw(0.01), exclude=["ner"])
            assert len(nlp.vocab.strings) > n_strings
            assert count_docs() > n_docs
            del doc
        assert len(nlp.vocab.strings) == n_strings
        assert count_docs() == n_docs


def count_docs() -> int:
    gc.collect()
    return sum(type(one) is Doc for one in gc.get_objects())


def test_a_blank_pipeline_pays_little_for_our_factory() -> None:
    """Row 52."""
    program = """
import time, spacy
start = time.process_time()
import spacy_deberta.components.transformer
print(time.process_time() - start)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert float(done.stdout) < 0.25  # 0.05 on a quiet machine


def test_an_unknown_key_of_the_config_is_named() -> None:
    """Row 55."""
    with pytest.raises(ConfigValidationError, match="widow"):
        spacy.blank("en").add_pipe("deberta", config={"model": {"widow": 12}})
    with pytest.raises(ConfigValidationError, match="keeps"):
        spacy.blank("en").add_pipe("deberta", config={"keeps": "all"})


def test_two_encoders_keep_what_is_asked_of_each(tiny_source: Path, other_source: Path) -> None:
    """Row 28."""
    nlp = encoder_nlp(tiny_source, keep="layers")
    add_encoder(nlp, other_source, name="second")

    doc = nlp(TEXTS[0])

    assert set(encoding(doc, "deberta").layers) == {0, 1}
    assert encoding(doc, "second").layers == {}
    rows_of_first = encoding(doc, "deberta").rows
    np.testing.assert_array_equal(rows_of_first, tiny_nlp(tiny_source)(TEXTS[0]).tensor)


def test_extensions_of_every_component_can_be_sent_to_spawned_workers(tiny_source: Path) -> None:
    """Row 38: spaCy pickles getters and setters; lambdas and inner functions cannot be."""
    tiny_nlp(tiny_source)  # registers what every factory registers

    pickle.dumps(Underscore.get_state())
