"""Pieces and texts equal those of `transformers` 4.57.6, as recorded by tokenizer_cases.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_deberta.tokenizers import Tokenizer, load_tokenizer
from tests.reference.tokenizer_cases import CASES, FOLDER, all_cases, write_vocabulary

RECORDED = json.loads((FOLDER / CASES).read_text(encoding="utf-8"))
TEXTS = RECORDED["texts"]
BY_NAME = {each["case"]["name"]: each for each in RECORDED["cases"]}


def tokenizer_of(recorded: dict[str, Any], folder: Path) -> Tokenizer:
    """The recorded vocabulary with the small files that the peer has saved beside it."""
    write_vocabulary(folder, recorded["case"]["model"])
    for name, content in recorded["files"].items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return load_tokenizer(folder)


@pytest.mark.parametrize("name", BY_NAME)
def test_pieces_equal_transformers(name: str, tmp_path: Path) -> None:
    recorded = BY_NAME[name]
    tokenizer = tokenizer_of(recorded, tmp_path)
    found = tokenizer.encode_batch(TEXTS, specials=recorded["case"]["specials"])
    for text, ids, pieces in zip(TEXTS, recorded["ids"], found, strict=True):
        assert pieces.ids.tolist() == ids, text


@pytest.mark.parametrize("name", BY_NAME)
def test_texts_of_pieces_equal_transformers(name: str, tmp_path: Path) -> None:
    recorded = BY_NAME[name]
    tokenizer = tokenizer_of(recorded, tmp_path)
    assert [tokenizer.decode(ids) for ids in recorded["ids"]] == recorded["decoded"]


@pytest.mark.parametrize("name", BY_NAME)
def test_saved_folder_makes_the_same_pieces(name: str, tmp_path: Path) -> None:
    """What `transformers` has saved, loaded and saved by us."""
    recorded = BY_NAME[name]
    tokenizer_of(recorded, tmp_path / "theirs").save(tmp_path / "ours")
    found = load_tokenizer(tmp_path / "ours").encode_batch(
        TEXTS, specials=recorded["case"]["specials"]
    )
    assert [pieces.ids.tolist() for pieces in found] == recorded["ids"]


def test_the_recordings_cover_every_case() -> None:
    assert list(BY_NAME) == [case.name for case in all_cases()]
    assert RECORDED["peer"] == "transformers 4.57.6"
