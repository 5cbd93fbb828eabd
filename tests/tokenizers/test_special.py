"""Special and added pieces become their numbers where they are typed, and only where asked for."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import AddedPiece, UnigramTokenizer
from spacy_deberta.tokenizers.special import MAX_ADDED, Matcher

ADDED = {
    "NEW": AddedPiece(350),
    "NEWTOK": AddedPiece(351),
    "<sp>": AddedPiece(352, special=True),
    "LEFT": AddedPiece(353, lstrip=True),
    "RIGHT": AddedPiece(354, rstrip=True),
    "SOLO": AddedPiece(355, single_word=True),
}


def with_added(tokenizer: UnigramTokenizer, **options: Any) -> UnigramTokenizer:
    model = tokenizer.vocabulary_files()["spm.model"]
    return UnigramTokenizer(model, added=ADDED, **options)


@pytest.fixture(scope="module")
def adding(tiny_tokenizer: UnigramTokenizer) -> UnigramTokenizer:
    return with_added(tiny_tokenizer)


def named(tokenizer: UnigramTokenizer, text: str, *, specials: bool = True) -> list[Any]:
    """Pieces with the text that they cover; of ordinary ones only the text."""
    pieces = tokenizer.encode(text, specials=specials)
    rows = zip(pieces.ids.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    found: list[Any] = []
    for number, start, end in rows:
        piece = tokenizer.piece(number)
        found.append((piece, text[start:end]) if piece in tokenizer.added else text[start:end])
    return found


def test_typed_special_pieces_are_pieces_when_asked_for(adding: UnigramTokenizer) -> None:
    text = "the [MASK] old[SEP]<sp>"
    assert named(adding, text) == [
        "the", ("[MASK]", "[MASK]"), "old", ("[SEP]", "[SEP]"), ("<sp>", "<sp>")
    ]  # fmt: skip
    assert not {row for row in named(adding, text, specials=False) if isinstance(row, tuple)}


@pytest.mark.parametrize("specials", [False, True])
def test_pieces_that_users_added_are_always_pieces(
    adding: UnigramTokenizer, specials: bool
) -> None:
    found = named(adding, "the NEW oldNEWTOK", specials=specials)
    assert found == ["the", ("NEW", "NEW"), "old", ("NEWTOK", "NEWTOK")]


def test_the_longest_piece_wins(adding: UnigramTokenizer) -> None:
    assert named(adding, "NEWTOKNEW") == [("NEWTOK", "NEWTOK"), ("NEW", "NEW")]


def test_a_part_has_the_pieces_it_has_alone(adding: UnigramTokenizer) -> None:
    whole = adding.encode("the old[MASK]river ☃", specials=True)
    parts = [adding.encode(part).ids.tolist() for part in ("the old", "river ☃")]
    assert whole.ids.tolist() == [*parts[0], adding.mask_id, *parts[1]]


def test_a_single_word_stands_between_spaces(adding: UnigramTokenizer) -> None:
    assert ("SOLO", "SOLO") in named(adding, "the SOLO old")
    assert named(adding, "SOLO") == [("SOLO", "SOLO")]
    for text in ("theSOLO", "SOLOs", "(SOLO)"):
        assert ("SOLO", "SOLO") not in named(adding, text)


def test_stripping_pieces_take_the_space_beside_them(adding: UnigramTokenizer) -> None:
    matcher = Matcher(ADDED)
    cut = matcher.cut(["the  LEFT old", "the RIGHT \n old", "none"])
    assert cut is not None
    assert [(t, s) for t, s in zip(cut.texts, cut.starts.tolist(), strict=True) if t] == [
        ("the", 0), (" old", 9), ("the ", 0), ("old", 12), ("none", 0)
    ]  # fmt: skip
    assert cut.first.tolist() == [0, 3, 6, 7]
    assert named(adding, "the  LEFT old RIGHT ☃")[1:4:2] == [("LEFT", "LEFT"), ("RIGHT", "RIGHT")]


def test_lower_case_spares_special_pieces_that_are_looked_for(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    lower = with_added(tiny_tokenizer, do_lower_case=True)
    assert named(lower, "THE [MASK] newtok NEWTOK") == [
        "THE", ("[MASK]", "[MASK]"), ("NEWTOK", "newtok"), ("NEWTOK", "NEWTOK")
    ]  # fmt: skip
    expected = tiny_tokenizer.encode("the [mask]").ids.tolist()
    assert lower.encode("THE [MASK]").ids.tolist() == expected


def test_decode_writes_added_pieces_as_words(adding: UnigramTokenizer) -> None:
    ids = adding.encode("the NEWTOKold<sp>[MASK]", specials=True).ids
    assert adding.decode(ids) == "the NEWTOK old <sp> [MASK]"


@settings(max_examples=60)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(["the", " ", "NEW", "[MASK]", "<sp>", "☃", "½", "TOK", "SOLO"]))
    )
)
def test_spans_of_found_pieces_are_theirs_in_any_batch(
    adding: UnigramTokenizer, texts: list[list[str]]
) -> None:
    joined = ["".join(parts) for parts in texts]
    for text, pieces in zip(joined, adding.encode_batch(joined, specials=True), strict=True):
        assert pieces.ids.tolist() == adding.encode(text, specials=True).ids.tolist()
        at = 0
        for number, start, end in zip(
            pieces.ids.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True
        ):
            assert at <= start <= end <= len(text)
            at = start
            piece = adding.piece(number)
            assert piece not in adding.added or text[start:end] == piece


@pytest.mark.parametrize("unit", ["[MASK]", "RIGHT  ", "SOLOx ", "NEWTOK LEFT "])
def test_time_is_linear_in_the_number_of_found_pieces(unit: str) -> None:
    """Eight times the text may take thirty times as long: quadratic would take 64 times."""
    matcher = Matcher({**ADDED, "[MASK]": AddedPiece(349, special=True)})

    def seconds(n_units: int) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            matcher.cut([unit * n_units])
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(80_000) < 30 * max(seconds(10_000), 1e-3)


def test_many_pieces_are_found_as_fast_as_few() -> None:
    pieces = {f"piece{n}": AddedPiece(n) for n in range(MAX_ADDED)}
    cut = Matcher(pieces).cut(["xpiece19999 piece7 piec"])
    assert cut is not None
    assert cut.found[cut.found >= 0].tolist() == [19999, 7]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"x" * 101: AddedPiece(400)}, r"has 101 characters; expected 1 to 100"),
        ({"x": AddedPiece(-1)}, r"added piece 'x' \(number -1\)"),
        ({"[CLS]": AddedPiece(350)}, r"\[CLS\] is said to be number 350, but is number 1"),
        (
            {f"x{n}": AddedPiece(400 + n) for n in range(MAX_ADDED)},
            rf"{MAX_ADDED + 5} added pieces, expected {MAX_ADDED} at most",
        ),
    ],
)
def test_wrong_added_pieces_are_refused(
    tiny_tokenizer: UnigramTokenizer, added: dict[str, AddedPiece], message: str
) -> None:
    model = tiny_tokenizer.vocabulary_files()["spm.model"]
    with pytest.raises(TokenizerError, match=message):
        UnigramTokenizer(model, added=added)
