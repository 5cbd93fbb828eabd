"""`deberta_textcat`: learning labels and values of texts and pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Corpus, Example

from spacy_deberta.decoding.classes import MULTI_LABEL, REGRESSION, SINGLE_LABEL, class_losses
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.modeling import DebertaV2ForSequenceClassification
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.components.textcats import (
    PAIRS,
    TEXTS,
    cats_of,
    pair_examples,
    text_examples,
    textcat_nlp,
    train,
)
from tests.tiny import tiny_config


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
@pytest.mark.parametrize("mode", ["exclusive", "multilabel", "regression"])
def test_texts_are_learned_and_move_the_encoder(tiny_source: Path, mode: str, shared: bool) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode, shared=shared)
    examples = text_examples(nlp, mode)

    history = train(nlp, examples)

    assert history[-1] < 0.3 * history[0]
    for text in TEXTS:
        for label, value in cats_of(text, mode).items():
            assert nlp(text).cats[label] == pytest.approx(value, abs=0.4 if value <= 1 else 1.5)
    assert nlp.evaluate(examples)["cats_score"] > 0.9


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_pairs_are_learned_together(tiny_source: Path, shared: bool) -> None:
    nlp = textcat_nlp(tiny_source, shared=shared)
    examples = pair_examples(nlp)

    history = train(nlp, examples, 40)

    assert history[-1] < 0.3 * history[0]
    for first, second, label in PAIRS:
        doc = nlp.make_doc(first)
        doc._.pair = second
        assert max(nlp(doc).cats, key=doc.cats.__getitem__) == label


def test_scores_read_pairs_that_only_references_have(tiny_source: Path, tmp_path: Path) -> None:
    nlp = textcat_nlp(tiny_source)
    train(nlp, pair_examples(nlp), 40)
    references = [example.reference for example in pair_examples(nlp)]
    DocBin(docs=references, store_user_data=True).to_disk(tmp_path / "pairs.spacy")

    examples = list(Corpus(tmp_path / "pairs.spacy")(nlp))

    assert examples[0].predicted._.pair is None
    assert nlp.evaluate(examples)["cats_micro_f"] == 1.0


@pytest.fixture(scope="module")
def trained_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer
) -> Path:
    """A checkpoint with a head for three labels."""
    torch.manual_seed(3)
    labels = {0: "no", 1: "maybe", 2: "yes"}
    config = tiny_config(id2label=labels, initializer_range=0.5, type_vocab_size=2)
    folder = tmp_path_factory.mktemp("classifier")
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer.save(folder)
    return folder


TEXTS_OF_LOGITS = [("a letter from Warsaw", "the old river"), ("the old river",)]


@pytest.mark.parametrize("shared", [False, True], ids=["own encoder", "shared encoder"])
def test_a_pretrained_head_gives_its_own_logits(trained_folder: Path, shared: bool) -> None:
    nlp = textcat_nlp(trained_folder, shared=shared)
    nlp.config["initialize"]["components"]["textcat"] = {"head": str(trained_folder)}
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a"), {"cats": {"yes": 1.0}})])
    model = DebertaV2ForSequenceClassification.from_pretrained(trained_folder)
    doc = nlp.make_doc("a letter from Warsaw")
    doc._.pair = "the old river"
    single = nlp.make_doc("the old river")

    logits = nlp.get_pipe("textcat").model.predict([doc, single])

    assert nlp.get_pipe("textcat").labels == ("no", "maybe", "yes")
    for row, texts in zip(logits, TEXTS_OF_LOGITS, strict=True):
        with torch.no_grad():
            expected = model(**_encode(nlp, *texts)).logits[0]
        np.testing.assert_allclose(row, expected, atol=1e-5)
        assert np.ptp(row) > 0.1
    cats = nlp(doc).cats
    assert list(cats.values()) == pytest.approx(
        torch.from_numpy(logits[0]).softmax(-1).tolist(), abs=1e-6
    )


def _encode(nlp: Language, first: str, second: str | None = None) -> dict[str, torch.Tensor]:
    from spacy_deberta.thinc_layers.sequences import sequence_encoder

    tokenizer = sequence_encoder(nlp.get_pipe("textcat").model).tokenizer
    a = [tokenizer.cls_id, *tokenizer.encode(first).ids.tolist(), tokenizer.sep_id]
    b = [] if second is None else [*tokenizer.encode(second).ids.tolist(), tokenizer.sep_id]
    types = [0] * len(a) + [1] * len(b)
    return {"input_ids": torch.tensor([a + b]), "token_type_ids": torch.tensor([types])}


def test_labels_of_a_pretrained_head_can_be_renamed(trained_folder: Path) -> None:
    nlp = textcat_nlp(trained_folder)
    init = {"head": str(trained_folder), "labels": ["n", "m", "y"]}
    train(nlp, [Example.from_dict(nlp.make_doc("a"), {"cats": {"y": 1.0}})], 0, **init)

    assert nlp.get_pipe("textcat").labels == ("n", "m", "y")


def test_data_with_labels_that_the_head_lacks_is_an_error(trained_folder: Path) -> None:
    nlp = textcat_nlp(trained_folder)
    example = Example.from_dict(nlp.make_doc("a"), {"cats": {"YES": 1.0}})

    with pytest.raises(
        ConfigError, match=r"the data has labels \['YES'\], expected \['no', 'maybe'"
    ):
        train(nlp, [example], 0, head=str(trained_folder))


def test_a_checkpoint_without_a_head_is_an_error(tiny_source: Path) -> None:
    nlp = textcat_nlp(tiny_source)

    with pytest.raises(CheckpointError, match="holds no"):
        train(nlp, text_examples(nlp), 0, head=str(tiny_source))


@pytest.mark.parametrize("mode", ["exclusive", "multilabel"])
def test_long_texts_are_windows_merged(tiny_source: Path, mode: str) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode, model={"window": 12, "stride": 5})
    train(nlp, text_examples(nlp, mode), 3)
    model = nlp.get_pipe("textcat").model
    pieces = _encode(nlp, " ".join(TEXTS))["input_ids"][0, 1:-1].tolist()
    rows = [pieces[start : start + 10] for start in range(0, len(pieces) - 4, 5)]

    merged = model.predict([nlp.make_doc(" ".join(TEXTS))])[0]

    from spacy_deberta.thinc_layers.sequences import PieceSequence

    encoder, head = model.layers
    laid = [PieceSequence(np.array([1, *row, 2])) for row in rows]
    logits = head.predict(np.stack([states[0] for states in encoder.predict(laid)]))
    weights = np.array([len(rows[0])] + [len(row) - 5 for row in rows[1:]])
    expected = logits.max(0) if mode == "multilabel" else weights @ logits / weights.sum()
    np.testing.assert_allclose(merged, expected, atol=1e-5)


def test_windows_get_the_right_gradients(tiny_source: Path) -> None:
    for mode in ("exclusive", "multilabel"):
        nlp = textcat_nlp(tiny_source, mode=mode, model={"window": 12, "stride": 5})
        train(nlp, text_examples(nlp, mode), 1)
        model = nlp.get_pipe("textcat").model
        docs = [nlp.make_doc(" ".join(TEXTS)), nlp.make_doc(TEXTS[0])]
        _, backprop = model.begin_update(docs)
        direction = np.array([[1.0, -0.5], [0.3, 0.7]], dtype="f")
        backprop(direction)
        head = next(iter(model.layers[1].shims[0].module.parameters()))
        encoder = model.layers[0].shims[0].encoder.embeddings.norm.bias
        for parameter in (head, encoder):
            step = torch.zeros_like(parameter)
            step.view(-1)[3] = 1e-2
            values = []
            for change in (step, -2 * step):
                with torch.no_grad():
                    parameter.add_(change)
                model.layers[0].shims[0].encoder.train()
                values.append(float((model.predict(docs) * direction).sum()))
            with torch.no_grad():
                parameter.add_(step)
            assert parameter.grad is not None
            expected = float(parameter.grad.view(-1)[3])
            assert (values[0] - values[1]) / 2e-2 == pytest.approx(expected, rel=0.02, abs=2e-3)


@pytest.mark.parametrize("problem", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_losses_are_those_of_torch(problem: str) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4, 3)) * 5
    truths = np.eye(3)[[0, 2, 1, 1]] if problem == SINGLE_LABEL else random.random((4, 3))
    a, b = torch.from_numpy(logits), torch.from_numpy(truths)
    expected = {
        SINGLE_LABEL: lambda: torch.nn.functional.cross_entropy(a, b, reduction="none"),
        MULTI_LABEL: lambda: torch.nn.functional.binary_cross_entropy_with_logits(
            a, b, reduction="none"
        ).sum(1),
        REGRESSION: lambda: ((a - b) ** 2).sum(1),
    }[problem]()

    np.testing.assert_allclose(class_losses(logits, truths, problem).sum(1), expected)


@pytest.mark.parametrize("mode", ["exclusive", "multilabel", "regression"])
def test_the_gradient_is_the_derivative_of_the_loss(tiny_source: Path, mode: str) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode)
    examples = text_examples(nlp, mode)
    train(nlp, examples, 0)
    examples[0].reference.cats = {}
    examples[1].reference.cats = {k: v for k, v in list(examples[1].reference.cats.items())[:1]}
    pipe = nlp.get_pipe("textcat")
    logits = np.random.default_rng(0).normal(size=(len(examples), len(pipe.labels)))

    _, gradient = pipe.get_loss(examples, logits)

    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-4
        up, down = (pipe.get_loss(examples, logits + sign * step)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-4, abs=1e-4)
    assert not gradient[0].any()
    assert mode == "regression" or gradient[1, 1] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("mode", ["exclusive", "multilabel", "regression"])
def test_values_that_are_no_numbers_are_refused(tiny_source: Path, mode: str, value: float) -> None:
    nlp = textcat_nlp(tiny_source, mode=mode)
    examples = text_examples(nlp, mode)
    nlp.initialize(lambda: examples)
    for example in examples:
        example.reference.cats = dict.fromkeys(example.reference.cats, value)
    with pytest.raises(DataError, match=r"doc.cats=.*(finite|from 0 to 1)"):
        nlp.update(examples)
