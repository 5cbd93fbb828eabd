# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""Pieces equal SentencePiece's, and every span counts characters of the caller's string."""

import copy
import gzip
import io
import json
import pickle
import sys
import time
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import Pieces, SurrogateWarning, UnigramTokenizer, train_unigram
from spacy_deberta.tokenizers.spans import LAST_WHITESPACE
from tests.conftest import SHARED_DATA

AWKWARD = [
    "", " ", "\n\t ", "\x00", "\ufeff", "\u200b", "▁", "▁ ▁", "a", " a", "a ", "  a  b  ",
    "ﬁne ½ Ａ１", "☃", "a ☃ b", "日本語", "㍿", "x ㍿y", "a\x00b", "x \u00ad y", "\u202eabc\u202c",
    "zero\u200bwidth", "\ufeffBOM", "mid\ufeffdle", "a\ufeff", "a\x01 \x01b\x01 ", "a\x1c b",
    "e\u0301 é A\u0302\u0300", "a" + "\u0301" * 50, "👩\u200d👩\u200d👧 z", "🇩🇪🏴", "ﷺ z", "ｶﾞ",
    "a\u1680b", "a\x85b\u2028c", "a´ b", "…", "wait…what", "x[MASK] [CLS] <s> </s> <0x41>",
    "line\nbreak\r\nagain", "\u3000x\u00a0y", "각 한국어", "ẞ ß İ", "１２３ ①②",
    "a▁b", "\u1e9b\u0323",
]  # fmt: skip
ALPHABET = st.one_of(
    st.sampled_from("abcdeourst.,'-  \n\t▁"),
    st.sampled_from(
        "ﬁ½Ａ☃日㍿ﷺｶﾞ…´é\u0301\u0302\u00ad\u200b\u200d\ufeff\x00\x01\x1c\u1680\u3000\xa0각👩"
    ),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(ALPHABET, max_size=40)


def processor_of(tokenizer: UnigramTokenizer) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(
        model_proto=tokenizer.vocabulary_files()["spm.model"]
    )


def covered_by_loop(processor: sentencepiece.SentencePieceProcessor, text: str) -> list[list[int]]:
    """Places in the normalized text of each piece, one character or byte at a time."""
    normalized = processor.normalize(text)
    places = []
    at = byte = 0
    for number, surface in zip(
        processor.encode(text), processor.encode(text, out_type=str), strict=True
    ):
        if not processor.is_byte(number):
            places.append(list(range(at, at + len(surface))))
            at += len(surface)
            continue
        places.append([at])
        byte += 1
        if byte == len(normalized[at].encode()):
            at, byte = at + 1, 0
    assert at == len(normalized)
    return [[place for place in piece if normalized[place] != "▁"] for piece in places]


def spans_by_loop(
    processor: sentencepiece.SentencePieceProcessor, text: str
) -> list[tuple[int, int]]:
    """The rules of the package's docstring; shares no code with it."""
    _, offsets = processor.normalize(text, with_offsets=True)
    spans: list[tuple[int, int] | None] = []
    for places in covered_by_loop(processor, text):
        inside: list[int] = []
        for place in places:
            behind = next(o for o in offsets[place:] if o > offsets[place])
            inside += [i for i in range(offsets[place], behind) if not text[i].isspace()]
        spans.append((inside[0], inside[-1] + 1) if inside else None)
    following = None
    for i in reversed(range(len(spans))):
        following = spans[i] = spans[i] or following
    return [span for span in spans if span is not None]


def spans_of(pieces: Pieces) -> list[tuple[int, int]]:
    return list(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))


def check_pieces(tokenizer: UnigramTokenizer, text: str) -> None:
    processor = processor_of(tokenizer)
    pieces = tokenizer.encode(text)
    assert pieces.ids.tolist() == processor.encode(text)
    assert {a.dtype for a in (pieces.ids, pieces.starts, pieces.ends)} == {np.dtype(np.int32)}
    filled = [(start, end) for start, end in spans_of(pieces) if start < end]
    assert filled == spans_by_loop(processor, text)
    assert filled == sorted(filled)
    assert [end for _, end in filled] == sorted(end for _, end in filled)
    assert all(0 <= start <= end <= len(text) for start, end in spans_of(pieces))
    check_against_surfaces(processor, text, spans_of(pieces))


