# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""Byte-level pieces cover every byte, and every span counts characters of the caller's string."""

import copy
import json
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import (
    AddedPiece,
    BytePairTokenizer,
    Pieces,
    SurrogateWarning,
    load_tokenizer,
)
from spacy_deberta.tokenizers.bpe import parse_merges
from spacy_deberta.tokenizers.byte_level import BYTE_OF
from tests.conftest import SHARED_DATA

AWKWARD = [
    "", " ", "\n\t ", "\x00", "a", " a", "a ", "  a  b  ", "ﬁne ½ Ａ１", "☃", "a ☃ b", "日本語",
    "\u202eabc", "zero\u200bwidth", "e\u0301 é", "a" + "\u0301" * 50, "👩\u200d👧 z", "don't",
    "line\nbreak\r\nagain", "\u3000x\u00a0y", "x[MASK] [CLS]", "1903 ²",
    "a \U0010ffff", " \u00a0 ☃ ", "\u2028",
]  # fmt: skip
TEXTS = st.text(
    st.one_of(
        st.sampled_from("abcdeourst.,'-  \n\t"),
        st.sampled_from("ﬁ½Ａ☃日é\u0301\u00ad\u200b\x00\x1c\u3000\xa0각👩"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def piece_bytes(piece: str) -> bytes:
    return bytes(BYTE_OF[char] for char in piece)


def spans_of(pieces: Pieces) -> list[tuple[int, int]]:
    return list(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))


def spans_by_loop(tokenizer: BytePairTokenizer, text: str, ids: list[int]) -> list[tuple[int, int]]:
    """The rules of the package's docstring, byte by byte; shares no code with it."""
    owners = [place for place, char in enumerate(text) for _ in char.encode()]
    spans: list[tuple[int, int] | None] = []
    at = 0
    for number in ids:
        size = len(piece_bytes(tokenizer.piece(number)))
        inside = [place for place in owners[at : at + size] if not text[place].isspace()]
        spans.append((inside[0], inside[-1] + 1) if inside else None)
        at += size
    following = None
    for place in reversed(range(len(spans))):
        following = spans[place] = spans[place] or following
    return [span for span in spans if span is not None]


def check_pieces(tokenizer: BytePairTokenizer, text: str) -> None:
    pieces = tokenizer.encode(text)
    ids = pieces.ids.tolist()
    assert b"".join(piece_bytes(tokenizer.piece(n)) for n in ids) == text.encode()
    assert tokenizer.decode(ids) == text
    assert {a.dtype for a in (pieces.ids, pieces.starts, pieces.ends)} == {np.dtype(np.int32)}
    filled = [(start, end) for start, end in spans_of(pieces) if start < end]
    assert filled == spans_by_loop(tokenizer, text, ids)
    assert filled == sorted(filled)
    assert all(0 <= start <= end <= len(text) for start, end in spans_of(pieces))
    covered = {i for start, end in filled for i in range(start, end)}
    assert covered >= {i for i, char in enumerate(text) if not char.isspace()}


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_text_has_the_spans_of_the_loop(
    tiny_v1_tokenizer: BytePairTokenizer, text: str
) -> None:
    check_pieces(tiny_v1_tokenizer, text)


@settings(max_examples=60)
@given(text=TEXTS)
def test_any_text_has_the_spans_of_the_loop(
    tiny_v1_tokenizer: BytePairTokenizer, text: str
) -> None:
    check_pieces(tiny_v1_tokenizer, text)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(text=TEXTS)
def test_many_texts_have_the_spans_of_the_loop(
    tiny_v1_tokenizer: BytePairTokenizer, text: str
) -> None:
    check_pieces(tiny_v1_tokenizer, text)


@settings(max_examples=30)
@given(texts=st.lists(TEXTS, max_size=6))
def test_batch_mates_change_nothing(tiny_v1_tokenizer: BytePairTokenizer, texts: list[str]) -> None:
    batch = tiny_v1_tokenizer.encode_batch(texts)
    for text, pieces in zip(texts, batch, strict=True):
        alone = tiny_v1_tokenizer.encode(text)
        assert pieces.ids.tolist() == alone.ids.tolist()
        assert spans_of(pieces) == spans_of(alone)


def named_spans(tokenizer: BytePairTokenizer, text: str, **options: Any) -> list[tuple[str, str]]:
    pieces = tokenizer.encode(text, **options)
    return [
        (tokenizer.piece(id), text[start:end])
        for id, (start, end) in zip(pieces.ids.tolist(), spans_of(pieces), strict=True)
    ]


def test_bytes_of_a_character_and_the_spaces_before_it_share_its_span(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    assert named_spans(tiny_v1_tokenizer, " the  ☃") == [
        ("Ġthe", "the"),
        ("Ġ", "☃"),
        ("Ġ", "☃"),
        ("â", "☃"),
        ("ĺ", "☃"),
        ("ĥ", "☃"),
    ]


def test_piece_with_bytes_of_two_characters_has_both() -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *BYTE_OF, "©Ã", "[MASK]"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = BytePairTokenizer(vocab, [("©", "Ã")])
    assert named_spans(tokenizer, "éé") == [("Ã", "é"), ("©Ã", "éé"), ("©", "é")]


def test_whitespace_at_the_end_does_not_reach_into_the_next_text(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    for pieces in tiny_v1_tokenizer.encode_batch(["a ", "  b"]):
        assert max(pieces.ends) <= 3
    assert spans_of(tiny_v1_tokenizer.encode_batch(["a ", "  b"])[0]) == [(0, 1), (2, 2)]


def test_prefix_space_is_outside_every_span(tiny_v1_tokenizer: BytePairTokenizer) -> None:
    files = tiny_v1_tokenizer.vocabulary_files()
    spaced = BytePairTokenizer(
        json.loads(files["vocab.json"]),
        parse_merges(files["merges.txt"], "merges.txt"),
        add_prefix_space=True,
    )
    assert named_spans(spaced, "the river") == [("Ġthe", "the"), ("Ġriver", "river")]
    assert named_spans(spaced, "\nthe") == named_spans(tiny_v1_tokenizer, "\nthe")
    assert named_spans(spaced, "[CLS] the", specials=True) == [
        ("Ġ", ""),
        ("[CLS]", "[CLS]"),
        ("Ġthe", "the"),
    ]
    assert spaced.encode("").ids.tolist() == []


def test_special_pieces_are_text_unless_asked_for(tiny_v1_tokenizer: BytePairTokenizer) -> None:
    text = " the  [MASK] river[SEP]"
    assert tiny_v1_tokenizer.mask_id not in tiny_v1_tokenizer.encode(text).ids
    assert named_spans(tiny_v1_tokenizer, text, specials=True) == [
        ("Ġthe", "the"),
        ("[MASK]", "[MASK]"),
        ("Ġriver", "river"),
        ("[SEP]", "[SEP]"),
    ]


def test_lone_surrogates_are_replaced_without_moving_offsets(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    expected = tiny_v1_tokenizer.encode("the \ufffd old")
    with pytest.warns(SurrogateWarning):
        pieces = tiny_v1_tokenizer.encode("the \ud800 old")
    assert pieces.ids.tolist() == expected.ids.tolist()
    assert spans_of(pieces) == spans_of(expected)


def test_decode_names_special_pieces_and_replaces_cut_characters(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    t = tiny_v1_tokenizer
    the, snow = t.encode("the").ids.tolist(), t.encode("☃").ids.tolist()
    assert t.decode([t.cls_id, *the, t.mask_id, t.sep_id]) == "[CLS]the[MASK][SEP]"
    assert t.decode([*the, *snow[:2], 9999]) == "the\ufffd[UNK]"
    assert t.decode([]) == ""


def test_numbers_and_strings_of_pieces_are_each_other_s(
    tiny_v1_tokenizer: BytePairTokenizer,
) -> None:
    t = tiny_v1_tokenizer
    assert [t.piece_id(t.piece(number)) for number in range(t.n_pieces)] == list(range(512))
    assert t.piece_id("no such piece") is None
    with pytest.raises(TokenizerError, match=r"piece number 512 is not in .* from 0 to 511"):
        t.piece(512)


@pytest.mark.parametrize("way", ["bytes", "pickle", "deepcopy"])
def test_copy_encodes_alike(tiny_v1_tokenizer: BytePairTokenizer, way: str) -> None:
    copies = {
        "bytes": lambda t: BytePairTokenizer.from_bytes(t.to_bytes()),
        "pickle": lambda t: pickle.loads(pickle.dumps(t)),
        "deepcopy": copy.deepcopy,
    }
    other = copies[way](tiny_v1_tokenizer)
    assert other.to_bytes() == tiny_v1_tokenizer.to_bytes()
    text = "Marie [MASK] ☃ NEW"
    for specials in (False, True):
        expected = tiny_v1_tokenizer.encode(text, specials=specials).ids.tolist()
        assert other.encode(text, specials=specials).ids.tolist() == expected


@pytest.mark.parametrize("unit", ["a", "the old river ", "☃", "\u0301", " ", "\n"], ids=ascii)
def test_time_is_linear_in_the_length(tiny_v1_tokenizer: BytePairTokenizer, unit: str) -> None:
    """Eight times the text may take thirty times as long: quadratic would take 64 times."""

    def seconds(n_chars: int) -> float:
        text = (unit * n_chars)[:n_chars]
        times = []
        for _ in range(3):
            start = time.process_time()
            tiny_v1_tokenizer.encode(text)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(80_000) < 30 * max(seconds(10_000), 1e-3)


@pytest.mark.parametrize(
    ("changes", "merges", "message"),
    [
        ({"[MASK]": None}, [], r"vocab.json: no piece '\[MASK\]'; .* this one begins with \[PAD\]"),
        ({"a": None}, [], r"1 of the 256 bytes have no piece, the first is 'a'"),
        ({"a": 7}, [], r"'.' and '.' both have number 7"),
        ({"a": -1}, [], r"piece 'a' has number -1, expected one from 0 to 3999999"),
        ({"a": "7"}, [], r"piece 'a' has number '7', expected one"),
        ({"a": 4_000_000}, [], r"piece 'a' has number 4000000"),
        ({}, [("a", "b")], r"its merges do not fit its pieces \(.*`ab`"),
    ],
)
def test_damaged_vocabulary_is_refused(
    changes: dict[str, Any], merges: list[tuple[str, str]], message: str
) -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *BYTE_OF, "[MASK]"]
    vocab = {piece: number for number, piece in enumerate(pieces)} | changes
    with pytest.raises(TokenizerError, match=message):
        BytePairTokenizer({p: n for p, n in vocab.items() if n is not None}, merges)


def test_added_piece_with_the_number_of_another_is_refused() -> None:
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *BYTE_OF, "[MASK]"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    with pytest.raises(TokenizerError, match="both have number 9"):
        BytePairTokenizer(vocab, [], added={"NEW": AddedPiece(9)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#version: 0.2\na b\nab\n", r"merges.txt: line 3 is 'ab', expected two pieces"),
        (b"a b c\n", r"merges.txt: line 1 is 'a b c'"),
        (b"\xff\xfe", r"merges.txt: is not UTF-8"),
    ],
)
def test_damaged_merges_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        parse_merges(content, "merges.txt")


def test_merges_need_no_header_and_may_have_windows_lines() -> None:
    expected = [("a", "b"), ("#", "#")]
    assert parse_merges(b"a b\n# #\n", "m") == expected
    assert parse_merges(b"#version: 0.2\r\na b\r\n# #\r\n", "m") == expected


@pytest.mark.shared
def test_roberta_s_vocabulary_splits_the_sentence_of_the_transformers_tests(
    tmp_path: Path,
) -> None:
    source = SHARED_DATA / "tokenizers" / "roberta-bpe"
    names = {"<pad>", "<s>", "</s>", "<unk>", "<mask>"}
    given = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    vocab = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": 50264}
    vocab |= {piece: number for piece, number in given.items() if piece not in names}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (tmp_path / "merges.txt").write_bytes((source / "merges.txt").read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    text = "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations"
    assert tokenizer.encode(text).ids.tolist() == [
        2118, 11126, 565, 35, 83, 25191, 163, 18854, 13, 12156, 12, 16101, 25376, 13807, 9, 22205,
        27893, 1635,
    ]  # fmt: skip
    for awkward in AWKWARD:
        assert isinstance(tokenizer, BytePairTokenizer)
        check_pieces(tokenizer, awkward)
