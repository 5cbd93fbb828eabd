"""Behaviours 32 to 53 of a spaCy encoder: saving, copying, Docs, memory, threads."""

import copy
import gc
import logging
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from confection import ConfigValidationError
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_deberta.components.doc_data import encoding
from spacy_deberta.errors import CheckpointError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.tiny import (
    NER_MODEL,
    TAGGER_MODEL,
    TEXTS,
    add_encoder,
    make_docs,
    ner_examples,
    tiny_nlp,
)


def encoder_nlp(source: Path, *, keep: str = "pieces") -> Language:
    nlp = spacy.blank("en")
    model = {"source": str(source), "window": 12, "stride": 6}
    nlp.add_pipe("deberta", config={"model": model, "keep": keep})
    return nlp


def task_nlp(source: Path) -> Language:
    nlp = encoder_nlp(source)
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    return nlp


def rows(nlp: Language) -> list[Any]:
    return [doc.tensor for doc in nlp.pipe(TEXTS)]


def assert_same(found: list[Any], wanted: list[Any]) -> None:
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def train(nlp: Language, examples: list[Example], n_steps: int = 2) -> None:
    optimizer = build_adamw(0.02)
    for _ in range(n_steps):
        nlp.update(examples, sgd=optimizer)


# Saving and loading


def test_a_saved_pipeline_loads_from_another_folder_without_a_cache(
    tiny_source: Path, tmp_path: Path
) -> None:
    """Row 33; the plain tests forbid the network."""
    nlp = encoder_nlp(tiny_source)
    nlp.to_disk(tmp_path / "saved")
    program = f"""
import spacy, numpy
nlp = spacy.load("{tmp_path / "saved"}")
print(float(numpy.abs(nlp("{TEXTS[0]}").tensor).sum()))
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}

    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment,
    )  # fmt: skip

    assert float(result.stdout) == pytest.approx(float(np.abs(nlp(TEXTS[0]).tensor).sum()))


def test_saving_to_a_folder_never_makes_one_blob(
    tiny_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 34: a msgpack holds 4 GiB, a folder anything."""
    monkeypatch.setattr("spacy_deberta.thinc_layers.shim._MAX_BLOB", 100)
    nlp = tiny_nlp(tiny_source)

    nlp.to_disk(tmp_path)

    assert_same(rows(spacy.load(tmp_path)), rows(nlp))
    with pytest.raises(PipelineError, match=r"to_bytes can hold 100. Use to_disk"):
        nlp.to_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.batch_pieces", 11),
        ("model.window", 40),
        ("model.stride", 5),
        ("model.pooling", "max"),
        ("model.precision", "bf16"),
        ("model.device", "cpu"),
        ("model.gradient_checkpointing", True),
        ("keep", "layers"),
        ("trained_layers", 1),
    ],
)
def test_every_argument_can_be_changed_when_loading(
    tiny_source: Path, tmp_path: Path, key: str, value: Any
) -> None:
    """Row 35."""
    encoder_nlp(tiny_source).to_disk(tmp_path)

    nlp = spacy.load(tmp_path, config={f"components.deberta.{key}": value})

    component = nlp.get_pipe("deberta")
    shim, settings = shim_of(component.model), component.model.attrs["settings"]
    name = key.removeprefix("model.")
    places = (component, settings, shim.compute, shim.encoder)
    names = (name, "_trained_layers" if name == "trained_layers" else name)
    found = [getattr(place, n) for place in places for n in names if hasattr(place, n)]
    assert found
    assert all(one == value for one in found)
    nlp(TEXTS[0])


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        ("deberta_ner", {"threshold": 0.25, "spans_key": "found"}),
        ("deberta_textcat", {"threshold": 0.25, "texts": "pairs", "mode": "multilabel"}),
        ("deberta_qa", {"threshold": 0.25, "top_k": 3, "max_answer_len": 5, "spans_key": "found"}),
        ("deberta_choice", {"max_length": 33, "long": "tail"}),
        ("deberta_fill_mask", {"top_k": 2, "window": 32, "seed": 7}),
    ],
)
def test_settings_of_task_components_can_be_changed_when_loading(
    tiny_source: Path, tmp_path: Path, factory: str, settings: dict[str, Any]
) -> None:
    """Row 35, and what is not changed is as it was saved."""
    nlp = encoder_nlp(tiny_source)
    nlp.add_pipe(factory, name="task", config={"model": {}})
    nlp.to_disk(tmp_path / "first")
    before = dict(nlp.get_pipe("task").cfg)

    changes = {f"components.task.{key}": value for key, value in settings.items()}
    changed = spacy.load(tmp_path / "first", config=changes)
    changed.to_disk(tmp_path / "second")

    assert spacy.load(tmp_path / "first").get_pipe("task").cfg == before
    for found in (changed, spacy.load(tmp_path / "second")):
        own = {k: v for k, v in found.get_pipe("task").cfg.items() if k != "configured"}
        assert own == {**{k: v for k, v in before.items() if k != "configured"}, **settings}


