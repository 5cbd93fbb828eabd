"""Pieces, numbers and strings; equality with `transformers` is in tests/reference."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spacy_deberta import DebertaTokenizer, DebertaV2Tokenizer
from spacy_deberta.errors import TokenizerError

TEXT = "Marie crossed the river, again."


def test_every_piece_and_its_number_lead_to_each_other(tokenizer: DebertaTokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer)
    numbers = list(vocabulary.values())
    assert tokenizer.convert_ids_to_tokens(numbers) == list(vocabulary)
    assert tokenizer.convert_tokens_to_ids(vocabulary) == numbers


def test_the_vocabulary_that_is_given_away_is_a_copy(tokenizer: DebertaTokenizer) -> None:
    tokenizer.get_vocab().clear()
    assert tokenizer.get_vocab()


def test_numbers_that_only_pad_the_models_table_read_unk(tokenizer: DebertaTokenizer) -> None:
    above = len(tokenizer) + 5
    assert tokenizer.convert_ids_to_tokens(above) == "[UNK]"
    assert tokenizer.decode([above]) == "[UNK]"
    with pytest.raises(TokenizerError, match="-1"):
        tokenizer.convert_ids_to_tokens(-1)


def test_a_gap_before_the_mask_is_no_piece(v2: DebertaV2Tokenizer, tmp_path: Path) -> None:
    v2.save_vocabulary(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"[MASK]": 400}')
    tokenizer = DebertaV2Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.mask_token_id == tokenizer.get_vocab()["[MASK]"] == 400
    assert (tokenizer.vocab_size, len(tokenizer)) == (v2.vocab_size, len(v2))
    assert tokenizer.get_vocab()["[UNK]"] == 3


def test_added_pieces_are_counted_apart(tokenizer: DebertaTokenizer, tmp_path: Path) -> None:
    tokenizer.save_vocabulary(tmp_path)
    new = len(tokenizer)
    (tmp_path / "added_tokens.json").write_text(f'{{"[MASK]": {new - 1}, "<new>": {new}}}')
    grown = type(tokenizer).from_pretrained(tmp_path)
    assert (grown.vocab_size, len(grown)) == (tokenizer.vocab_size, new + 1)
    assert grown.get_added_vocab()["<new>"] == grown.convert_tokens_to_ids("<new>") == new
    assert "<new>" not in grown.all_special_tokens
    assert "<new>" in grown.tokenize("Marie<new>")


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_numbers_may_come_in_any_container(tokenizer: DebertaTokenizer, kind: type) -> None:
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    assert tokenizer.decode(kind(ids)) == TEXT
    assert tokenizer.batch_decode(kind([ids, ids])) == [TEXT, TEXT]
    assert tokenizer.convert_ids_to_tokens(kind(ids)) == tokenizer.tokenize(TEXT)


def test_a_single_number_is_decoded(tokenizer: DebertaTokenizer) -> None:
    assert tokenizer.decode(tokenizer.mask_token_id) == "[MASK]"


def test_pieces_join_to_the_text(tokenizer: DebertaTokenizer) -> None:
    assert tokenizer.convert_tokens_to_string(tokenizer.tokenize(TEXT)) == TEXT


def test_special_pieces_are_left_out_when_asked_for(tokenizer: DebertaTokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
    assert tokenizer.batch_decode([ids], True) == [TEXT]


def test_spaces_are_cleaned_up_when_asked_for(tokenizer: DebertaTokenizer) -> None:
    ids = tokenizer.encode("the river , again .", add_special_tokens=False)
    assert tokenizer.decode(ids) == "the river , again ."
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=True) == "the river, again."


def test_a_whole_row_has_no_second_text(tokenizer: DebertaTokenizer) -> None:
    with pytest.raises(TokenizerError, match="already_has_special_tokens=True: give one row"):
        tokenizer.get_special_tokens_mask([1, 2], [3], already_has_special_tokens=True)


def test_a_vocabulary_is_saved_alone(tokenizer: DebertaTokenizer, tmp_path: Path) -> None:
    paths = tokenizer.save_vocabulary(tmp_path / "new", filename_prefix="x")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert sorted(Path(path).name for path in paths) == names
    own = (
        ["spm.model"] if isinstance(tokenizer, DebertaV2Tokenizer) else ["merges.txt", "vocab.json"]
    )
    assert names == [f"x-{name}" for name in own]