def check_against_surfaces(
    processor: sentencepiece.SentencePieceProcessor, text: str, spans: list[tuple[int, int]]
) -> None:
    """SentencePiece's own surfaces (bytes), less what it reads as space or nothing, lie in ours."""
    encoded = text.encode()
    for (start, end), piece in zip(
        spans, processor.encode(text, return_type="proto").pieces, strict=True
    ):
        first = len(encoded[: piece.begin].decode())
        for i, char in enumerate(piece.surface, start=first):
            seen = processor.normalize(char).strip("▁") and not char.isspace()
            assert start <= i < end or not seen


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_text_has_the_spans_of_the_loop(
    tiny_tokenizer: UnigramTokenizer, text: str
) -> None:
    check_pieces(tiny_tokenizer, text)


@settings(max_examples=60)
@given(text=TEXTS)
def test_any_text_has_the_spans_of_the_loop(tiny_tokenizer: UnigramTokenizer, text: str) -> None:
    check_pieces(tiny_tokenizer, text)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(text=TEXTS)
def test_many_texts_have_the_spans_of_the_loop(tiny_tokenizer: UnigramTokenizer, text: str) -> None:
    check_pieces(tiny_tokenizer, text)
    normalized = processor_of(tiny_tokenizer).normalize(text).replace("▁", " ")
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text).ids) == normalized.strip()


@settings(max_examples=30)
@given(texts=st.lists(TEXTS, max_size=6))
def test_batch_mates_change_nothing(tiny_tokenizer: UnigramTokenizer, texts: list[str]) -> None:
    batch = tiny_tokenizer.encode_batch(texts)
    assert len(batch) == len(texts)
    for text, pieces in zip(texts, batch, strict=True):
        alone = tiny_tokenizer.encode(text)
        assert pieces.ids.tolist() == alone.ids.tolist()
        assert spans_of(pieces) == spans_of(alone)


def named_spans(tokenizer: UnigramTokenizer, text: str) -> list[tuple[str, str]]:
    pieces = tokenizer.encode(text)
    return [
        (tokenizer.piece(id), text[start:end])
        for id, (start, end) in zip(pieces.ids.tolist(), spans_of(pieces), strict=True)
    ]


