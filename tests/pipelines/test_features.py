"""Feature extraction: rows of the test matrix, windows, pooling, numbers of transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc

from pipelines.features import FeatureExtractionPipeline
from spacy_deberta.errors import InputError, OptionError
from tests.pipelines.models import build_model, tokenizer_of

RECORDED = json.loads(
    (Path(__file__).parent / "transformers-4.57.6" / "feature-extraction.json").read_text()
)
TEXTS = ["A text of some words.", "Short", "", "Zürich 😀 \ufb01ne"]
LONG = "Many words are in this text. " * 12


def make(family: str, **settings: Any) -> FeatureExtractionPipeline:
    model = build_model("feature-extraction", family)  # type: ignore[arg-type]
    tokenizer = tokenizer_of(family)  # type: ignore[arg-type]
    return FeatureExtractionPipeline(model, tokenizer=tokenizer, **settings)


@pytest.fixture(scope="module", params=["v3", "v1"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def embed(family: str) -> FeatureExtractionPipeline:
    return make(family)


@pytest.fixture(scope="module")
def compat(family: str) -> FeatureExtractionPipeline:
    return make(family, hf_compat=True)


def test_row_78_compat_has_the_numbers_and_the_nesting_of_transformers(
    family: str, compat: FeatureExtractionPipeline
) -> None:
    """row 78: (1, rows, width) for each text, a list of one stays a list, "" has two rows."""
    recorded = RECORDED[family]
    np.testing.assert_allclose(compat(TEXTS[0]), recorded["one"], atol=1e-4)
    found = compat(TEXTS)
    assert len(found) == len(TEXTS)
    for ours, theirs in zip(found, recorded["list"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(compat([TEXTS[1]]), recorded["list of one"], atol=1e-4)
    assert np.shape(found[2]) == (1, 2, 32)
    json.dumps(found)


def test_row_78_compat_runs_long_texts_whole_and_cuts_when_asked(
    family: str, compat: FeatureExtractionPipeline
) -> None:
    """row 78: no truncation by default; truncation and tokenize_kwargs."""
    recorded = RECORDED[family]
    (whole,) = compat(LONG)
    assert len(whole) == recorded["long length"]
    np.testing.assert_allclose(np.sum(whole, axis=0), recorded["long"], atol=2e-3)
    cut = compat(LONG, tokenize_kwargs={"truncation": True, "max_length": 12})
    np.testing.assert_allclose(cut, recorded["cut"], atol=1e-4)
    n_rows = len(compat(LONG, truncation=True)[0])
    assert n_rows == recorded["cut to the tokenizer's length"]
    tensor = compat(TEXTS[0], return_tensors=True)
    assert isinstance(tensor, torch.Tensor)
    assert list(tensor.shape) == recorded["tensor shape"]
    with pytest.raises(OptionError, match="truncation is given twice"):
        compat(LONG, truncation=True, tokenize_kwargs={"truncation": True})


def test_row_78_there_are_no_rows_of_padding(family: str, embed: FeatureExtractionPipeline) -> None:
    """row 78: exact rows in any batch; of "" the pooled row is that of [CLS]."""
    for batch_size in (1, 2, 4):
        found = embed(TEXTS, batch_size=batch_size)
        for record, expected in zip(found, RECORDED[family]["list"], strict=True):
            np.testing.assert_allclose(record.vectors[None], expected, atol=1e-4)
            assert record.mask[0] is record.mask[-1] is False
            assert all(record.mask[1:-1])
    empty = embed("", pooling="mean")
    np.testing.assert_array_equal(empty.vectors, embed("", pooling="cls").vectors)
    np.testing.assert_array_equal(empty.vectors, embed("").vectors[:1])


def test_offsets_are_those_of_the_given_text(embed: FeatureExtractionPipeline) -> None:
    record = embed(TEXTS[3])
    assert record.offsets[0] == record.offsets[-1] == (0, 0)
    assert {TEXTS[3][start:end] for start, end in record.offsets[1:-1]} >= {"\ufb01"}
    words = embed("Hi (Angela), don't.", per="word")
    assert ["Hi (Angela), don't."[s:e] for s, e in words.offsets] == [
        "Hi", "(", "Angela", ")", ",", "don't", ".",
    ]  # fmt: skip
    assert words.vectors.shape == (7, 32)
    assert all(words.mask)


def test_a_words_row_is_the_mean_of_its_pieces(embed: FeatureExtractionPipeline) -> None:
    text = "Extraordinarily short"
    pieces, words = embed(text), embed(text, per="word")
    for row, (start, end) in zip(words.vectors, words.offsets, strict=True):
        inside = [a < end and b > start and b > a for a, b in pieces.offsets]
        np.testing.assert_allclose(row, pieces.vectors[inside].mean(0), atol=1e-6)
    assert embed("   ", per="word").vectors.shape == (0, 32)


def test_poolings_leave_special_pieces_out(embed: FeatureExtractionPipeline) -> None:
    pieces = embed(TEXTS[0]).vectors
    for pooling, expected in {
        "mean": pieces[1:-1].mean(0),
        "max": pieces[1:-1].max(0),
        "cls": pieces[0],
    }.items():
        record = embed(TEXTS[0], pooling=pooling)
        np.testing.assert_allclose(record.vectors, expected[None], atol=1e-6)
        assert record.offsets == ((0, len(TEXTS[0])),)
    np.testing.assert_array_equal(
        embed(TEXTS[0], per="text").vectors, embed(TEXTS[0], pooling="mean").vectors
    )


def test_layers_stand_side_by_side(embed: FeatureExtractionPipeline) -> None:
    both = embed(TEXTS[0], layers=(-1, 0)).vectors
    np.testing.assert_allclose(both[:, :32], embed(TEXTS[0]).vectors, atol=1e-6)
    np.testing.assert_array_equal(both[:, 32:], embed(TEXTS[0], layers=0).vectors)
    np.testing.assert_allclose(
        embed(TEXTS[0], layers=[2]).vectors, embed(TEXTS[0]).vectors, atol=1e-6
    )


def test_normalized_rows_have_length_one(embed: FeatureExtractionPipeline) -> None:
    for options in ({}, {"per": "word"}, {"pooling": "mean"}):
        vectors = embed(TEXTS[0], normalize=True, **options).vectors
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert vectors.dtype == np.float32


def test_long_texts_are_read_in_windows_and_lose_nothing(embed: FeatureExtractionPipeline) -> None:
    record = embed(LONG)
    n_pieces = len(embed.tokenizer.core.encode(LONG))
    assert record.n_windows > 2
    assert not record.truncated
    assert len(record.vectors) == n_pieces + 2
    assert record.offsets[-2][1] >= len(LONG.rstrip())  # a last piece may be the space itself
    cut = embed(LONG, truncation=True)
    assert cut.truncated
    assert len(cut.vectors) == 64
    assert len(embed(LONG, per="word").vectors) == 12 * 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "pooling='median', expected one of None, 'cls', 'mean', 'max'"),
        ({"per": "sentence"}, "per='sentence', expected one of None, 'piece'"),
        ({"per": "word", "pooling": "cls"}, "pooling='cls' gives one row per text, per='word'"),
        ({"layers": ()}, r"layers=\(\), expected numbers"),
        ({"layers": (9,)}, r"layers=\(9,\): 9 is none of 0 to 2"),
        ({"layer": -1}, "unknown option 'layer'.*Did you mean 'layers'"),
        ({"tokenize_kwargs": {"stride": 1}}, "tokenize_kwargs={'stride': 1}, expected a dict of"),
        ({"tokenize_kwargs": 3}, "tokenize_kwargs=3, expected a dict of truncation, max_length"),
        ({"layers": None}, "layers=None, expected numbers of layers"),
        ({"batch_size": 0}, "batch_size=0, expected a whole number"),  # row 62
    ],
)
def test_row_62_options_that_cannot_work_are_named(
    embed: FeatureExtractionPipeline, options: dict[str, Any], message: str
) -> None:
    """row 62: batch_size=0, and the options of this task."""
    with pytest.raises(OptionError, match=message):
        embed("text", **options)


def test_row_59_iterators_and_arrays_are_batches_and_sets_are_not(
    embed: FeatureExtractionPipeline,
) -> None:
    """row 59: iterator, array, set."""
    expected = embed("Short").vectors
    for given in (iter(["Short"]), map(str, ["Short"]), np.array(["Short"])):
        (found,) = list(embed(given))
        np.testing.assert_array_equal(found.vectors, expected)
    with pytest.raises(InputError, match=r"A set has no order"):
        embed({"Short"})
    with pytest.raises(InputError, match="A list is a batch"):
        embed([["a", "b"]])


def test_docs_get_a_row_per_token_or_a_vector(embed: FeatureExtractionPipeline) -> None:
    nlp = spacy.blank("en")
    texts = ["A text\n of words, don't.", "", "Short"]
    docs = list(embed.annotate(nlp.pipe(texts)))
    assert [doc.tensor.shape for doc in docs] == [(len(doc), 32) for doc in docs]
    (space,) = [token.i for token in docs[0] if token.is_space]
    assert not docs[0].tensor[space].any()
    row = embed("Short", per="word").vectors
    np.testing.assert_allclose(docs[2].tensor, row, atol=1e-6)
    (pooled,) = embed.annotate([nlp("Short")], pooling="mean")
    np.testing.assert_allclose(
        pooled._.features, embed("Short", pooling="mean").vectors[0], atol=1e-6
    )
    assert Doc(nlp.vocab).from_bytes(pooled.to_bytes())._.features.shape == (32,)
    with pytest.raises(OptionError, match="no place for rows of pieces"):
        embed.annotate([nlp("Short")], per="piece")


def test_records_pass_through_json(embed: FeatureExtractionPipeline) -> None:
    content = json.loads(json.dumps(embed("Short").to_dict()))
    assert np.shape(content["vectors"]) == (len(content["offsets"]), 32)


def test_a_saved_pipeline_gives_equal_rows(
    embed: FeatureExtractionPipeline, tmp_path: Path
) -> None:
    embed.save_pretrained(tmp_path)
    found = FeatureExtractionPipeline(tmp_path)("Short").vectors
    np.testing.assert_array_equal(found, embed("Short").vectors)
