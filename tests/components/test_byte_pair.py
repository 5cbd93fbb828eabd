"""The component over a checkpoint of the first version, whose pieces are bytes."""

from pathlib import Path

import numpy as np
import pytest
import spacy
import torch

from spacy_deberta.checkpoints import save_encoder
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import BytePairTokenizer
from tests.tiny import NER_MODEL, TEXTS, ner_examples, tiny_nlp, tiny_v1_config

MIXED = [*TEXTS, "", " ", "\n\n", "a \n", "Zoë ☃ 日本語\t👩", "river" * 300, " trailing  "]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_v1_tokenizer: BytePairTokenizer) -> Path:
    folder = tmp_path_factory.mktemp("tiny-v1")
    torch.manual_seed(0)
    save_encoder(DebertaEncoder(tiny_v1_config()), folder)
    tiny_v1_tokenizer.save(folder)
    return folder


def test_every_word_has_a_row_and_whitespace_has_none(source: Path) -> None:
    nlp = tiny_nlp(source)
    for doc in nlp.pipe(MIXED):
        assert np.isfinite(doc.tensor).all()
        has_row = [bool(row.any()) for row in doc.tensor]
        assert has_row == [not token.is_space for token in doc]


def test_training_runs_through_the_encoder(source: Path) -> None:
    nlp = tiny_nlp(source)
    nlp.add_pipe("ner", config={"model": NER_MODEL})
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    before = nlp("Marie Curie").tensor.copy()
    nlp.update(examples, sgd=build_adamw(0.01))
    assert not np.array_equal(nlp("Marie Curie").tensor, before)


@pytest.mark.parametrize("way", ["disk", "bytes"])
def test_a_saved_pipeline_has_its_class_of_tokenizer(
    source: Path, tmp_path: Path, way: str
) -> None:
    nlp = tiny_nlp(source)
    if way == "disk":
        nlp.to_disk(tmp_path)
        loaded = spacy.load(tmp_path)
    else:
        loaded = tiny_nlp(source).from_bytes(nlp.to_bytes())
    assert isinstance(shim_of(loaded.get_pipe("deberta").model).tokenizer, BytePairTokenizer)
    for text in MIXED:
        np.testing.assert_array_equal(loaded(text).tensor, nlp(text).tensor)