def test_bytes_of_a_character_and_the_bare_space_before_it_share_its_span(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    assert named_spans(tiny_tokenizer, "the ☃") == [
        ("▁the", "the"),
        ("▁", "☃"),
        ("<0xE2>", "☃"),
        ("<0x98>", "☃"),
        ("<0x83>", "☃"),
    ]


def test_pieces_of_an_expansion_all_have_its_source(tiny_tokenizer: UnigramTokenizer) -> None:
    spans = named_spans(tiny_tokenizer, "the…")
    assert "".join(piece for piece, _ in spans) == "▁the..."
    assert [surface for piece, surface in spans if "." in piece] == ["…"] * 3


def test_part_of_an_expansion_does_not_widen_its_neighbours(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    pieces = tiny_tokenizer.encode("ﬁ∞")
    surfaces = {tiny_tokenizer.piece(i): (s, e) for i, (s, e) in zip(
        pieces.ids.tolist(), spans_of(pieces), strict=True)}  # fmt: skip
    assert surfaces["i"] == (0, 1)
    assert surfaces["<0x9E>"] == (1, 2)


def test_whitespace_is_outside_every_span(tiny_tokenizer: UnigramTokenizer) -> None:
    text = "  the\n\n old \t river\u00a0"
    covered = {i for start, end in spans_of(tiny_tokenizer.encode(text)) for i in range(start, end)}
    assert "".join(text[i] for i in sorted(covered)) == "theoldriver"


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\u3000\u00a0", "\ufeff", "\u200b"], ids=ascii)
def test_text_without_content_has_no_pieces(tiny_tokenizer: UnigramTokenizer, text: str) -> None:
    pieces = tiny_tokenizer.encode(text)
    assert len(pieces) == 0
    assert pieces.starts.shape == pieces.ends.shape == (0,)


def test_no_texts_give_no_results(tiny_tokenizer: UnigramTokenizer) -> None:
    assert tiny_tokenizer.encode_batch([]) == []


def test_typed_special_pieces_are_text(tiny_tokenizer: UnigramTokenizer) -> None:
    ids = tiny_tokenizer.encode("[CLS] the [MASK] [SEP] [PAD] [UNK]").ids.tolist()
    special = {
        tiny_tokenizer.cls_id,
        tiny_tokenizer.sep_id,
        tiny_tokenizer.pad_id,
        tiny_tokenizer.unk_id,
        tiny_tokenizer.mask_id,
    }
    assert not special & set(ids)
    assert tiny_tokenizer.decode(ids) == "[CLS] the [MASK] [SEP] [PAD] [UNK]"


def test_lone_surrogates_are_counted_and_replaced_without_moving_offsets(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    expected = tiny_tokenizer.encode("the \ufffd\ufffd old \ufffd river")
    with pytest.warns(SurrogateWarning, match=r"3 lone surrogate\(s\) in 1 of 2 text\(s\)"):
        _, pieces = tiny_tokenizer.encode_batch(["fine", "the \ud800\ud801 old \udfff river"])
    assert pieces.ids.tolist() == expected.ids.tolist()
    assert spans_of(pieces) == spans_of(expected)


def test_ordinary_text_warns_of_nothing(tiny_tokenizer: UnigramTokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_tokenizer.encode("the \ufffd old 👩 river")


def test_result_keeps_no_batch_mate_alive(tiny_tokenizer: UnigramTokenizer) -> None:
    short, _ = tiny_tokenizer.encode_batch(["the", "old river " * 1000])
    base = short.ids if short.ids.base is None else short.ids.base
    assert base.nbytes == 3 * short.ids.nbytes


def test_special_pieces_have_the_numbers_of_v3(tiny_tokenizer: UnigramTokenizer) -> None:
    t = tiny_tokenizer
    assert (t.pad_id, t.cls_id, t.sep_id, t.unk_id) == (0, 1, 2, 3)
    assert t.mask_id == t.n_pieces - 1 == 349
    assert [t.piece(i) for i in (0, 1, 2, 3, 4, 349)] == [
        "[PAD]", "[CLS]", "[SEP]", "[UNK]", "<0x00>", "[MASK]"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [-1, 350])
def test_piece_outside_the_vocabulary_is_an_error(
    tiny_tokenizer: UnigramTokenizer, number: int
) -> None:
    with pytest.raises(TokenizerError, match=f"number {number} is not in .* from 0 to 349"):
        tiny_tokenizer.piece(number)


def test_numbers_and_strings_of_pieces_are_each_other_s(tiny_tokenizer: UnigramTokenizer) -> None:
    t = tiny_tokenizer
    assert [t.piece_id(t.piece(number)) for number in range(t.n_pieces)] == list(range(350))
    assert t.piece_id("no such piece") is None
    assert t.piece_id("[UNK]") == t.unk_id


def test_numbers_between_the_model_and_mask_read_unknown(tiny_tokenizer: UnigramTokenizer) -> None:
    t = UnigramTokenizer(tiny_tokenizer.vocabulary_files()["spm.model"], mask_id=360)
    assert [t.piece(number) for number in (355, 360)] == ["[UNK]", "[MASK]"]
    assert t.decode([355, 360]) == "[UNK][MASK]"


def test_decode_joins_bytes_and_names_special_pieces(tiny_tokenizer: UnigramTokenizer) -> None:
    t = tiny_tokenizer
    the, snow = t.encode("the").ids.tolist(), t.encode("old ☃").ids.tolist()
    assert t.decode([t.cls_id, *the, t.mask_id, *snow, t.sep_id]) == "[CLS] the[MASK] old ☃[SEP]"
    assert t.decode([t.unk_id, 10_000]) == "[UNK][UNK]"
    assert t.decode([]) == ""


@settings(max_examples=30)
@given(text=TEXTS)
def test_decode_gives_the_normalized_text_back(tiny_tokenizer: UnigramTokenizer, text: str) -> None:
    normalized = processor_of(tiny_tokenizer).normalize(text).replace("▁", " ")
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text).ids) == normalized.strip()


@pytest.mark.parametrize("way", ["bytes", "pickle", "deepcopy"])
def test_copy_encodes_alike(tiny_tokenizer: UnigramTokenizer, way: str) -> None:
    copies = {
        "bytes": lambda t: UnigramTokenizer.from_bytes(t.to_bytes()),
        "pickle": lambda t: pickle.loads(pickle.dumps(t)),
        "deepcopy": copy.deepcopy,
    }
    other = copies[way](tiny_tokenizer)
    assert other.to_bytes() == tiny_tokenizer.to_bytes()
    assert (other.mask_id, other.n_pieces) == (tiny_tokenizer.mask_id, tiny_tokenizer.n_pieces)
    text = "Marie Curie crossed the ☃ river"
    assert other.encode(text).ids.tolist() == tiny_tokenizer.encode(text).ids.tolist()


def test_threads_share_a_tokenizer(tiny_tokenizer: UnigramTokenizer) -> None:
    texts = ["the old river ☃ ½", "Marie\n\nCurie", "a" * 300] * 20
    expected = [spans_of(tiny_tokenizer.encode(text)) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda t: spans_of(tiny_tokenizer.encode(t)), texts)) == expected


@pytest.mark.parametrize(
    "unit", ["a", "the old river ", "the\n\nriver ", "☃", "\u0301", "½", " "], ids=ascii
)
def test_time_is_linear_in_the_length(tiny_tokenizer: UnigramTokenizer, unit: str) -> None:
    """Eight times the text may take thirty times as long: quadratic would take 64 times."""

    def seconds(n_chars: int) -> float:
        text = (unit * n_chars)[:n_chars]
        times = []
        for _ in range(3):
            start = time.process_time()
            tiny_tokenizer.encode(text)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(80_000) < 30 * max(seconds(10_000), 1e-3)


def test_no_whitespace_stands_behind_the_table() -> None:
    behind = range(LAST_WHITESPACE + 1, sys.maxunicode + 1)
    assert chr(LAST_WHITESPACE).isspace()
    assert not any(chr(code).isspace() for code in behind)


def unknown_pieces_tokenizer() -> UnigramTokenizer:
    """A model without byte fallback, as v2's: runs of unknown characters are one piece."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the old river and a new mountain"] * 20),
        model_writer=model,
        vocab_size=24,
        hard_vocab_limit=False,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3,
        pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
        minloglevel=2,
    )  # fmt: skip
    return UnigramTokenizer(model.getvalue())


def test_unknown_runs_without_byte_pieces_have_their_span() -> None:
    tokenizer = unknown_pieces_tokenizer()
    for text in ["the 日本語 river", "☃☃the", "日本", "the ㍿☃", " ☃ ☃", *AWKWARD]:
        check_pieces(tokenizer, text)
    assert ("[UNK]", "日本語") in named_spans(tokenizer, "the 日本語 river")


def test_training_reports_what_it_cannot_reach() -> None:
    with pytest.raises(TokenizerError, match=r"could not train 5000 pieces: .* fewer pieces"):
        train_unigram(["the old river"] * 10, n_pieces=5000)


def shared_texts() -> list[str]:
    path = SHARED_DATA / "tasks" / "text_multilingual" / "texts.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


@pytest.mark.shared
def test_v3_splits_the_sentence_of_its_card(v3_tokenizer: UnigramTokenizer) -> None:
    pieces = v3_tokenizer.encode("Hello world! I saw a girl with a telescope.")
    assert pieces.ids.tolist() == [
        5365, 447, 300, 273, 1053, 266, 1651, 275, 266, 19518, 260
    ]  # fmt: skip
    assert (v3_tokenizer.mask_id, v3_tokenizer.n_pieces) == (128000, 128001)


@pytest.mark.shared
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_v3_has_the_spans_of_the_loop(v3_tokenizer: UnigramTokenizer, text: str) -> None:
    check_pieces(v3_tokenizer, text)


@pytest.mark.shared
def test_v3_covers_every_visible_character_of_many_languages(
    v3_tokenizer: UnigramTokenizer,
) -> None:
    processor = processor_of(v3_tokenizer)
    texts = shared_texts()
    for text, pieces in zip(texts, v3_tokenizer.encode_batch(texts), strict=True):
        assert pieces.ids.tolist() == processor.encode(text)
        assert spans_of(pieces) == spans_by_loop(processor, text)
        covered = {i for start, end in spans_of(pieces) for i in range(start, end)}
        for i, char in enumerate(text):
            invisible = char.isspace() or unicodedata.category(char) in ("Cf", "Cc")
            assert i in covered or invisible, (text, i, char)
