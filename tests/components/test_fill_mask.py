"""The component deberta_fill_mask: learns from bare text, fills [MASK] in Docs, saves and loads."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import load_config, registry

from pipelines.fill_mask import FillMaskPipeline
from spacy_deberta.components.fill_mask import DebertaFillMask, keep_masks_whole
from spacy_deberta.components.masked_text import MaskReader
from spacy_deberta.decoding.masks import log_probabilities
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.sequences import sequence_encoder
from tests.pipelines.models import tokenizer_of, write_model
from tests.tiny import add_encoder

CONFIG = Path(__file__).parents[2] / "configs" / "fill_mask_v2.cfg"
TEXTS = (
    "Marie Curie moved to Paris in the old summer of 1891.",
    "Every painter in the village crossed the old river slowly, again and again, in winter.",
    "The quiet garden behind the station wrote  \n a   window of the house on the hill.",
)
WINDOW = 24
NAME = "deberta_fill_mask"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a masked-LM head that reads the last layer."""
    return write_model(tmp_path_factory.mktemp("fill"), "fill-mask", hidden_size=16)


def examples_of(nlp: Language, texts: Sequence[str] = TEXTS) -> list[Example]:
    return [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in texts]


def build(
    source: Path, *, own_encoder: bool = False, head: str | None = "own", **settings: Any
) -> Language:
    nlp = spacy.blank("en")
    if own_encoder:
        encoder = {"@architectures": "spacy-deberta.SequenceModel.v1", "source": str(source)}
        settings["model"] = {"tok2vec": encoder}
    else:
        add_encoder(nlp, source)
    torch.manual_seed(0)
    nlp.add_pipe(NAME, config={"window": WINDOW, **settings})
    nlp.config["initialize"]["components"][NAME] = {"head": head}
    nlp.initialize(lambda: examples_of(nlp))
    return nlp


def train(nlp: Language, n_steps: int, rate: float = 0.01) -> list[float]:
    optimizer, examples, found = build_adamw(rate), examples_of(nlp), []
    for _ in range(n_steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
        found.append(losses[NAME])
    return found


def candidates(nlp: Language, text: str = "the old [MASK] of Paris.") -> list[tuple[str, float]]:
    (found,) = (token._.mask_candidates for token in nlp(text) if token.text == "[MASK]")
    return found  # type: ignore[no-any-return]


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_encoder", [False, True])
def test_it_learns_what_is_hidden(source: Path, own_encoder: bool) -> None:
    nlp = build(source, own_encoder=own_encoder, mask_share=0.3)
    before = nlp.evaluate(examples_of(nlp))
    losses = train(nlp, 15, rate=0.02)
    after = nlp.evaluate(examples_of(nlp))
    assert np.mean(losses[-5:]) < np.mean(losses[:3]) - 1
    assert after["mask_loss"] < before["mask_loss"] - 1


def test_the_encoder_its_piece_table_and_the_head_are_trained(source: Path) -> None:
    nlp = build(source)
    fill = nlp.get_pipe(NAME)
    shim = sequence_encoder(fill.model).shim
    weights = dict(shim.encoder.named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in weights.items()}
    head = fill.model.layers[1].shims[0].module.dense.weight.detach().clone()
    train(nlp, 1)
    moved = {n for n in weights if not torch.equal(before[n], dict(weights)[n])}
    assert {"embeddings.pieces.weight", "layers.0.attention.query.weight"} <= moved
    # the output layer reaches rows that no text has
    table = before["embeddings.pieces.weight"] != shim.encoder.embeddings.pieces.weight
    assert bool(table[660:].any())
    assert not torch.equal(head, fill.model.layers[1].shims[0].module.dense.weight)


def test_the_gradient_is_that_of_the_loss(source: Path) -> None:
    fill = build(source).get_pipe(NAME)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 7)).astype("f")
    labels = np.array([2, 0, 6])
    loss, gradient = fill.get_loss(labels, scores)
    logits = torch.tensor(scores, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, logits.grad, atol=1e-6)


def test_what_is_hidden_depends_on_seed_and_step_alone() -> None:
    reader = MaskReader(tokenizer_of("v3").core, WINDOW)
    torch.manual_seed(1)

    def hidden(seed: int, step: int, texts: Sequence[str] = TEXTS) -> list[list[int]]:
        found = reader.hide(texts, 0.3, seed=seed, step=step)
        return [one.places.tolist() for one in found.sequences]

    first = hidden(0, 5)
    np.random.seed(3)
    assert hidden(0, 5) == first
    assert hidden(0, 6) != first
    assert hidden(1, 5) != first
    assert hidden(0, 5, TEXTS[:1]) == first[: len(hidden(0, 5, TEXTS[:1]))]


