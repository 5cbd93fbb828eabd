from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from spacy_deberta.errors import ConfigError
from spacy_deberta.thinc_layers.layer_mix import build_layers_listener, build_layers_model
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import build_deberta_model, shim_of
from tests.tiny import NER_MODEL, TEXTS, add_encoder, make_docs, ner_examples, tiny_nlp

LISTENER = {"@architectures": "spacy-deberta.LayersListener.v1", "layers": [0, 1, -1]}
DOCS = make_docs([*TEXTS[:2], "", " "])


def layers_model(source: Path, mix: str, layers: tuple[int, ...] = (2, 0)) -> Any:
    encoder = build_deberta_model(str(source), window=12, stride=6)
    model = build_layers_model(encoder, list(layers), mix)
    model.initialize()
    return model


def layers_nlp(source: Path, mix: str = "scalar", name: str = "deberta") -> Language:
    nlp = tiny_nlp(source, name=name)
    tok2vec = {**LISTENER, "mix": mix}
    nlp.add_pipe("ner", config={"model": {**NER_MODEL, "tok2vec": tok2vec}})
    return nlp


def hidden_states(model: Any, text: str) -> list[np.ndarray]:
    """Rows of every layer, one window, one piece per token or their mean."""
    shim = shim_of(model)
    pieces = shim.tokenizer.encode(text)
    ids = torch.tensor([shim.tokenizer.cls_id, *pieces.ids.tolist(), shim.tokenizer.sep_id])
    with torch.no_grad():
        states = shim.encoder.eval()(ids, [len(ids)], hidden_states=True).hidden_states
    (doc,) = make_docs([text])
    rows = []
    for state in states:
        inner = state[1:-1].numpy()
        mine = [(pieces.starts < t.idx + len(t)) & (pieces.ends > t.idx) for t in doc]
        rows.append(np.stack([inner[m].mean(axis=0) for m in mine]))
    return rows


def test_concat_is_the_encoders_own_layers_side_by_side(tiny_source: Path) -> None:
    encoder = build_deberta_model(str(tiny_source), window=60, stride=30)
    model = build_layers_model(encoder, [-1, 0, 1], "concat")
    model.initialize()

    (found,) = model.predict(make_docs([TEXTS[0]]))

    first, second, last = hidden_states(encoder, TEXTS[0])
    assert model.get_dim("nO") == 48
    np.testing.assert_allclose(found, np.hstack([last, first, second]), atol=1e-5)


def test_mean_and_a_fresh_scalar_mix_are_the_mean(tiny_source: Path) -> None:
    wanted = layers_model(tiny_source, "concat").predict(DOCS)

    for mix in ("mean", "scalar"):
        found = layers_model(tiny_source, mix).predict(DOCS)
        for one, both in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, (both[:, :16] + both[:, 16:]) / 2, atol=1e-5)


def test_the_mix_is_scale_times_softmax_of_weights(tiny_source: Path) -> None:
    model = layers_model(tiny_source, "scalar")
    model.set_param("weights", np.log(np.array([3.0, 1.0], dtype="f")))
    model.set_param("scale", np.array([2.0], dtype="f"))

    found = model.predict(DOCS)

    for one, both in zip(found, layers_model(tiny_source, "concat").predict(DOCS), strict=True):
        np.testing.assert_allclose(one, 1.5 * both[:, :16] + 0.5 * both[:, 16:], atol=1e-5)


@pytest.mark.parametrize("mix", ["scalar", "mean", "concat"])
def test_gradients_are_those_of_finite_differences(tiny_source: Path, mix: str) -> None:
    """Rows 9 and 13: through the mix, its weights, several windows, and an empty Doc."""
    model = layers_model(tiny_source, mix, (0, 1, -1))
    encoder = shim_of(model.layers[0]).encoder.double()
    if mix == "scalar":
        model.set_param("weights", np.array([0.3, -0.5, 1.0], dtype="f"))
        model.set_param("scale", np.array([1.7], dtype="f"))
    rng = np.random.default_rng(0)
    rows, backprop = model.begin_update(DOCS)
    ups = [rng.normal(size=r.shape).astype("f") for r in rows]
    backprop(ups)
    steps = {n: rng.normal(size=model.get_param(n).shape) for n in model.param_names}

    def loss(distance: float) -> float:
        for name, step in steps.items():
            moved = model.get_param(name) + distance * step
            model.set_param(name, moved.astype("f"))
        return sum(float((u * r).sum()) for u, r in zip(ups, model.predict(DOCS), strict=True))

    if steps:
        h = 1e-2
        analytic = sum(float((model.get_grad(n) * step).sum()) for n, step in steps.items())
        ahead, behind = loss(h), loss(-2 * h)
        loss(h)
        assert analytic == pytest.approx((ahead - behind) / (2 * h), rel=2e-3)
    _check_encoder(model, encoder, ups)