@pytest.mark.parametrize("way", ["exclude", "disable", "enable"])
def test_loading_a_part_of_a_pipeline(tiny_source: Path, tmp_path: Path, way: str) -> None:
    """Row 35."""
    task_nlp(tiny_source).to_disk(tmp_path)

    names = ["deberta"] if way == "enable" else ["ner"]
    nlp = spacy.load(tmp_path, **{way: names})

    assert nlp.pipe_names == ["deberta"]
    assert nlp(TEXTS[0]).tensor.any()


def test_an_encoder_left_out_of_the_folder_is_named(tiny_source: Path, tmp_path: Path) -> None:
    """Row 36."""
    task_nlp(tiny_source).to_disk(tmp_path, exclude=["deberta"])

    assert spacy.load(tmp_path, exclude=["deberta"]).pipe_names == ["ner"]
    with pytest.raises(CheckpointError, match=r"component 'deberta': its folder .* is not there"):
        spacy.load(tmp_path)


def test_a_saved_pipeline_starts_again_from_its_own_weights(
    tiny_source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = shutil.copytree(tiny_source, tmp_path / "source")
    nlp = task_nlp(source)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    train(nlp, examples)
    nlp.to_disk(tmp_path / "saved")
    wanted = rows(nlp)
    shutil.rmtree(source)
    again = spacy.load(tmp_path / "saved")
    train(again, ner_examples(again))

    with caplog.at_level(logging.WARNING):
        again.initialize(lambda: ner_examples(again))

    assert "starts from its weights in" in caplog.text
    assert str(source) in caplog.text
    assert_same(rows(again), wanted)


def test_initializing_again_goes_back_to_the_checkpoint(tiny_source: Path) -> None:
    """Row 49."""
    nlp = task_nlp(tiny_source)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    before = rows(nlp)
    train(nlp, examples)
    assert not np.allclose(rows(nlp)[0], before[0])

    nlp.initialize(lambda: examples)

    assert_same(rows(nlp), before)


def test_initializing_with_unannotated_examples_and_labels_from_elsewhere(
    tiny_source: Path,
) -> None:
    """Row 50."""
    nlp = tiny_nlp(tiny_source)
    tagger = nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    docs = make_docs(TEXTS[:2])
    nlp.config["initialize"]["components"]["tagger"] = {"labels": ["A", "B"]}

    nlp.initialize(lambda: [Example(doc, doc.copy()) for doc in docs])
    nlp.update([Example(doc, doc.copy()) for doc in docs], sgd=build_adamw(0.01))

    assert tagger.labels == ("A", "B")


# Copies


def test_a_pipeline_can_be_pickled_right_after_initialize(tiny_source: Path) -> None:
    """Row 37."""
    nlp = task_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))

    copied = pickle.loads(pickle.dumps(nlp))

    assert_same(rows(copied), rows(nlp))
    (listener,) = copied.get_pipe("deberta").listeners
    assert any(node is listener for node in copied.get_pipe("ner").model.walk())


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_the_last_step_of_an_encoder_with_a_disabled_head(
    tiny_source: Path, copy_of: Callable[[Language], Language]
) -> None:
    """The encoder waits for that head's gradient, and its step was lost in the copy."""
    nlp = task_nlp(tiny_source)
    nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    nlp.initialize(lambda: ner_examples(nlp))
    with nlp.select_pipes(disable=["tagger"]):
        nlp.update(ner_examples(nlp), sgd=build_adamw(0.02))
    assert_same(rows(copy_of(nlp)), rows(nlp))


def test_replacing_one_listener_leaves_the_other_listening(
    tiny_source: Path, tmp_path: Path
) -> None:
    """Row 40."""
    nlp = task_nlp(tiny_source)
    nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    train(nlp, examples)
    before = [doc.to_json() for doc in nlp.pipe(TEXTS)]

    nlp.replace_listeners("deberta", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)

    for pipeline in (nlp, again):
        assert pipeline.get_pipe("deberta").listening_components == ["tagger"]
        assert [doc.to_json() for doc in pipeline.pipe(TEXTS)] == before
        block = pipeline.config["components"]["ner"]["model"]["tok2vec"]
        assert block["@architectures"] == "spacy-deberta.DebertaModel.v1"


def test_renaming_and_removing_heads_keeps_the_rest_trainable(tiny_source: Path) -> None:
    """Row 41."""
    nlp = task_nlp(tiny_source)
    nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    nlp.rename_pipe("ner", "names")
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.remove_pipe("tagger")
    before = rows(nlp)

    train(nlp, examples)

    assert nlp.get_pipe("deberta").listening_components == ["names"]
    assert not np.allclose(rows(nlp)[0], before[0])


def test_threads_share_one_pipeline(tiny_source: Path) -> None:
    nlp = task_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    wanted, found, failures = rows(nlp), [], []

    def work() -> None:
        try:
            for _ in range(3):
                found.append(rows(nlp))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    for one in found:
        for a, b in zip(one, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


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