@pytest.mark.parametrize("family", ["v3", "v1"])
def test_whole_words_are_hidden_in_windows_that_cover_the_text(family: Any) -> None:
    core = tokenizer_of(family).core
    reader = MaskReader(core, WINDOW)
    text = " ".join(TEXTS)
    found = reader.hide([text, ""], 0.5, seed=0, step=0, keep_none=True)
    labels = iter(found.labels.tolist())
    restored = []
    for one in found.sequences:
        ids = one.sequence.ids
        assert (ids[0], ids[-1]) == (core.cls_id, core.sep_id)
        assert len(ids) <= WINDOW
        assert (ids[one.places] == core.mask_id).all()
        filled = ids.copy()
        filled[one.places] = [next(labels) for _ in one.places]
        names = [core.piece(int(number)) for number in filled]
        for place in range(2, len(ids) - 1):
            inside = re.match("[a-z]", names[place]) and names[place - 1].strip("▁Ġ").isalpha()
            if inside:  # no mark of a space: the same word as the piece before
                assert (ids[place] == core.mask_id) == (ids[place - 1] == core.mask_id)
        restored += filled[1:-1].tolist()
    assert restored == core.encode(text).ids.tolist()


def test_an_update_without_text_does_nothing(source: Path) -> None:
    nlp = build(source)
    before = candidates(nlp)
    for texts in ([], ["", "   "]):
        losses: dict[str, float] = {}
        nlp.update(examples_of(nlp, texts), sgd=build_adamw(0.1), losses=losses)
        assert losses.get(NAME, 0.0) == 0.0
    assert candidates(nlp) == before
    assert nlp.evaluate(examples_of(nlp, [""]))["mask_acc"] is None


# --- filling -------------------------------------------------------------------------------------


def test_masks_get_the_candidates_that_the_pipeline_finds(source: Path) -> None:
    nlp = build(source, top_k=3, window=64)
    pipe = FillMaskPipeline(source, top_k=3)
    for text in (
        "the old [MASK] of Paris.",
        "[MASK] and ([MASK]) in",
        "the old river " * 40 + "[MASK]",
    ):
        masks = pipe(text).masks
        tokens = [token for token in nlp(text) if token._.mask_candidates]
        assert [token.text for token in tokens] == ["[MASK]"] * len(masks)
        for token, mask in zip(tokens, masks, strict=True):
            assert [word for word, _ in token._.mask_candidates] == [one.text for one in mask.fills]
            scores = [score for _, score in token._.mask_candidates]
            assert scores == pytest.approx([one.score for one in mask.fills], abs=1e-5)
    assert not any(token._.mask_candidates for token in nlp("no mask here"))


def test_the_tokenizer_keeps_the_mask_in_one_piece(source: Path) -> None:
    nlp = build(source)
    tokens = [token.text for token in nlp.make_doc("a [MASK], ([MASK]) [MASK].")]
    assert tokens == ["a", "[MASK]", ",", "(", "[MASK]", ")", "[MASK]", "."]


def test_candidates_survive_docbin(source: Path) -> None:
    nlp = build(source)
    expected = candidates(nlp)
    data = DocBin(docs=[nlp("the old [MASK] of Paris.")], store_user_data=True).to_bytes()
    (doc,) = DocBin().from_bytes(data).get_docs(nlp.vocab)
    assert [tuple(one) for one in doc[2]._.mask_candidates] == expected


# --- heads, saving -------------------------------------------------------------------------------


