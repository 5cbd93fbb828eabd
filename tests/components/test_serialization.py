import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language

from spacy_deberta.thinc_layers.listeners import listener_state
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from tests.tiny import NER_MODEL, TEXTS, ner_examples, tiny_nlp


def trained_nlp(source: Path) -> Language:
    nlp = tiny_nlp(source)
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = build_adamw(0.01)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    return nlp


def assert_same_output(one: Language, two: Language) -> None:
    for a, b in zip(one.pipe(TEXTS), two.pipe(TEXTS), strict=True):
        np.testing.assert_array_equal(a.tensor, b.tensor)
        assert [(e.start, e.end) for e in a.ents] == [(e.start, e.end) for e in b.ents]


def test_a_saved_pipeline_needs_no_source(tiny_source: Path, tmp_path: Path) -> None:
    """Row 33."""
    source = shutil.copytree(tiny_source, tmp_path / "source")
    nlp = trained_nlp(source)
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(source)

    loaded = spacy.load(tmp_path / "saved")

    assert_same_output(nlp, loaded)
    assert loaded.config["components"] == nlp.config["components"]


def test_an_encoder_that_was_never_used_is_saved_whole(tiny_source: Path, tmp_path: Path) -> None:
    tiny_nlp(tiny_source).to_disk(tmp_path)

    assert_same_output(spacy.load(tmp_path), tiny_nlp(tiny_source))


def test_the_folder_is_a_checkpoint(tiny_source: Path, tmp_path: Path) -> None:
    nlp = trained_nlp(tiny_source)
    nlp.to_disk(tmp_path)

    found = {path.name for path in (tmp_path / "deberta").iterdir()}

    assert found >= {"cfg", "config.json", "model.safetensors", "spm.model"}
    again = tiny_nlp(tmp_path / "deberta")
    np.testing.assert_array_equal(again(TEXTS[0]).tensor, nlp(TEXTS[0]).tensor)


def test_saving_over_the_folder_it_was_loaded_from(tiny_source: Path, tmp_path: Path) -> None:
    trained_nlp(tiny_source).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)

    nlp.to_disk(tmp_path)

    assert_same_output(nlp, spacy.load(tmp_path))


def test_excluding_the_model_leaves_the_weights_out(tiny_source: Path, tmp_path: Path) -> None:
    encoder = tiny_nlp(tiny_source).get_pipe("deberta")

    encoder.to_disk(tmp_path / "deberta", exclude=["model", "vocab"])

    assert [path.name for path in (tmp_path / "deberta").iterdir()] == ["cfg"]


def test_arguments_in_the_config_apply_to_a_saved_pipeline(
    tiny_source: Path, tmp_path: Path
) -> None:
    """Row 35."""
    tiny_nlp(tiny_source).to_disk(tmp_path)

    nlp = spacy.load(tmp_path, config={"components.deberta.model.batch_pieces": 11})

    assert nlp.get_pipe("deberta").model.attrs["settings"].batch_pieces == 11
    nlp(TEXTS[0])


def test_bytes(tiny_source: Path) -> None:
    """Row 32."""
    nlp = trained_nlp(tiny_source)
    data = nlp.to_bytes()
    config = json.loads(json.dumps(nlp.config))
    config["components"]["deberta"]["model"]["source"] = "nowhere"

    loaded = spacy.util.load_model_from_config(config).from_bytes(data)

    assert_same_output(nlp, loaded)
    assert loaded.get_pipe("deberta").to_bytes() == nlp.get_pipe("deberta").to_bytes()


def through_pickle(nlp: Language) -> Language:
    copied: Language = pickle.loads(pickle.dumps(nlp))
    return copied


@pytest.mark.parametrize("carry", [copy.deepcopy, through_pickle], ids=["deepcopy", "pickle"])
def test_copies_listen_to_their_own_encoder(
    tiny_source: Path, carry: Callable[[Language], Language]
) -> None:
    """Row 37."""
    nlp = trained_nlp(tiny_source)

    copied = carry(nlp)

    assert_same_output(nlp, copied)
    encoder = copied.get_pipe("deberta")
    (listener,) = encoder.listeners
    state = listener_state(listener)
    assert state is not None
    assert state.source is encoder
    assert any(node is listener for node in copied.get_pipe("ner").model.walk())
    assert shim_of(encoder.model).id != shim_of(nlp.get_pipe("deberta").model).id
    copied.update(ner_examples(copied), sgd=build_adamw(0.01))
    assert not np.allclose(copied(TEXTS[0]).tensor, nlp(TEXTS[0]).tensor)


def test_replaced_listeners_predict_the_same_and_are_saved(
    tiny_source: Path, tmp_path: Path
) -> None:
    """Row 40."""
    source = shutil.copytree(tiny_source, tmp_path / "source")
    nlp = trained_nlp(source)
    before = copy.deepcopy(nlp)

    nlp.replace_listeners("deberta", "ner", ["model.tok2vec"])

    assert nlp.get_pipe("deberta").listeners == []
    assert_same_output(before, nlp)
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(source)
    assert_same_output(nlp, spacy.load(tmp_path / "saved"))


def test_a_replaced_listener_trains_with_an_optimizer_state_of_its_own(tiny_source: Path) -> None:
    """Row 24."""
    nlp = trained_nlp(tiny_source)
    nlp.add_pipe(
        "tagger",
        config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": NER_MODEL["tok2vec"]}},
    )
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.replace_listeners("deberta", "ner", ["model.tok2vec"])
    optimizer = build_adamw(0.01, use_averages=True)
    before = nlp(TEXTS[0]).tensor

    nlp.update(examples, sgd=optimizer)

    encoders = {key[0] for key in optimizer.averages if str(key[1]).startswith("layers.")}
    assert len(encoders) == 2
    assert not np.allclose(nlp(TEXTS[0]).tensor, before)


def test_sourcing_encoder_and_head_keeps_predictions(tiny_source: Path) -> None:
    """Row 39."""
    nlp = trained_nlp(tiny_source)
    other = spacy.blank("en")

    other.add_pipe("deberta", source=nlp)
    other.add_pipe("ner", source=nlp)

    assert_same_output(nlp, other)


def test_a_forked_process_uses_one_thread(tiny_source: Path) -> None:
    """Torch's threads do not survive a fork; a child that waits for them hangs."""
    program = f"""
import os, spacy, torch
nlp = spacy.blank("en")
nlp.add_pipe("deberta", config={{"model": {{"source": "{tiny_source}"}}}})
nlp("Marie")
torch.set_num_threads(2)
child = os.fork()
if child == 0:
    os._exit(torch.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert result.stdout.split() == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_give_the_same(tiny_source: Path, tmp_path: Path, method: str) -> None:
    """Row 38."""
    trained_nlp(tiny_source).to_disk(tmp_path)
    program = f"""
import multiprocessing, numpy, spacy, torch
if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    torch.set_num_threads(2)
    nlp = spacy.load("{tmp_path}")
    texts = {list(TEXTS)!r} * 4
    here = list(nlp.pipe(texts))
    there = list(nlp.pipe(texts, n_process=2, batch_size=3))
    for a, b in zip(here, there, strict=True):
        numpy.testing.assert_allclose(a.tensor, b.tensor, atol=1e-5)
        numpy.testing.assert_array_equal(a._.deberta.ids, b._.deberta.ids)
        assert b._.deberta.rows is not None
    print("done")
"""
    script = tmp_path / "program.py"
    script.write_text(program, encoding="utf-8")

    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )

    assert result.stdout.strip() == "done", result.stderr
