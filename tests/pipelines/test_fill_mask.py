"""Fill-mask: rows 1 to 18 of the matrix, parity with transformers 4.57.6, and what is ours."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.fill_mask import FillMaskPipeline
from pipelines.mask_texts import Piece, word_pieces
from pipelines.records import FillResult
from spacy_deberta.errors import HeadMissingError, InputError, OptionError
from tests.pipelines.fill_masks import LONG, TEXT, TWO, chain
from tests.pipelines.models import build_model, tokenizer_of, write_model

RECORDED = json.loads(
    (Path(__file__).parent / "transformers-4.57.6" / "fill-mask.json").read_text(encoding="utf-8")
)

Pipes = dict[tuple[str, bool], FillMaskPipeline]


@pytest.fixture(scope="module")
def pipes() -> Pipes:
    """The models that were recorded, as ours and as theirs."""
    return {
        (family, compat): FillMaskPipeline(
            build_model("fill-mask", family), tokenizer=tokenizer_of(family), hf_compat=compat
        )
        for family in ("v3", "v1")
        for compat in (False, True)
    }


@pytest.fixture(scope="module")
def fill(pipes: Pipes) -> FillMaskPipeline:
    return pipes["v3", False]


@pytest.fixture(scope="module")
def compat(pipes: Pipes) -> FillMaskPipeline:
    return pipes["v3", True]


def same(found: Any, expected: Any) -> bool:
    """Equal but for 1e-5 in numbers."""
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in expected)
    if isinstance(expected, float):
        return isinstance(found, float) and math.isclose(found, expected, abs_tol=1e-5)
    return type(found) is type(expected) and found == expected


# --- transformers 4.57.6 -------------------------------------------------------------------------


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"row {case['row']}-{case['family']}")
def test_hf_compat_gives_what_transformers_gave(case: dict[str, Any], pipes: Pipes) -> None:
    pipe, given = pipes[case["family"], True], case["input"]
    if isinstance(given, dict):
        found = pipe((text for text in given["generator"]), **case["options"])
        assert iter(found) is found
        assert same(list(found), case["expected"])
    elif "error" in case:
        with pytest.raises((InputError, OptionError)):
            pipe(given, **case["options"])
    else:
        assert same(pipe(given, **case["options"]), case["expected"])


def test_row_12_hf_compat_refuses_more_candidates_than_rows(compat: FillMaskPipeline) -> None:
    with pytest.raises(OptionError, match="top_k=673: the output layer has 672 rows"):
        compat(TEXT, top_k=673)


# --- the matrix: our default ---------------------------------------------------------------------


def test_row_1_candidates_keep_the_callers_text(fill: FillMaskPipeline) -> None:
    found = fill(TEXT, top_k=2)
    assert isinstance(found, FillResult)
    (mask,) = found.masks
    assert TEXT[mask.start : mask.end] == "[MASK]"
    first, second = (one.to_dict() for one in mask.fills)
    assert list(first) == ["score", "token", "token_str", "sequence"]
    assert first["score"] > second["score"]
    assert first["sequence"] == TEXT.replace("[MASK]", first["token_str"])
    json.dumps(found.to_dict())


def test_row_2_a_list_of_one_gives_a_list_of_one(fill: FillMaskPipeline) -> None:
    assert fill([TEXT]) == [fill(TEXT)]


def test_row_3_texts_with_one_and_two_masks_give_the_same_kind(fill: FillMaskPipeline) -> None:
    one, two = fill([TEXT, TWO])
    assert [len(one.masks), len(two.masks)] == [1, 2]
    assert type(one) is type(two) is FillResult


def test_row_4_two_masks_are_filled_jointly_and_each_for_itself(fill: FillMaskPipeline) -> None:
    found = fill(TWO, top_k=3)
    assert [len(mask.fills) for mask in found.masks] == [3, 3]
    assert len(found.joint) == 3
    for joint in found.joint:
        assert joint.sequence == f"{joint.texts[0]} moved to {joint.texts[1]}."
    assert "[CLS]" not in found.masks[0].fills[0].sequence
    assert found.masks[0].fills[0].sequence.endswith("moved to [MASK].")
    assert fill(TWO, joint="none").joint == ()


def test_row_5_what_has_no_mask_is_refused_by_number(fill: FillMaskPipeline) -> None:
    with pytest.raises(InputError, match=r"no \[MASK\] in 'The capital is Paris\.'"):
        fill("The capital is Paris.")
    with pytest.raises(InputError, match=r"input 1 .*no \[MASK\] in ''"):
        fill([TEXT, ""])
    for wrong in (None, 3, {"text": TEXT}):
        with pytest.raises(InputError, match="expected a text"):
            fill(wrong)


def test_row_6_no_texts_and_a_mask_alone(fill: FillMaskPipeline) -> None:
    assert fill([]) == []
    found = fill("[MASK]", top_k=1)
    assert found.masks[0].fills[0].sequence == found.masks[0].fills[0].text


@pytest.mark.parametrize(("family", "marker"), [("v3", "▁"), ("v1", "Ġ")])
def test_row_7_a_target_is_the_word_at_its_place(family: str, marker: str, pipes: Pipes) -> None:
    pipe = pipes[family, False]
    core = pipe.tokenizer.core
    word = "of"
    spaced, bare = core.piece_id(marker + word), core.piece_id(word)
    (found,) = pipe("the capital [MASK] it", targets=[word]).masks[0].fills
    assert found.pieces == ((spaced,) if spaced is not None else found.pieces)
    if bare is not None:
        (raw,) = pipe("the capital [MASK] it", targets=Piece(word)).masks[0].fills
        assert raw.pieces == (bare,)
    with pytest.raises(InputError, match="'zzxqv' is no piece of this vocabulary"):
        pipe(TEXT, targets=[Piece("zzxqv")])


def test_row_7_a_word_right_behind_a_letter_has_no_mark(pipes: Pipes) -> None:
    core = tokenizer_of("v1").core
    assert core.piece(word_pieces(core, "it is", "on")[0])[0] != "Ġ"
    assert core.piece(word_pieces(core, "it is ", "on")[0])[0] == "Ġ"
    assert core.piece(word_pieces(core, "", "on")[0])[0] != "Ġ"


@pytest.mark.parametrize("family", ["v3", "v1"])
def test_row_8_a_target_of_several_pieces_is_a_chain(family: str, pipes: Pipes) -> None:
    pipe = pipes[family, False]
    core = pipe.tokenizer.core
    with pytest.warns(UserWarning, match="length_norm='mean' evens that out"):
        fills = pipe(TEXT, targets=["zzxqv", "of"]).masks[0].fills
    before, after = core.encode("The capital is").ids.tolist(), core.encode(".").ids.tolist()
    for one in fills:
        assert one.text in ("zzxqv", "of")
        expected = chain(pipe, before, list(one.pieces), after)
        assert math.log(one.score) == pytest.approx(expected, abs=1e-4)
    longest = max(fills, key=lambda one: len(one.pieces))
    assert longest.text == "zzxqv"
    assert longest.sequence == "The capital is zzxqv."
    assert longest.to_dict()["token"] == list(longest.pieces)
    (mean,) = pipe(TEXT, targets=["zzxqv"], length_norm="mean").masks[0].fills
    assert math.log(mean.score) == pytest.approx(
        math.log(longest.score) / len(longest.pieces), abs=1e-4
    )


def test_row_9_targets_that_are_none_or_empty_are_refused(fill: FillMaskPipeline) -> None:
    for targets, message in (
        ([], "found no word"),
        ([""], "found an empty word"),
        (["a", " "], "found an empty word"),
        ([3], "found int 3"),
    ):
        with pytest.raises(InputError, match=message):
            fill(TEXT, targets=targets)


def test_row_10_a_target_given_twice_is_one(fill: FillMaskPipeline) -> None:
    found = fill(TEXT, targets=["of", "in", "of"]).masks[0].fills
    assert sorted(one.text for one in found) == ["in", "of"]
    assert found[0].score >= found[1].score


def test_row_11_scores_of_targets_stay_and_shares_are_relative(fill: FillMaskPipeline) -> None:
    every = fill(TEXT, targets=["of", "in", "to"]).masks[0].fills
    best = fill(TEXT, targets=["of", "in", "to"], top_k=2).masks[0].fills
    assert best == every[:2]
    assert sum(one.relative or 0 for one in every) == pytest.approx(1.0)
    alone = fill(TEXT, targets="of").masks[0].fills[0]
    assert alone.score == pytest.approx(next(one.score for one in every if one.text == "of"))
    assert fill(TEXT).masks[0].fills[0].relative is None


def test_row_12_top_k_is_at_least_one_and_at_most_the_vocabulary(fill: FillMaskPipeline) -> None:
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(OptionError, match="top_k="):
            fill(TEXT, top_k=wrong)
    core = fill.tokenizer.core
    found = fill(TEXT, top_k=10_000).masks[0].fills
    assert len(found) == core.n_pieces - len(core.added)
    assert sum(one.score for one in found) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("family", ["v3", "v1"])
def test_row_13_only_text_has_a_probability(family: str, pipes: Pipes) -> None:
    core = pipes[family, False].tokenizer.core
    theirs = pipes[family, True](TEXT, top_k=672)
    no_text = {*range(core.n_pieces, 672), *(added.id for added in core.added.values())}
    lost = sum(one["score"] for one in theirs if one["token"] in no_text)
    assert lost > 1e-3
    best = next(one for one in theirs if one["token"] not in no_text)
    ours = pipes[family, False](TEXT, top_k=1).masks[0].fills[0]
    assert ours.pieces == (best["token"],)
    assert ours.score == pytest.approx(best["score"] / (1 - lost), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"tokenizer_kwargs": {"truncation": True}}])
def test_row_14_a_mask_behind_the_limit_is_filled_in_a_window(
    options: dict[str, Any], fill: FillMaskPipeline
) -> None:
    found = fill(LONG, **options)
    core = fill.tokenizer.core
    room = fill.max_length - 2
    ids = core.encode(LONG, specials=True).ids.tolist()
    assert len(ids) > room
    place = ids.index(core.mask_id)
    start = max(0, min(place - room // 2, len(ids) - room))
    window = [core.cls_id, *ids[start : start + room], core.sep_id]
    with torch.no_grad():
        logits = fill.model(torch.tensor([window])).logits[0, place - start + 1]
    text_only = torch.from_numpy(fill._text_rows)
    expected = logits.masked_fill(~text_only, -torch.inf).softmax(-1)
    assert found.masks[0].fills[0].score == pytest.approx(float(expected.max()), abs=1e-5)
    assert found.masks[0].fills[0].sequence.startswith("the old river ")


def test_row_14_masks_far_apart_have_windows_of_their_own(fill: FillMaskPipeline) -> None:
    text = "[MASK] " + "the old river " * 60 + "[MASK] and [MASK]."
    found = fill(text, top_k=2)
    assert found.n_windows == 2
    assert len(found.joint) == 2
    assert found.joint[0].sequence.count("[MASK]") == 0


def test_row_15_a_tuple_of_texts_is_refused(
    fill: FillMaskPipeline, compat: FillMaskPipeline
) -> None:
    for pipe in (fill, compat):
        with pytest.raises(InputError, match="give several inputs as a list"):
            pipe((TEXT, TWO))


def test_row_16_the_text_stays_as_it_was_written(fill: FillMaskPipeline) -> None:
    text = "\ufb01rst  [MASK] ½ é"
    one = fill(text, top_k=1).masks[0].fills[0]
    assert one.sequence == f"\ufb01rst  {one.text} ½ é"


def test_row_17_a_stream_is_lazy(fill: FillMaskPipeline) -> None:
    pulled = 0

    def texts() -> Iterator[str]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield f"the capital {number} is [MASK]"

    found = fill(texts(), top_k=1)
    assert iter(found) is found
    assert next(found).text == "the capital 0 is [MASK]"
    assert pulled <= 64


@pytest.mark.parametrize("hf_compat", [False, True])
def test_row_18_microsofts_head_is_run_behind_its_decoder(tmp_path: Path, hf_compat: bool) -> None:
    folder = write_model(tmp_path, "fill-mask-emd")
    pipe = FillMaskPipeline(folder, hf_compat=hf_compat)
    assert pipe.model.mask_decoder == "emd"
    found = pipe(TEXT, top_k=1)
    score = found[0]["score"] if hf_compat else found.masks[0].fills[0].score
    ids = torch.tensor([pipe.tokenizer(TEXT)["input_ids"]])
    asked = ids == pipe.tokenizer.mask_token_id
    with torch.no_grad():
        logits = pipe.model(ids, prediction_mask=asked).logits[asked][0]
    if not hf_compat:
        logits = logits.masked_fill(~torch.from_numpy(pipe._text_rows), -torch.inf)
    assert score == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)


@pytest.mark.parametrize("hf_compat", [False, True])
def test_row_18_without_a_head_nothing_is_made_up(tmp_path: Path, hf_compat: bool) -> None:
    folder = write_model(tmp_path, "token-classification")
    with pytest.raises(HeadMissingError, match="no trained head for fill-mask; it can do"):
        FillMaskPipeline(folder, hf_compat=hf_compat)
