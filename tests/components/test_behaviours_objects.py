"""Behaviours 32 to 53 of a spaCy encoder: saving, copying, Docs, memory, threads."""

import copy
import logging
import os
import pickle
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
from spacy.language import Language
from spacy.training import Example

from spacy_deberta.errors import CheckpointError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.components.behaviours import encoder_nlp, rows, task_nlp
from tests.tiny import (
    TAGGER_MODEL,
    TEXTS,
    make_docs,
    ner_examples,
    tiny_nlp,
)


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
