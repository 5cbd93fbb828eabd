"""The public tokenizers load, save and obey their settings; tests/reference has their answers."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import spacy_deberta
from spacy_deberta import DebertaTokenizer, DebertaV2ForMaskedLM, DebertaV2Tokenizer
from spacy_deberta.errors import CheckpointError, TokenizerError
from spacy_deberta.modeling.tokenization import UNLIMITED
from spacy_deberta.tokenizers import TruncationWarning
from tests.reference.tokenizer_api_cases import FOLDER

CLASSES = {"v1": DebertaTokenizer, "v2": DebertaV2Tokenizer}
FAMILY = pytest.mark.parametrize("family", CLASSES)
TEXT = "Marie crossed the river, again and again."


def load(family: str, **settings: Any) -> DebertaTokenizer:
    return CLASSES[family].from_pretrained(FOLDER / family, **settings)


def test_the_fast_names_are_the_same_classes() -> None:
    assert spacy_deberta.DebertaTokenizerFast is DebertaTokenizer
    assert spacy_deberta.DebertaV2TokenizerFast is DebertaV2Tokenizer


def test_the_embedded_tokenizer_needs_no_path() -> None:
    tokenizer = DebertaV2Tokenizer.from_pretrained(None)
    assert tokenizer.decode(tokenizer.encode(TEXT), skip_special_tokens=True).startswith("marie")


def test_a_model_takes_what_the_tokenizer_returns(tiny_source: Path) -> None:
    tokenizer = DebertaV2Tokenizer.from_pretrained(tiny_source)
    model = DebertaV2ForMaskedLM.from_pretrained(tiny_source, allow_missing_head=True)
    rows = tokenizer([TEXT, "the [MASK] river"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**rows).logits
    assert logits.shape[:2] == rows.input_ids.shape


@FAMILY
def test_saved_and_loaded_is_the_same(family: str, tmp_path: Path) -> None:
    settings = {"model_max_length": 64, "padding_side": "left", "truncation_side": "left"}
    tokenizer = load(family, **settings, split_special_tokens=True)
    paths = tokenizer.save_pretrained(tmp_path)
    assert sorted(paths) == sorted(str(path) for path in tmp_path.iterdir())
    loaded = CLASSES[family].from_pretrained(tmp_path)
    for key in (*settings, "split_special_tokens"):
        assert getattr(loaded, key) == getattr(tokenizer, key)
    texts = [TEXT, "the [MASK]"]
    assert loaded(texts, padding=True) == tokenizer(texts, padding=True)


@FAMILY
def test_a_saved_folder_names_the_class_that_others_look_for(family: str, tmp_path: Path) -> None:
    load(family).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert settings["tokenizer_class"] == CLASSES[family].__name__
    assert settings["model_max_length"] == UNLIMITED


@FAMILY
def test_a_tokenizer_is_pickled_whole(family: str) -> None:
    tokenizer = load(family, padding_side="left")
    copied = pickle.loads(pickle.dumps(tokenizer))
    assert copied([TEXT, "the"], padding=True) == tokenizer([TEXT, "the"], padding=True)


@pytest.mark.parametrize(("family", "other"), [("v1", "v2"), ("v2", "v1")])
def test_the_vocabulary_of_the_other_family_is_refused(family: str, other: str) -> None:
    with pytest.raises(TokenizerError, match=f"{CLASSES[family].__name__}: found a .* expected a "):
        CLASSES[family].from_pretrained(FOLDER / other)


def test_settings_of_the_vocabulary_can_be_given() -> None:
    assert load("v1", add_prefix_space=True).tokenize("the") == load("v1").tokenize(" the")
    assert load("v2", do_lower_case=True).tokenize("THE") == load("v2").tokenize("the")
    assert load("v2", split_by_punct=True).tokenize("a,") == load("v2").tokenize("a ,")


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (
            "v1",
            {"do_lower_case": True},
            "do_lower_case: no setting of DebertaTokenizer; it has mod",
        ),
        ("v2", {"use_fast": 1, "a": 2}, "a, use_fast: no setting of DebertaV2Tokenizer"),
        ("v2", {"padding_side": "top"}, "padding_side='top', expected one of 'right', 'left'"),
        ("v2", {"truncation_side": "top"}, "truncation_side='top', expected one of"),
        ("v2", {"model_max_length": 0}, "model_max_length=0, expected 1 or more"),
        ("v2", {"model_max_length": "x"}, "model_max_length='x', expected 1 or more"),
        ("v2", {"do_lower_case": "x"}, "do_lower_case='x', expected true or false"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    family: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TokenizerError, match=message):
        load(family, **settings)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing is there"):
        DebertaV2Tokenizer.from_pretrained(tmp_path / "gone")


@FAMILY
def test_a_batch_equals_its_texts_one_by_one(family: str) -> None:
    tokenizer, texts = load(family), [TEXT, "", "the [MASK]", "½ \u2603\n"]
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    batch = tokenizer(texts, texts[::-1], **options)
    for row, (text, pair) in enumerate(zip(texts, texts[::-1], strict=True)):
        alone = tokenizer(text, pair, **options)
        assert {name: values[row] for name, values in batch.items()} == dict(alone)


@FAMILY
def test_tensors_have_a_batch_of_one_text(family: str) -> None:
    rows = load(family)(TEXT, return_tensors="pt")
    assert rows.input_ids.ndim == 2
    assert rows.input_ids[0].tolist() == load(family)(TEXT).input_ids
    assert load(family).encode(TEXT, return_tensors="np").tolist() == rows.input_ids.tolist()


@FAMILY
def test_an_empty_batch_has_empty_columns(family: str) -> None:
    columns = load(family)([], padding=True, return_offsets_mapping=True)
    assert all(values == [] for values in columns.values())


@FAMILY
def test_typed_special_pieces_are_special_unless_split(family: str) -> None:
    typed = "the [MASK] river"
    assert load(family).mask_token_id in load(family).encode(typed)
    split = load(family, split_special_tokens=True)
    assert split.mask_token_id not in split.encode(typed)
    assert "[MASK]" not in split.tokenize(typed)


@FAMILY
def test_a_text_beyond_the_model_is_kept_with_a_warning(family: str) -> None:
    tokenizer = load(family, model_max_length=6)
    with pytest.warns(TruncationWarning, match=r"1 of 2 text\(s\) are longer than model_max_leng"):
        rows = tokenizer([TEXT, "a"])
    assert rows.input_ids[0] == load(family)(TEXT).input_ids


@FAMILY
def test_the_warning_points_to_the_caller(family: str) -> None:
    with pytest.warns(TruncationWarning) as caught:
        load(family)(TEXT, max_length=5)
    assert caught[0].filename == __file__


@FAMILY
def test_bad_arguments_are_refused_before_any_work(family: str) -> None:
    with pytest.raises(TokenizerError, match="return_tensors='tf', expected one of"):
        load(family)(TEXT, return_tensors="tf")
    with pytest.raises(TokenizerError, match="stride=-1, expected a whole number of 0 or more"):
        load(family)(TEXT, truncation=True, max_length=8, stride=-1)
    with pytest.raises(TokenizerError, match="rows of shapes"):
        load(family)([TEXT, "a"], return_tensors="pt")


@FAMILY
def test_rows_of_features_are_padded_with_their_labels(family: str) -> None:
    tokenizer = load(family)
    features = [{**tokenizer(text), "label": number} for number, text in enumerate([TEXT, "a"])]
    rows = tokenizer.pad(features, return_tensors="pt")
    whole = tokenizer([TEXT, "a"], padding=True, return_tensors="pt")
    assert rows.label.tolist() == [0, 1]
    assert all(torch.equal(rows[name], whole[name]) for name in whole)
