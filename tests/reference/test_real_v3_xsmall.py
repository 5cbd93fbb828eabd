"""A real, fine-tuned DeBERTa-v3-xsmall: pieces, hidden states and token rows.

The weights are not ours to ship. CONTRIBUTING.md says which two variables these tests need.

Its states reach 13, and in single precision that leaves an error of about 1e-5: `transformers` is
1.2e-5 from its own result in double precision, and 1.9e-5 from itself with other texts in the
batch. So results in double precision are compared as they are, those in single precision by their
scale.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import spacy
import torch
from safetensors.torch import load_file
from spacy.tokens import Doc
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spacy_deberta.checkpoints import load_encoder
from spacy_deberta.encoder import PATHS, DebertaEncoder
from spacy_deberta.modeling import DebertaV2ForSequenceClassification
from spacy_deberta.tokenizers import Pieces, UnigramTokenizer, load_tokenizer
from tests.benchmarks.peers import TRANSFORMERS, peer_python

RECORDER = Path(__file__).with_name("record_hidden_states.py")
DOUBLE_TOLERANCE = 1e-6  # found 1.8e-7; `transformers` keeps the scale of scores in single
SINGLE_TOLERANCE = 1e-5  # of the largest state of the text

pytestmark = [pytest.mark.reference, pytest.mark.slow]


@dataclass(frozen=True, eq=False)
class Reference:
    """One text: the ids and logits stored with the checkpoint, and what `transformers` computes."""

    text: str
    ids: list[int]
    stored_logits: list[float]
    single: Tensor  # (pieces, width), [CLS] and [SEP] included, computed in single precision
    double: Tensor  # the same, in double precision
    logits: Tensor
    double_logits: Tensor


@pytest.fixture(scope="module")
def tokenizer(source: Path) -> UnigramTokenizer:
    return load_tokenizer(source)


@pytest.fixture(scope="module")
def references(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    """What `transformers` computes, in a process and an environment of its own."""
    stored = json.loads((source / "reference.json").read_text("utf-8"))
    folder = tmp_path_factory.mktemp("recorded")
    ids, target = folder / "ids.json", folder / "recorded.safetensors"
    ids.write_text(json.dumps([entry["ids"] for entry in stored]), "utf-8")
    command = [str(peer_python(TRANSFORMERS)), str(RECORDER), str(source), str(ids), str(target)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    recorded = load_file(target)
    return [
        Reference(
            text=entry["text"],
            ids=entry["ids"],
            stored_logits=entry["logits"],
            single=recorded[f"{number}.single"],
            double=recorded[f"{number}.double"],
            logits=recorded[f"{number}.logits"],
            double_logits=recorded[f"{number}.double_logits"],
        )
        for number, entry in enumerate(stored)
    ]


def test_the_recorder_runs_the_checkpoint_as_it_was_released(references: list[Reference]) -> None:
    """Its logits are those of the release, up to the half precision that the release computes in.

    Without this, weights that are loaded wrongly by everyone would compare as equal.
    """
    for reference in references:
        stored = torch.tensor(reference.stored_logits)
        torch.testing.assert_close(reference.logits, stored, atol=5e-3, rtol=0)


def test_pieces_equal_those_stored_with_the_checkpoint(
    references: list[Reference], tokenizer: UnigramTokenizer
) -> None:
    for reference in references:
        ids = tokenizer.encode(reference.text).ids.tolist()
        assert [tokenizer.cls_id, *ids, tokenizer.sep_id] == reference.ids, reference.text


@pytest.mark.parametrize("path", sorted(PATHS))
def test_hidden_states_equal_transformers(
    references: list[Reference], source: Path, path: str
) -> None:
    """All texts in one packed batch; there each of them alone."""
    encoder = load_encoder(source, attention=path)
    for found, reference in zip(encode_packed(encoder, references), references, strict=True):
        assert_equal_by_scale(found, reference.single)
    encoder.double()
    for found, reference in zip(encode_packed(encoder, references), references, strict=True):
        torch.testing.assert_close(found, reference.double, atol=DOUBLE_TOLERANCE, rtol=0)


def test_logits_equal_transformers(references: list[Reference], source: Path) -> None:
    """All texts in one padded batch; there each of them alone. And the release's own logits."""
    model = DebertaV2ForSequenceClassification.from_pretrained(source)
    assert model.config.id2label == {0: "benign", 1: "attack"}
    batch = [torch.tensor(reference.ids) for reference in references]
    ids = pad_sequence(batch, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in batch], batch_first=True)
    with torch.inference_mode():
        single = model(input_ids=ids, attention_mask=mask).logits
        double = model.double()(input_ids=ids, attention_mask=mask).logits
    for number, reference in enumerate(references):
        assert_equal_by_scale(single[number], reference.logits)
        expected = reference.double_logits
        torch.testing.assert_close(double[number], expected, atol=DOUBLE_TOLERANCE, rtol=0)
        stored = torch.tensor(reference.stored_logits)
        torch.testing.assert_close(single[number], stored, atol=5e-3, rtol=0)


def test_token_rows_are_means_of_the_piece_rows_of_transformers(
    references: list[Reference], source: Path, tokenizer: UnigramTokenizer
) -> None:
    """Through the component, every text in one window."""
    nlp = spacy.blank("en")
    model = {"source": str(source), "window": 512, "stride": 384}
    nlp.add_pipe("deberta", config={"model": model})
    docs = list(nlp.pipe(reference.text for reference in references))
    for doc, reference in zip(docs, references, strict=True):
        pieces = tokenizer.encode(doc.text)
        expected = pool_by_characters(doc, pieces, reference.single[1:-1])
        assert_equal_by_scale(torch.from_numpy(doc.tensor), expected)
        assert doc._.deberta.ids.tolist() == reference.ids[1:-1]
        assert doc._.deberta.coverage == 1.0


def pool_by_characters(doc: Doc, pieces: Pieces, rows: Tensor) -> Tensor:
    """Mean of the rows of the pieces that share a character with the token, written as a loop."""
    spans = list(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))
    pooled = torch.zeros(len(doc), rows.shape[1])
    for token in doc:
        start, end = token.idx, token.idx + len(token)
        overlapping = [n for n, (left, right) in enumerate(spans) if left < end and right > start]
        if overlapping and not token.is_space:
            pooled[token.i] = rows[overlapping].mean(0)
    return pooled


def encode_packed(encoder: DebertaEncoder, references: list[Reference]) -> list[Tensor]:
    """Hidden states of each text, from one batch."""
    pieces = torch.tensor([piece for reference in references for piece in reference.ids])
    lengths = [len(reference.ids) for reference in references]
    with torch.inference_mode():
        return list(encoder(pieces, lengths).last_hidden_state.split(lengths))


def assert_equal_by_scale(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, atol=SINGLE_TOLERANCE * scale, rtol=0)