def test_only_the_bad_doc_of_a_batch_is_lost(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = build(source)
    component = nlp.get_pipe(NAME)
    predict = component.predict

    def refuse(docs: Sequence[Any]) -> Any:
        if any(doc.text == "bad" for doc in docs):
            raise ValueError("bad")
        return predict(docs)

    monkeypatch.setattr(component, "predict", refuse)
    seen: list[str] = []
    nlp.set_error_handler(lambda name, pipe, bad, error: seen.extend(doc.text for doc in bad))
    assert [doc.text for doc in nlp.pipe(["one", "bad", "two"])] == ["one", "two"]
    assert seen == ["bad"]


def test_a_new_head_is_drawn_if_asked_for(source: Path) -> None:
    own, new = build(source), build(source, head=None)
    assert candidates(own) != candidates(new)


def test_a_head_that_is_not_there_is_refused_with_a_way_out(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bare", "feature-extraction", hidden_size=16)
    with pytest.raises(CheckpointError, match=r"'deberta_fill_mask': .* head = null trains a new"):
        build(folder)
    emd = write_model(tmp_path / "emd", "fill-mask-emd", hidden_size=16)
    with pytest.raises(CheckpointError, match="behind the enhanced mask decoder"):
        build(emd)
    other = write_model(tmp_path / "other", "fill-mask", hidden_size=16, vocab_size=700)
    with pytest.raises(CheckpointError, match=r"= \(700, 16\), expected \(672, 16\)"):
        build(folder, head=str(other))


def test_saved_and_loaded_it_fills_the_same(source: Path, tmp_path: Path) -> None:
    nlp = build(source)
    train(nlp, 2)
    expected = candidates(nlp)
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    assert candidates(loaded) == expected
    assert loaded.get_pipe(NAME).cfg["step"] == 2
    again = spacy.blank("en")
    again.add_pipe("deberta", config={"model": nlp.get_pipe_config("deberta")["model"]})
    again.add_pipe(NAME, config={"window": WINDOW})
    assert candidates(again.from_bytes(nlp.to_bytes())) == expected
    assert candidates(copy.deepcopy(nlp)) == expected
    assert train(loaded, 1) == pytest.approx(train(nlp, 1), rel=1e-4)


def test_without_its_source_it_keeps_its_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_model(tmp_path / "source", "fill-mask", hidden_size=16)
    nlp = build(folder)
    train(nlp, 2)
    expected = candidates(nlp)
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    folder.rename(tmp_path / "gone")
    loaded.initialize(lambda: examples_of(loaded))
    assert candidates(loaded) == expected
    assert "The masked-LM head keeps the weights it has" in caplog.text


def test_a_task_pipeline_takes_it_as_its_model(source: Path) -> None:
    nlp = build(source, top_k=3)
    train(nlp, 2)
    pipe = FillMaskPipeline(nlp, top_k=3, max_length=WINDOW)
    found = pipe("the old [MASK] of Paris.").masks[0].fills
    expected = candidates(nlp)
    assert [one.text for one in found] == [word for word, _ in expected]
    assert [one.score for one in found] == pytest.approx([p for _, p in expected], abs=1e-5)


def test_the_score_is_that_of_the_models_own_logits(source: Path) -> None:
    nlp = build(source)
    fill: DebertaFillMask = nlp.get_pipe(NAME)
    reader = MaskReader(sequence_encoder(fill.model).tokenizer, WINDOW)
    hidden = reader.hide(TEXTS, 0.15, seed=0, step=-1, keep_none=True)
    log_probs = log_probabilities(fill.model.predict(hidden.sequences))
    found = fill.score(examples_of(nlp))
    assert found["mask_acc"] == (log_probs.argmax(1) == hidden.labels).mean()
    rows = np.arange(len(hidden.labels))
    assert found["mask_loss"] == pytest.approx(-log_probs[rows, hidden.labels].mean(), rel=1e-5)


def test_settings_out_of_range_are_refused(source: Path) -> None:
    for setting, message in (
        ({"mask_share": 0.0}, "mask_share=0.0: expected between 0 and 1"),
        ({"window": 2}, "window=2: expected 3 or more"),
        ({"top_k": 0}, "top_k=0: expected 1 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(source, **setting)
    with pytest.raises(PipelineError, match="has no labels"):
        build(source).get_pipe(NAME).add_label("word")


def test_the_window_fits_the_encoders_positions(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "position_biased_input": True, "max_position_embeddings": 16}
    nlp = build(write_model(tmp_path, "fill-mask", **small), window=16)
    nlp.get_pipe(NAME).cfg["window"] = 17
    with pytest.raises(ConfigError, match=r"window=17, but its encoder .* Use window=16"):
        nlp("[MASK]")


def test_the_config_trains(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    paths = {name: str(text) for name in ("train", "dev")}
    config = load_config(CONFIG, interpolate=False)
    config["paths"] = {**config["paths"], **paths, "source": str(source)}
    nlp = spacy.util.load_model_from_config(config.interpolate(), auto_fill=False, validate=True)
    readers = registry.resolve(config.interpolate()["corpora"])
    nlp.initialize(lambda: readers["train"](nlp))
    optimizer = registry.resolve(config.interpolate()["training"])["optimizer"]
    for _ in range(2):
        losses: dict[str, float] = {}
        nlp.update(list(readers["train"](nlp)), sgd=optimizer, losses=losses)
        assert losses["fill_mask"] > 0
    assert nlp.evaluate(list(readers["dev"](nlp)))["mask_acc"] is not None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a [MASK]/[MASK] .", ["a", "[MASK]", "/", "[MASK]", "."]),
        ("[MASK][MASK]", ["[MASK]", "[MASK]"]),
        ("x[MASK].", ["x", "[MASK]", "."]),
        ("a[MASK]b ([MASK])", ["a", "[MASK]", "b", "(", "[MASK]", ")"]),
    ],
)
def test_a_mask_is_a_token_whatever_is_around_it(text: str, tokens: list[str]) -> None:
    nlp = spacy.blank("en")
    plain = [token.text for token in nlp("don't (e.g.) well-known")]
    for _ in range(2):
        keep_masks_whole(nlp.tokenizer)
    loaded = spacy.blank("en")
    loaded.tokenizer.from_bytes(nlp.tokenizer.to_bytes())
    for one in (nlp, loaded):
        assert [token.text for token in one(text)] == tokens
        assert [token.text for token in one("don't (e.g.) well-known")] == plain
