"""Behaviours 15 to 31 of a spaCy encoder, as far as the other files do not show them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from confection import Config
from spacy import registry
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import (
    LISTENER,
    NER_MODEL,
    TAGGER_MODEL,
    TEXTS,
    add_encoder,
    ner_examples,
    tiny_nlp,
    write_checkpoint,
)

CONFIG = Path(__file__).parents[2] / "configs" / "ner_v2.cfg"


def weights(nlp: Language, name: str = "deberta") -> dict[str, Any]:
    encoder = shim_of(nlp.get_pipe(name).model).encoder
    return {n: p.detach().clone() for n, p in encoder.named_parameters()}


def moved(nlp: Language, before: dict[str, Any]) -> set[str]:
    """Parts of the encoder that changed."""
    after = weights(nlp)
    names = [name for name in after if not torch.equal(after[name], before[name])]
    return {".".join(n.split(".")[:2]) if n.startswith("layers") else "rest" for n in names}


def frozen_nlp(source: Path, **settings: Any) -> Language:
    nlp = spacy.blank("en")
    model = {"source": str(source), "window": 12, "stride": 6}
    nlp.add_pipe("deberta", config={"model": model, **settings})
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    nlp.add_pipe("tagger", config={"model": TAGGER_MODEL})
    return nlp


@pytest.mark.parametrize("annotates", [[], ["deberta"]])
def test_the_switch_frozen_trains_heads_on_one_run_of_a_fixed_encoder(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch, annotates: list[str]
) -> None:
    """Rows 17 and 18, by the component's own switch: no graph, no state, one run."""
    nlp = frozen_nlp(tiny_source, frozen=True)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    shim, before = shim_of(nlp.get_pipe("deberta").model), weights(nlp)
    monkeypatch.setattr(shim, "begin_update", lambda *_: pytest.fail("forms a graph"))
    runs: list[int] = []
    predict = shim.predict
    monkeypatch.setattr(shim, "predict", lambda *args: (runs.append(1), predict(*args))[1])
    optimizer = build_adamw(0.02, use_averages=True)

    history = []
    for _ in range(15):
        history.append(nlp.update(examples, sgd=optimizer, annotates=annotates, losses={}))

    assert len(runs) == 15
    assert history[-1]["ner"] < 0.5 * history[0]["ner"]
    assert moved(nlp, before) == set()
    assert shim._step is None
    assert not any(str(key[1]).startswith("layers.") for key in optimizer.averages)


def test_trained_layers_bounds_what_is_trained(tiny_source: Path, tmp_path: Path) -> None:
    nlp = frozen_nlp(tiny_source, trained_layers=1)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    before = weights(nlp)

    nlp.update(examples, sgd=build_adamw(0.02))

    assert moved(nlp, before) == {"layers.1"}
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("deberta")._trained_layers == 1  # from the config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": True, "trained_layers": 2}, "give one of them"),
        ({"trained_layers": -1}, "trained_layers=-1 is negative"),
        ({"keep": "everything"}, "keep='everything' is unknown; supported: nothing, pieces"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spacy.blank("en").add_pipe("deberta", config=settings)


def unfreezing(**settings: Any) -> Any:
    block = {"@callbacks": "spacy-deberta.unfreeze_gradually.v1", **settings}
    return registry.resolve({"before_update": block})["before_update"]


def test_layers_are_unfrozen_one_after_another_from_the_last(tiny_source: Path) -> None:
    nlp = frozen_nlp(tiny_source)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    callback, optimizer = unfreezing(first_step=1, steps_per_layer=1), build_adamw(0.02)

    trained = []
    for step in range(5):
        before = weights(nlp)
        callback(nlp, {"step": step, "epoch": 0})
        nlp.update(examples, sgd=optimizer)
        trained.append(moved(nlp, before))

    both = {"layers.1", "layers.0"}
    assert trained == [set(), {"layers.1"}, both, both | {"rest"}, both | {"rest"}]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"steps_per_layer": 0}, {"layers.1", "layers.0", "rest"}),
        ({"steps_per_layer": 0, "layers": 1}, {"layers.1"}),
        ({"steps_per_layer": 1, "layers": 2, "component": "deberta"}, {"layers.1", "layers.0"}),
    ],
)
def test_unfreezing_may_stop_above_the_embeddings(
    tiny_source: Path, settings: dict[str, Any], wanted: set[str]
) -> None:
    nlp = frozen_nlp(tiny_source)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    before = weights(nlp)

    unfreezing(**settings)(nlp, {"step": 50, "epoch": 3})
    nlp.update(examples, sgd=build_adamw(0.02))

    assert moved(nlp, before) == wanted


def test_unfreezing_of_an_encoder_that_is_not_there_is_an_error(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)

    with pytest.raises(PipelineError, match=r"component='other', .* are: 'deberta'"):
        unfreezing(component="other")(nlp, {"step": 0})
    with pytest.raises(PipelineError, match="are: none"):
        unfreezing()(spacy.blank("en"), {"step": 0})
    with pytest.raises(ConfigError, match="steps_per_layer=-1 is negative"):
        unfreezing(steps_per_layer=-1)


def test_a_head_with_grad_factor_zero_leaves_the_others_gradient(tiny_source: Path) -> None:
    """Row 26."""
    found = []
    for factor in (0.0, None):
        nlp = tiny_nlp(tiny_source, window=200, stride=100)
        nlp.add_pipe("pull", name="one", config={"target": 0.5})
        if factor is not None:
            model = {**LISTENER, "grad_factor": factor}
            nlp.add_pipe("pull", name="two", config={"model": model, "target": 9.0})
        nlp.initialize()
        doc = nlp.make_doc(TEXTS[0])
        nlp.update([Example(doc, doc.copy())], sgd=build_adamw(0.1))
        found.append(weights(nlp))

    torch.testing.assert_close(*found)


