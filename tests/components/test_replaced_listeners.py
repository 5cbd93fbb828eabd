"""`nlp.replace_listeners` on components that read sequences: each gets an encoder of its own."""

from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_deberta.components.fill_mask import EXTENSION
from spacy_deberta.thinc_layers.sequences import sequence_encoder
from tests.pipelines.models import write_model
from tests.tiny import add_encoder

TEXT = "Marie Curie moved to Paris in the [MASK]."
FACTORIES = ("deberta_textcat", "deberta_qa", "deberta_choice", "deberta_fill_mask")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("heads"), "fill-mask", hidden_size=16)


def make_doc(nlp: Language) -> Doc:
    """What each of the components reads."""
    doc = nlp.make_doc(TEXT)
    if Doc.has_extension("qa"):
        doc._.qa = [{"id": "q", "question": "moved to"}]
    if Doc.has_extension("choices"):
        doc._.choices = ["Paris", "the old river"]
    return doc


def found_by(nlp: Language) -> str:
    doc = nlp(make_doc(nlp))
    spans = {key: (list(group), group.attrs) for key, group in doc.spans.items()}
    return repr((doc.cats, spans, [token._.get(EXTENSION) for token in doc]))


def make_nlp(source: Path, factory: str) -> Language:
    nlp = spacy.blank("en")
    add_encoder(nlp, source)
    torch.manual_seed(0)
    nlp.add_pipe(factory, name="task")
    reference = make_doc(nlp)
    names = ("0", "1") if factory == "deberta_choice" else ("good", "bad")
    reference.cats = {names[0]: 1.0, names[1]: 0.0}
    nlp.initialize(lambda: [Example(nlp.make_doc(TEXT), reference)])
    return nlp


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_replaced_listener_predicts_the_same_and_is_saved(
    factory: str, source: Path, tmp_path: Path
) -> None:
    nlp = make_nlp(source, factory)
    before = found_by(nlp)

    nlp.replace_listeners("deberta", "task", ["model.tok2vec"])

    assert nlp.get_pipe("deberta").listening_components == []
    assert found_by(nlp) == before
    shared = sequence_encoder(nlp.get_pipe("task").model).shim
    nlp.remove_pipe("deberta")
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert found_by(again) == before
    assert sequence_encoder(again.get_pipe("task").model).shim is not shared
    architecture = again.config["components"]["task"]["model"]["tok2vec"]["@architectures"]
    assert architecture == "spacy-deberta.SequenceModel.v1"


def test_a_replaced_listener_keeps_the_precision(source: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    settings = {"source": str(source), "precision": "bf16", "batch_pieces": 64}
    nlp.add_pipe("deberta", config={"model": settings})
    nlp.add_pipe("deberta_fill_mask", name="task")
    nlp.initialize()
    nlp.replace_listeners("deberta", "task", ["model.tok2vec"])
    nlp.remove_pipe("deberta")
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    block = again.config["components"]["task"]["model"]["tok2vec"]
    assert block["precision"] == "bf16"
    assert block["batch_pieces"] == 64
    assert sequence_encoder(again.get_pipe("task").model).shim.compute.precision == "bf16"