def _check_encoder(model: Any, encoder: Any, ups: list[Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = {
        n: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for n, p in encoder.named_parameters()
    }
    named = [(n, p) for n, p in encoder.named_parameters() if p.grad is not None]
    analytic = sum(float((p.grad * steps[n]).sum()) for n, p in named)

    def loss(distance: float) -> float:
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                parameter.add_(steps[name], alpha=distance)
        return sum(float((u * r).sum()) for u, r in zip(ups, model.predict(DOCS), strict=True))

    h = 1e-3
    ahead, behind = loss(h), loss(-2 * h)
    assert abs(analytic) > 1
    assert analytic == pytest.approx((ahead - behind) / (2 * h), rel=2e-3)


def test_a_listener_sends_the_same_gradient_as_an_encoder_of_its_own(tiny_source: Path) -> None:
    own = layers_model(tiny_source, "scalar", (0, 1, -1))
    nlp = layers_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    component = nlp.get_pipe("deberta")
    listener = next(n for n in nlp.get_pipe("ner").model.walk() if n.attrs.get("mix"))

    component.update([Example(doc, doc.copy()) for doc in DOCS])
    for model in (own, listener):
        rows, backprop = model.begin_update(DOCS)
        backprop(rows)

    component._backward.settle()
    found = dict(shim_of(component.model).encoder.named_parameters())
    for name, parameter in shim_of(own.layers[0]).encoder.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad)
    for name in ("weights", "scale"):
        np.testing.assert_allclose(listener.get_grad(name), own.get_grad(name), rtol=1e-3)


def test_a_head_learns_beside_another_that_hears_the_last_layer(tiny_source: Path) -> None:
    nlp = layers_nlp(tiny_source)
    last = {"@architectures": "spacy-deberta.DebertaListener.v1"}
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": last}})
    examples = ner_examples(nlp)
    optimizer = build_adamw(0.02, head_learn_rate_scale=2.0)
    nlp.initialize(lambda: examples)
    history: list[dict[str, float]] = []
    for _ in range(15):
        history.append({})
        nlp.update(examples, sgd=optimizer, losses=history[-1])

    assert history[-1]["ner"] < 0.3 * history[0]["ner"]
    assert history[-1]["tagger"] < 0.7 * history[0]["tagger"]
    doc = nlp(TEXTS[0])
    assert {ent.text for ent in doc.ents} == {"Marie", "Curie", "Paris"}
    assert set(doc._.deberta.layers) == {0, 1}  # what the listener needs stays on the Doc


def test_in_prediction_the_encoder_runs_once(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = layers_nlp(tiny_source)
    nlp.initialize(lambda: ner_examples(nlp))
    shim = shim_of(nlp.get_pipe("deberta").model)
    seen: list[tuple[int, ...]] = []
    predict = shim.predict
    monkeypatch.setattr(
        shim, "predict", lambda batch, layers=(): (seen.append(layers), predict(batch, layers))[1]
    )

    nlp(TEXTS[0])

    assert seen == [(0, 1)]


@pytest.mark.parametrize("mix", ["scalar", "concat"])
def test_a_replaced_listener_predicts_the_same_and_is_saved(
    tiny_source: Path, tmp_path: Path, mix: str
) -> None:
    """Row 40, for layers."""
    nlp = layers_nlp(tiny_source, mix)
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = build_adamw(0.02)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    before = [model_rows(nlp, text) for text in TEXTS]
    entities = [[str(ent) for ent in nlp(text).ents] for text in TEXTS]

    nlp.replace_listeners("deberta", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path)

    for pipeline in (nlp, spacy.load(tmp_path)):
        for text, rows, names in zip(TEXTS, before, entities, strict=True):
            np.testing.assert_allclose(model_rows(pipeline, text), rows, atol=1e-5)
            assert [str(ent) for ent in pipeline(text).ents] == names


def model_rows(nlp: Language, text: str) -> Any:
    node = next(n for n in nlp.get_pipe("ner").model.walk() if n.attrs.get("mix"))
    return node.predict([nlp.make_doc(text)])[0]


def test_two_encoders_do_not_mix_their_layers(tiny_source: Path) -> None:
    nlp = layers_nlp(tiny_source, "concat")
    add_encoder(nlp, tiny_source, name="second")  # after the listener: not for it

    assert nlp.get_pipe("deberta").listening_components == ["ner"]
    assert nlp.get_pipe("second").listening_components == []


def _no_layers() -> None:
    build_layers_listener([])


def _unknown_mix() -> None:
    build_layers_listener([1], "median")


def _twice() -> None:
    build_layers_listener([1, 1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_no_layers, r"layers=\[\]: name one layer or more"),
        (_twice, r"layers=\[1, 1\].*each once"),
        (_unknown_mix, "mix='median' is unknown; supported: scalar, mean, concat"),
    ],
)
def test_settings_that_cannot_work_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    ("layers", "message"),
    [([3], "has no layer 3; it has 0 .* to 2"), ([2, -1], "one layer is named twice")],
)
def test_layers_that_the_encoder_does_not_have_are_an_error(
    tiny_source: Path, layers: list[int], message: str
) -> None:
    nlp = tiny_nlp(tiny_source)
    tok2vec = {**LISTENER, "layers": layers}
    nlp.add_pipe("ner", config={"model": {**NER_MODEL, "tok2vec": tok2vec}})

    with pytest.raises(ConfigError, match=message):
        nlp.initialize(lambda: ner_examples(nlp))