def test_a_listener_that_has_lost_its_encoder_is_an_error_after_loading(
    tiny_source: Path, tmp_path: Path
) -> None:
    """Rows 29 and 36."""
    frozen_nlp(tiny_source).to_disk(tmp_path)

    nlp = spacy.load(tmp_path, exclude=["deberta"])

    with pytest.raises(PipelineError, match=r"no encoder to listen to; .* in the pipeline: none"):
        nlp(TEXTS[0])


def test_a_sourced_head_without_its_encoder_is_an_error(tiny_source: Path, tmp_path: Path) -> None:
    """Rows 29 and 39."""
    nlp = frozen_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    other = spacy.blank("en")
    other.add_pipe("ner", source=nlp)
    other.to_disk(tmp_path)

    with pytest.raises(PipelineError, match="no encoder to listen to"):
        spacy.load(tmp_path)(TEXTS[0])


def test_training_dropout_reaches_heads_and_not_the_encoder(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 51: the encoder has the dropout of its own config."""
    source = write_checkpoint(tmp_path, tiny_tokenizer, hidden_dropout_prob=0.2)
    rows = []
    for drop in (0.0, 0.9, 0.0):
        nlp = tiny_nlp(source)
        nlp.add_pipe("pull")
        nlp.initialize()
        doc = nlp.make_doc(TEXTS[0])
        torch.manual_seed(len(rows) // 2)
        nlp.get_pipe("deberta").update([Example(doc, doc)], drop=drop)
        rows.append(nlp.get_pipe("pull").model.begin_update([doc])[0][0])

    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])  # another seed: there is dropout


def train_config(source: Path, data: Path, **changes: Any) -> Config:
    overrides = {
        "paths.train": str(data),
        "paths.dev": str(data),
        "paths.source": str(source),
        "training.max_steps": 4,
        "training.eval_frequency": 2,
        **changes,
    }
    return load_config(CONFIG, overrides=overrides, interpolate=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    nlp = spacy.blank("en")
    path = tmp_path / "data.spacy"
    DocBin(docs=[example.reference for example in ner_examples(nlp)]).to_disk(path)
    return path


def test_two_runs_of_spacy_train_with_one_seed_are_the_same(
    tiny_source: Path, data: Path, tmp_path: Path
) -> None:
    """Row 25."""
    scores, found = [], []
    for number in range(2):
        nlp = init_nlp(train_config(tiny_source, data))
        (tmp_path / str(number)).mkdir()
        train(nlp, tmp_path / str(number))
        best = spacy.load(tmp_path / str(number) / "model-last")
        scores.append(best.meta["performance"])
        found.append(weights(best))

    assert scores[0] == scores[1]
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_the_source_of_the_weights_may_be_given_to_initialize(
    tiny_source: Path, other_source: Path, data: Path, tmp_path: Path
) -> None:
    changes = {"initialize.components": {"deberta": {"source": str(other_source)}}}
    nlp = init_nlp(train_config(tiny_source, data, **changes))

    torch.testing.assert_close(weights(nlp), weights(tiny_nlp(other_source)), atol=0, rtol=0)
    nlp.to_disk(tmp_path / "saved")
    assert weights(spacy.load(tmp_path / "saved")).keys() == weights(nlp).keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"components.deberta.frozen": True},
        {"training.frozen_components": ["deberta"]},
        {
            "training.frozen_components": ["deberta"],
            "training.annotating_components": ["deberta"],
        },
    ],
    ids=["switch", "frozen", "frozen and annotating"],
)
def test_an_encoder_frozen_from_the_start_has_its_weights(
    tiny_source: Path, data: Path, changes: dict[str, Any]
) -> None:
    """Rows 17 to 19, by `spacy train`."""
    nlp = init_nlp(train_config(tiny_source, data, **changes))

    train(nlp)

    torch.testing.assert_close(weights(nlp), weights(tiny_nlp(tiny_source)), atol=0, rtol=0)
    assert nlp(TEXTS[0]).tensor.any()


def test_unfreezing_and_layer_decay_work_in_spacy_train(tiny_source: Path, data: Path) -> None:
    block = {"@callbacks": "spacy-deberta.unfreeze_gradually.v1", "first_step": 2, "layers": 1}
    changes = {"training.before_update": block, "training.optimizer.layer_decay": 0.5}
    nlp = init_nlp(train_config(tiny_source, data, **changes))
    before = weights(nlp)

    train(nlp)

    assert moved(nlp, before) == {"layers.1"}


def test_a_second_encoder_that_is_frozen_trains_nothing_and_gives_rows(
    tiny_source: Path, other_source: Path
) -> None:
    """Row 28."""
    nlp = tiny_nlp(tiny_source)
    add_encoder(nlp, other_source, name="second")
    nlp.get_pipe("second").train_last(0)
    for name in ("deberta", "second"):
        model = {**LISTENER, "upstream": name}
        nlp.add_pipe("pull", name=f"pull {name}", config={"model": model, "target": 1.0})
    nlp.initialize()
    before = weights(nlp), weights(nlp, "second")
    doc = nlp.make_doc(TEXTS[0])

    nlp.update([Example(doc, doc.copy())], sgd=build_adamw(0.1))

    assert moved(nlp, before[0])
    torch.testing.assert_close(weights(nlp, "second"), before[1], atol=0, rtol=0)
