"""What calling a tokenizer returns can be read, moved, and asked where its positions come from."""

import copy
import pickle

import pytest
import torch

from spacy_deberta import DebertaTokenizer, DebertaV2Tokenizer
from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch import BatchEncoding

TEXT = "Marie crossed\tthe river"
PAIR = "the old village"


@pytest.fixture(params=["right", "left"])
def encoding(request: pytest.FixtureRequest, tokenizer: DebertaTokenizer) -> BatchEncoding:
    """Row 0 is the longer, row 1 has padding."""
    texts, pairs = [TEXT + " again and again", TEXT], [PAIR, PAIR]
    return tokenizer(
        texts, pairs, padding=True, padding_side=request.param, return_offsets_mapping=True
    )


def test_columns_are_read_by_name_and_as_attributes(encoding: BatchEncoding) -> None:
    assert encoding.input_ids is encoding["input_ids"]
    assert list(encoding) == ["input_ids", "token_type_ids", "attention_mask", "offset_mapping"]
    encoding["labels"] = [1, 0]
    assert encoding.pop("labels") == [1, 0]
    assert dict(**encoding).keys() == encoding.keys()


def test_an_unknown_column_is_an_attribute_error(encoding: BatchEncoding) -> None:
    with pytest.raises(AttributeError, match="no column 'labels'; there are input_ids, token_type"):
        encoding.labels  # noqa: B018 - the lookup is the test
    assert not hasattr(encoding, "_labels")


def test_an_encoding_is_copied_and_pickled_whole(encoding: BatchEncoding) -> None:
    for twin in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        assert twin == encoding
        assert twin.tokens(1) == encoding.tokens(1)


def test_every_position_has_a_piece(encoding: BatchEncoding, tokenizer: DebertaTokenizer) -> None:
    for row in (0, 1):
        tokens = encoding.tokens(row)
        assert tokenizer.convert_tokens_to_ids(tokens) == encoding.input_ids[row]
    assert "[PAD]" in encoding.tokens(1)


def test_positions_know_their_text(encoding: BatchEncoding) -> None:
    for row in (0, 1):
        sequences = encoding.sequence_ids(row)
        for position, sequence in enumerate(sequences):
            is_special = encoding.tokens(row)[position] in ("[CLS]", "[SEP]", "[PAD]")
            assert (sequence is None) == is_special
            if sequence is not None:
                assert encoding.token_type_ids[row][position] == sequence


def test_positions_and_characters_lead_to_each_other(encoding: BatchEncoding) -> None:
    spans = encoding.offset_mapping[1]
    for position, sequence in enumerate(encoding.sequence_ids(1)):
        span = encoding.token_to_chars(1, position)
        if sequence is None:
            assert span is None
            continue
        assert span == spans[position]
        found = encoding.char_to_token(1, span[0], sequence)
        assert found is not None
        assert spans[found][0] <= span[0] < spans[found][1]


def test_characters_that_no_piece_covers(encoding: BatchEncoding) -> None:
    assert encoding.char_to_token(1, TEXT.index("\t")) is None
    assert encoding.char_to_token(1, 1000) is None


def test_words_and_positions_lead_to_each_other(encoding: BatchEncoding) -> None:
    words = encoding.word_ids(1)
    for number, word in enumerate(TEXT.split()):
        found = encoding.word_to_tokens(1, number)
        assert found is not None
        first, last = found[0], found[1] - 1
        start, end = encoding.offset_mapping[1][first][0], encoding.offset_mapping[1][last][1]
        assert TEXT[start:end] == word
        assert set(words[first : last + 1]) == {number}
    assert encoding.word_to_tokens(1, 9) is None
    assert encoding.word_to_tokens(1, 0, 1) != encoding.word_to_tokens(1, 0, 0)


def test_one_number_is_of_the_first_row(tokenizer: DebertaTokenizer) -> None:
    encoding = tokenizer(TEXT)
    assert encoding.char_to_token(0) == encoding.char_to_token(0, 0) == 1
    assert encoding.token_to_chars(1) == encoding.token_to_chars(0, 1)
    assert encoding.word_to_tokens(0) == encoding.word_to_tokens(0, 0)


def test_words_that_were_given_are_counted(v2: DebertaV2Tokenizer) -> None:
    encoding = v2([["Marie", "", "don't"], ["a"]], is_split_into_words=True)
    words = [word for word in encoding.word_ids(0) if word is not None]
    assert words == sorted(words)
    assert set(words) == {0, 2}


def test_windows_keep_the_numbers_of_their_text(tokenizer: DebertaTokenizer) -> None:
    encoding = tokenizer(
        TEXT, truncation=True, max_length=8, stride=2, return_overflowing_tokens=True
    )
    whole = tokenizer(TEXT).word_ids()[1:-1]
    first, second = (encoding.word_ids(row)[1:-1] for row in (0, 1))
    assert first + second[2:] == whole[: len(first) + len(second) - 2]


def test_tensors_move_and_other_columns_stay(tokenizer: DebertaTokenizer) -> None:
    encoding = tokenizer([TEXT], return_tensors="pt")
    encoding["name"] = "x"
    assert encoding.to("meta") is encoding
    assert encoding.input_ids.device == torch.device("meta")
    assert encoding.name == "x"


def test_rows_that_are_not_there_are_refused(encoding: BatchEncoding) -> None:
    with pytest.raises(
        TokenizerError, match=r"row 2: this encoding has 2 row\(s\) made from texts"
    ):
        encoding.tokens(2)
    with pytest.raises(TokenizerError, match="row 0: this encoding has 0"):
        BatchEncoding({"input_ids": [1]}).word_ids()
