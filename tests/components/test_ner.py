"""The component `deberta_ner`; numbers in names are rows of the behaviours it is held to."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_deberta.errors import ConfigError, HeadMissingError, PipelineError
from spacy_deberta.modeling import DebertaV2ForTokenClassification
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import MODEL, TEXTS, add_encoder, ner_examples, tiny_config, tiny_nlp

TAGS = ["O", "B-NAME", "I-NAME"]


def ner_nlp(source: Path, **settings: Any) -> Language:
    nlp = tiny_nlp(source)
    nlp.add_pipe("deberta_ner", name="ner", config=settings)
    return nlp


def train(nlp: Language, examples: list[Example], steps: int = 40) -> dict[str, float]:
    fix_random_seed(0)  # of the head and of dropout, whatever ran before
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer, losses={})
    return losses


@pytest.fixture(scope="module")
def trained(tiny_source: Path) -> Language:
    nlp = ner_nlp(tiny_source)
    train(nlp, ner_examples(nlp))
    return nlp


def found(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


@pytest.mark.parametrize("scheme", ["BIO", "BILUO"])
def test_it_learns_entities_of_several_tokens(tiny_source: Path, scheme: str) -> None:
    nlp = ner_nlp(tiny_source, scheme=scheme)
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": [span]})
        for text, span in [
            ("Marie Curie moved to Paris.", (0, 11, "PER")),
            ("A letter from Warsaw", (14, 20, "LOC")),
        ]
    ]
    losses = train(nlp, examples)
    assert losses["ner"] < 0.1
    assert nlp.get_pipe("ner").labels == ("PER", "LOC")
    assert found(nlp("Marie Curie moved to Paris.")) == [("Marie Curie", "PER")]
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_scores_stand_beside_the_spans_and_survive_docbin(trained: Language) -> None:
    doc = trained(TEXTS[0])
    scores = doc.spans["ner"].attrs["scores"]
    assert [span.text for span in doc.spans["ner"]] == [ent.text for ent in doc.ents]
    assert scores == [ent._.deberta_score for ent in doc.ents]
    assert scores
    assert all(0 < score <= 1 for score in scores)
    assert doc[0:3]._.deberta_score is None
    (copy,) = DocBin(docs=[doc]).get_docs(trained.vocab)
    assert [ent._.deberta_score for ent in copy.ents] == pytest.approx(scores)


def test_a_score_is_the_posterior_of_the_span(trained: Language) -> None:
    ner = trained.get_pipe("ner")
    doc = trained.make_doc("Marie Curie")
    (logits,) = ner.model.predict(list(trained.get_pipe("deberta").pipe([doc])))
    first, second = (np.exp(row) / np.exp(row).sum() for row in logits)
    sequences = {  # of O, B, I over two tokens, an I only behind B or I
        (a, b): first[a] * second[b] for a in (0, 1) for b in (0, 1, 2) if b != 2 or a == 1
    }
    best = max(sequences, key=lambda tags: sequences[tags])
    assert best == (1, 1)
    total = sum(sequences.values())
    expected = [
        (sequences[1, 0] + sequences[1, 1]) / total,
        (sequences[0, 1] + sequences[1, 1]) / total,
    ]
    (spans,) = ner.predict([doc])
    assert [span.score for span in spans] == pytest.approx(expected, rel=1e-5)


def test_threshold_leaves_out_what_is_unsure(trained: Language) -> None:
    ner = trained.get_pipe("ner")
    doc = trained.get_pipe("deberta")(trained.make_doc(TEXTS[0]))
    (everything,) = ner.predict([doc])
    worst = min(span.score for span in everything)
    ner.cfg["threshold"] = worst + 1e-9
    (kept,) = ner.predict([doc])
    ner.cfg["threshold"] = 0.0
    assert kept == [span for span in everything if span.score > worst]
    assert len(kept) < len(everything)


def test_58_recall_falls_with_the_threshold(trained: Language) -> None:
    ner, recalls = trained.get_pipe("ner"), []
    for threshold in (0.0, 0.5, 0.9, 1.0):
        ner.cfg["threshold"] = threshold
        recalls.append(trained.evaluate(ner_examples(trained))["ents_r"])
    ner.cfg["threshold"] = 0.0
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[-1]


def test_entities_that_are_there_stay(trained: Language) -> None:
    doc = trained.make_doc(TEXTS[0])
    doc.ents = [Span(doc, 0, 2, label="OTHER")]
    doc = trained(doc)
    assert found(doc)[0] == ("Marie Curie", "OTHER")
    assert ("Paris", "NAME") in found(doc)


def test_whitespace_has_no_tag_and_breaks_no_entity(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    text = "Marie  Curie moved \n"
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": [(0, 12, "PER")]})]
    train(nlp, examples)
    assert found(nlp(text)) == [("Marie  Curie", "PER")]
    is_space = [token.is_space for token in examples[0].x]
    zeros = np.zeros((len(is_space), 3), dtype="f")
    _, (gradient,) = nlp.get_pipe("ner").get_loss(examples, [zeros])
    assert not gradient[is_space].any()
    assert gradient[[not space for space in is_space]].any(axis=1).all()


def test_loss_is_the_mean_over_annotated_tokens(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    ner = nlp.get_pipe("ner")
    ner.add_label("NAME")
    known = Example.from_dict(nlp.make_doc("Marie left"), {"entities": ["U-NAME", "O"]})
    partly = Example.from_dict(nlp.make_doc("A b c"), {"entities": ["-", "O", None]})
    unknown = Example(nlp.make_doc("x y"), nlp.make_doc("x y"))
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(n, 3)).astype("f") for n in (2, 3, 2)]
    loss, gradients = ner.get_loss([known, partly, unknown], scores)
    logits = torch.tensor(np.concatenate(scores), requires_grad=True)
    gold = torch.tensor([1, 0, -100, 0, -100, -100, -100])
    expected = torch.nn.functional.cross_entropy(logits, gold, ignore_index=-100)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert np.concatenate(gradients) == pytest.approx(logits.grad.numpy(), abs=1e-6)
    assert not gradients[2].any()
    assert {gradient.dtype.name for gradient in gradients} == {"float32"}


def test_50_unannotated_examples_change_no_weight(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    optimizer = nlp.initialize(lambda: ner_examples(nlp))
    before = nlp.get_pipe("ner").model.to_bytes()
    optimizer.L2 = 0.0
    blank = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS]
    losses = nlp.update(blank, sgd=optimizer)
    assert losses["ner"] == 0.0
    assert nlp.get_pipe("ner").model.to_bytes() == before


def test_13_empty_docs_change_nothing(trained: Language) -> None:
    alone = trained(TEXTS[0])
    docs = list(trained.pipe(["", TEXTS[0], "", " \n"]))
    assert [len(doc.ents) for doc in docs] == [0, len(alone.ents), 0, 0]
    assert docs[1].spans["ner"].attrs["scores"] == pytest.approx(
        alone.spans["ner"].attrs["scores"], abs=1e-5
    )
    assert trained.get_pipe("ner").predict([trained.make_doc("")]) == [[]]


def test_32_bytes_and_disk_give_equal_results(trained: Language, tmp_path: Path) -> None:
    expected = trained(TEXTS[0])
    trained.to_disk(tmp_path)
    for nlp in (
        spacy.load(tmp_path),
        spacy.blank("en").from_config(trained.config).from_bytes(trained.to_bytes()),
    ):
        doc = nlp(TEXTS[0])
        assert found(doc) == found(expected)
        assert doc.spans["ner"].attrs == expected.spans["ner"].attrs
        assert nlp.get_pipe("ner").labels == ("NAME",)


def test_35_settings_given_at_load_win(trained: Language, tmp_path: Path) -> None:
    trained.get_pipe("ner").cfg["spans_key"] = "changed"
    trained.to_disk(tmp_path)
    trained.get_pipe("ner").cfg["spans_key"] = "ner"
    loaded = spacy.load(tmp_path, config={"components.ner.threshold": 1.0})
    assert loaded.get_pipe("ner").cfg["threshold"] == 1.0
    assert loaded.get_pipe("ner").cfg["spans_key"] == "changed"
    assert not loaded(TEXTS[0]).ents


def test_49_initialize_twice_draws_a_fresh_head_for_other_labels(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    train(nlp, ner_examples(nlp), steps=2)
    ner = nlp.get_pipe("ner")
    ner.initialize(lambda: ner_examples(nlp), labels=["X", "Y"])
    assert ner.labels == ("X", "Y")
    assert ner.model.get_dim("nO") == 5 or ner.model.predict([nlp("a")])[0].shape == (1, 5)


def test_50_labels_from_a_file_and_label_data_are_one(tiny_source: Path, tmp_path: Path) -> None:
    nlp = ner_nlp(tiny_source)
    srsly.write_json(tmp_path / "ner.json", ["Y", "X"])
    labels = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "ner.json")}
    nlp.config["initialize"]["components"]["ner"] = {"labels": labels}
    nlp.initialize(lambda: ner_examples(nlp))
    assert nlp.get_pipe("ner").label_data == ["Y", "X"]


def test_50_without_labels_initialize_says_so(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    blank = [Example(nlp.make_doc("a b"), nlp.make_doc("a b"))]
    with pytest.raises(PipelineError, match="'ner' has no labels; call"):
        nlp.initialize(lambda: blank)


@pytest.mark.parametrize("scheme", ["BIO", "BILUO"])
def test_50_a_label_added_later_changes_no_other(tiny_source: Path, scheme: str) -> None:
    nlp = ner_nlp(tiny_source, scheme=scheme)
    train(nlp, ner_examples(nlp), steps=3)
    ner = nlp.get_pipe("ner")
    docs = [nlp.get_pipe("deberta")(nlp.make_doc(TEXTS[0]))]
    (before,) = ner.model.predict(docs)
    assert ner.add_label("NEW") == 1
    assert ner.add_label("NEW") == 0
    (after,) = ner.model.predict(docs)
    assert after[:, : before.shape[1]] == pytest.approx(before)
    assert not after[:, before.shape[1] :].any()
    assert ner.labels == ("NAME", "NEW")
    example = Example.from_dict(nlp.make_doc("the window"), {"entities": [(4, 10, "NEW")]})
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.02
    for _ in range(25):
        nlp.update([example], sgd=optimizer)
    assert found(nlp("the window")) == [("window", "NEW")]


@pytest.mark.parametrize("names", [TAGS, ["I-NAME", "O", "B-NAME", "B-X", "I-X"]])
def test_a_pretrained_head_gives_the_checkpoints_logits(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path, names: list[str]
) -> None:
    torch.manual_seed(0)
    config = tiny_config(id2label=dict(enumerate(names)), num_labels=len(names))
    model = DebertaV2ForTokenClassification(config).eval()
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save(tmp_path)
    nlp = spacy.blank("en")
    add_encoder(nlp, tmp_path, window=64, stride=32, pooling="first")
    ner = nlp.add_pipe("deberta_ner", name="ner")
    nlp.config["initialize"]["components"]["ner"] = {"head": str(tmp_path)}
    nlp.initialize()
    doc = nlp(TEXTS[0])
    pieces = tiny_tokenizer.encode(doc.text)
    ids = [tiny_tokenizer.cls_id, *pieces.ids.tolist(), tiny_tokenizer.sep_id]
    expected = model(torch.tensor([ids])).logits[0, 1:-1].detach().numpy()
    first = [int(doc._.deberta.pieces_of(token.i)[0]) for token in doc]
    assert ner.model.predict([doc])[0] == pytest.approx(expected[first], abs=1e-5)
    assert set(ner.labels) == {name[2:] for name in names if name != "O"}


def test_a_checkpoint_without_the_head_is_refused(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    nlp.config["initialize"]["components"]["ner"] = {"head": str(tiny_source)}
    with pytest.raises(HeadMissingError, match="expected the linear head of a token-class"):
        nlp.initialize()


def test_features_can_stand_beside_the_encoders_rows(tiny_source: Path, tmp_path: Path) -> None:
    shapes = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 8,
        "attrs": ["SHAPE"],
        "rows": [50],
        "include_static_vectors": False,
    }
    listener = {"@architectures": "spacy-deberta.DebertaListener.v1"}
    tok2vec = {"@layers": "concatenate.v1", "*": {"a": listener, "b": shapes}}
    model = {"@architectures": "spacy-deberta.TokenTagger.v1", "tok2vec": tok2vec}
    nlp = ner_nlp(tiny_source, model=model)
    train(nlp, ner_examples(nlp), steps=20)
    assert found(nlp(TEXTS[0]))[-1] == ("Paris", "NAME")
    nlp.to_disk(tmp_path)
    assert found(spacy.load(tmp_path)(TEXTS[0])) == found(nlp(TEXTS[0]))


def test_it_trains_alone_on_an_encoder_of_its_own(tiny_source: Path) -> None:
    nlp = spacy.blank("en")
    tok2vec = {**MODEL, "source": str(tiny_source)}
    model = {"@architectures": "spacy-deberta.TokenTagger.v1", "tok2vec": tok2vec}
    nlp.add_pipe("deberta_ner", name="ner", config={"model": model})
    train(nlp, ner_examples(nlp), steps=30)
    assert ("Paris", "NAME") in found(nlp(TEXTS[0]))


def test_the_encoder_learns_from_it(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    optimizer = nlp.initialize(lambda: ner_examples(nlp))
    before = nlp.get_pipe("deberta").to_bytes()
    nlp.update(ner_examples(nlp), sgd=optimizer)
    assert nlp.get_pipe("deberta").to_bytes() != before


def test_spans_instead_of_entities(tiny_source: Path, tmp_path: Path) -> None:
    scorer = {"@scorers": "spacy.spancat_scorer.v1"}
    nlp = ner_nlp(tiny_source, set_ents=False, spans_key="names", scorer=scorer)
    docs: list[Doc] = [nlp.make_doc(text) for text in TEXTS]
    for doc in docs:
        doc.spans["names"] = [doc[t.i : t.i + 1] for t in doc if t.text[0].isupper()]
        for span in doc.spans["names"]:
            span.label_ = "NAME"
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    train(nlp, examples)
    doc = nlp(TEXTS[0])
    assert not doc.ents
    assert [span.text for span in doc.spans["names"]] == ["Marie", "Curie", "Paris"]
    assert nlp.evaluate(examples)["spans_names_f"] > 0.9
    missing = Example(nlp.make_doc("a b"), nlp.make_doc("a b"))
    _, (gradient,) = nlp.get_pipe("ner").get_loss([missing], [np.ones((2, 3), dtype="f")])
    assert not gradient.any()


def test_other_tokens_in_the_reference_are_aligned(tiny_source: Path) -> None:
    nlp = ner_nlp(tiny_source)
    nlp.get_pipe("ner").add_label("PER")
    predicted = Doc(
        nlp.vocab, words=["Marie", "Cu", "rie", "left"], spaces=[True, False, True, False]
    )
    reference = Doc(nlp.vocab, words=["Marie", "Curie", "left"], ents=["B-PER", "I-PER", "O"])
    tags = nlp.get_pipe("ner")._gold_tags(
        Example(predicted, reference), nlp.get_pipe("ner").tag_scheme
    )
    assert tags.tolist() == [1, 2, 2, 0]


def test_46_errors_reach_the_handler_with_their_doc(trained: Language) -> None:
    seen: list[list[str]] = []

    def handle(name: str, proc: Any, docs: Iterable[Doc], error: Exception) -> None:
        seen.append([doc.text for doc in docs])

    trained.get_pipe("ner").set_error_handler(handle)
    ner = trained.get_pipe("ner")
    predict = ner.predict

    def fail(docs: Iterable[Doc]) -> Any:
        docs = list(docs)
        if any(doc.text == "bad" for doc in docs):
            raise ValueError("bad")
        return predict(docs)

    ner.predict = fail
    try:
        docs = list(trained.pipe(["a b", "bad", TEXTS[0]]))
    finally:
        del ner.predict
        trained.get_pipe("ner").set_error_handler(_raise)
    assert [doc.text for doc in docs] == ["a b", TEXTS[0]]
    assert seen == [["bad"]]


def _raise(name: str, proc: Any, docs: Any, error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"scheme": "IO"}, "expected BIO or BILUO"), ({"threshold": 2.0}, "expected 0 to 1")],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spacy.blank("en").add_pipe("deberta_ner", config=settings)


def test_54_training_by_its_config_runs(tiny_source: Path, tmp_path: Path) -> None:
    from spacy.cli.evaluate import evaluate
    from spacy.cli.train import train as spacy_train

    nlp = spacy.blank("en")
    DocBin(docs=[example.reference for example in ner_examples(nlp)]).to_disk(tmp_path / "x.spacy")
    overrides = {
        "paths.train": str(tmp_path / "x.spacy"),
        "paths.dev": str(tmp_path / "x.spacy"),
        "paths.source": str(tiny_source),
        "training.max_steps": 2,
        "training.eval_frequency": 2,
        "training.logger.@loggers": "spacy.ConsoleLogger.v1",
    }
    config = Path(__file__).parents[2] / "configs" / "ner_v1.cfg"
    spacy_train(config, tmp_path / "out", overrides=overrides)
    scores = evaluate(str(tmp_path / "out" / "model-last"), tmp_path / "x.spacy", silent=True)
    assert "ents_f" in scores
