"""A WordPiece vocabulary as a SentencePiece model: the same pieces wherever they were kept."""

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.training.wordpiece import N_OWN_PIECES, unigram_from_wordpiece

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
WORDS = ["the", "garden", "station", "cafe", "##s", "##ing", "walk", "obama", "naive"]
PIECES = [*CHARACTERS, *("##" + c for c in CHARACTERS if c.isalnum()), *WORDS]
TEXTS = ["The garden's station, walking (Obama) to the CAFE; gardens!", "naive the the zebra"] * 5


@pytest.fixture(scope="module")
def bert() -> Tokenizer:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
    vocabulary = {piece: number for number, piece in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


@pytest.fixture(scope="module")
def converted(bert: Tokenizer) -> UnigramTokenizer:
    return unigram_from_wordpiece(bert, TEXTS, N_OWN_PIECES + len(CHARACTERS) + 36 + 8)


def in_wordpiece_spelling(tokenizer: UnigramTokenizer, text: str) -> list[str]:
    pieces = [tokenizer.piece(number) for number in tokenizer.encode(text).ids]
    return [p[1:] if p.startswith("\u2581") else "##" + p for p in pieces]


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "Café naïve OBAMA-s",
        "walk\u00a0the\u200b the\tgarden_station",
        "don't (the) #garden @obama http://t.co/x9",
        "",
    ],
)
def test_pieces_are_the_old_ones(bert: Tokenizer, converted: UnigramTokenizer, text: str) -> None:
    wanted = bert.encode(text, add_special_tokens=False).tokens
    assert in_wordpiece_spelling(converted, text) == wanted


def test_spans_point_into_the_text_as_it_was_typed(converted: UnigramTokenizer) -> None:
    text = "OBAMA's  Café"
    found = converted.encode(text)
    spans = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
    assert [text[a:b] for a, b in spans] == ["OBAMA", "'", "s", "Café"]


def test_unknown_characters_are_written_in_bytes(converted: UnigramTokenizer) -> None:
    found = [converted.piece(number) for number in converted.encode("the ☃").ids]
    assert found == ["\u2581the", "\u2581", "<0xE2>", "<0x98>", "<0x83>"]


def test_rare_pieces_are_left_out_first(bert: Tokenizer) -> None:
    smaller = unigram_from_wordpiece(bert, TEXTS, N_OWN_PIECES + len(CHARACTERS) + 36 + 1)
    kept = {smaller.piece(number) for number in range(smaller.n_pieces)}
    assert "\u2581the" in kept
    assert "\u2581cafe" not in kept
    assert re.sub("\u2581", " ", smaller.decode(smaller.encode("cafe").ids)).strip() == "cafe"


def test_too_many_pieces_are_refused_with_the_range(bert: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"500 pieces were asked for; .* support \d+ to \d+"):
        unigram_from_wordpiece(bert, TEXTS, 500)


def test_the_result_can_be_saved(converted: UnigramTokenizer, tmp_path: Path) -> None:
    converted.save(tmp_path)
    assert '"split_by_punct": true' in (tmp_path / "tokenizer_config.json").read_text()
