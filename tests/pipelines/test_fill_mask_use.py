"""Fill-mask: several masks together, options, saving, Docs."""

import itertools
import math
import random
import warnings
from pathlib import Path

import pytest
import spacy
import torch
from spacy.tokens import DocBin

from pipelines.fill_mask import FillMaskPipeline
from pipelines.mask_texts import Piece, word_pieces
from pipelines.records import Failed, FillResult
from spacy_deberta.errors import InputError, OptionError
from tests.pipelines.fill_masks import LONG, TEXT, TWO, chain
from tests.pipelines.models import build_model, tokenizer_of


@pytest.fixture(scope="module")
def fill() -> FillMaskPipeline:
    return FillMaskPipeline(build_model("fill-mask", "v3"), tokenizer=tokenizer_of("v3"))


# --- several masks -------------------------------------------------------------------------------


def every_chain(pipe: FillMaskPipeline, targets: list[str]) -> dict[tuple[str, ...], float]:
    """By hand: "a moved to b.", filled from left to right, over all pairs of targets."""
    core, found = pipe.tokenizer.core, {}
    middle, end = core.encode("moved to").ids.tolist(), core.encode(".").ids.tolist()
    for a, b in itertools.product(targets, targets):
        one, two = list(word_pieces(core, "", a)), list(word_pieces(core, "x ", b))
        first = chain(pipe, [], one, [*middle, core.mask_id, *end])
        found[a, b] = first + chain(pipe, [*one, *middle], two, end)
    return found


def test_the_beam_finds_the_best_words_from_left_to_right(fill: FillMaskPipeline) -> None:
    targets = ["Marie", "of", "zzx"]
    settings = {"order": "left_to_right", "beam": 50, "top_k": 9, "length_norm": "sum"}
    found = fill(TWO, targets=targets, **settings)
    expected = every_chain(fill, targets)
    best = sorted(expected, key=lambda texts: -expected[texts])
    assert [joint.texts for joint in found.joint] == best
    scores = [math.log(joint.score) for joint in found.joint]
    assert scores == pytest.approx([expected[texts] for texts in best], abs=1e-4)


def test_the_first_joint_filling_of_one_mask_is_its_best(fill: FillMaskPipeline) -> None:
    found = fill(TEXT, top_k=3)
    assert [one.sequence for one in found.joint] == [one.sequence for one in found.masks[0].fills]
    assert found.joint[0].score == pytest.approx(found.masks[0].fills[0].score)


def test_results_do_not_depend_on_neighbours_or_budget(fill: FillMaskPipeline) -> None:
    texts = [TEXT, TWO, LONG, "of [MASK]", "[MASK] " + LONG, "[MASK] in [MASK] of [MASK]"]
    alone = [fill(text) for text in texts]
    order = random.Random(0).sample(range(len(texts)), len(texts))
    small = FillMaskPipeline(fill.model, tokenizer=fill.tokenizer, batch_pieces=70)
    for pipe in (fill, small):
        for number, found in zip(order, pipe([texts[i] for i in order]), strict=True):
            expected = alone[number]
            assert [joint.texts for joint in found.joint] == [j.texts for j in expected.joint]
            for mask, other in zip(found.masks, expected.masks, strict=True):
                scores = [one.score for one in mask.fills]
                assert scores == pytest.approx([one.score for one in other.fills], abs=1e-5)


def test_scores_do_not_depend_on_top_k(fill: FillMaskPipeline) -> None:
    few, many = (fill(TEXT, top_k=k).masks[0].fills for k in (2, 50))
    assert few == many[:2]


# --- the rest ------------------------------------------------------------------------------------


def test_other_special_pieces_in_a_text_are_text(fill: FillMaskPipeline) -> None:
    with_text = fill("a [SEP] b [MASK]", top_k=1)
    core = fill.tokenizer.core
    typed = core.encode("a [SEP] b").ids.tolist()
    assert core.sep_id not in typed
    word = list(with_text.masks[0].fills[0].pieces)
    expected = chain(fill, typed, word, [])
    assert math.log(with_text.masks[0].fills[0].score) == pytest.approx(expected, abs=1e-4)


def test_a_target_that_the_vocabulary_cannot_write_is_refused(fill: FillMaskPipeline) -> None:
    with pytest.raises(InputError, match=r"targets: '柏' cannot be written .* gives \["):
        fill(TEXT, targets=["柏"])


def test_targets_that_do_not_fit_the_window_are_refused(fill: FillMaskPipeline) -> None:
    with pytest.raises(InputError, match="need more pieces than the 62 that fit"):
        fill(TEXT, targets=["x" * 200])


def test_unknown_options_are_refused(fill: FillMaskPipeline) -> None:
    with pytest.raises(OptionError, match="Did you mean 'targets'"):
        fill(TEXT, target="of")
    with pytest.raises(OptionError, match="order='best', expected one of 'confidence'"):
        fill(TWO, order="best")
    with pytest.raises(OptionError, match=r"tokenizer_kwargs=.'padding': True"):
        fill(TEXT, tokenizer_kwargs={"padding": True})
    with pytest.raises(OptionError, match="tokenizer_kwargs=3, expected a dict"):
        fill(TEXT, tokenizer_kwargs=3)


def test_a_bad_item_can_leave_the_others_alone(fill: FillMaskPipeline) -> None:
    found = fill([TEXT, "no mask", TWO], on_error="return")
    assert [type(one) for one in found] == [FillResult, Failed, FillResult]


def test_saved_and_loaded_it_gives_the_same(fill: FillMaskPipeline, tmp_path: Path) -> None:
    pipe = FillMaskPipeline(fill.model, tokenizer=fill.tokenizer, top_k=3, order="left_to_right")
    pipe.save_pretrained(tmp_path)
    assert FillMaskPipeline(tmp_path)([TEXT, TWO]) == pipe([TEXT, TWO])


def test_targets_that_are_pieces_are_saved_as_such(fill: FillMaskPipeline, tmp_path: Path) -> None:
    targets = [Piece("\u2581the"), "old"]
    pipe = FillMaskPipeline(fill.model, tokenizer=fill.tokenizer, targets=targets)
    pipe.save_pretrained(tmp_path)
    assert FillMaskPipeline(tmp_path)(TEXT) == pipe(TEXT)


def test_docs_get_candidates_on_their_masks(fill: FillMaskPipeline) -> None:
    nlp = spacy.blank("en")  # splits "[MASK]" into three tokens
    (doc,) = fill.annotate([nlp(TWO)], top_k=2)
    found = fill(TWO, top_k=2)
    marked = [token for token in doc if token._.mask_candidates]
    assert [token.text for token in marked] == ["MASK", "MASK"]
    expected = [[(one.text, one.score) for one in mask.fills] for mask in found.masks]
    assert [token._.mask_candidates for token in marked] == expected
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (again,) = DocBin(store_user_data=True).from_bytes(data).get_docs(nlp.vocab)
    kept = [[tuple(one) for one in t._.mask_candidates] for t in again if t._.mask_candidates]
    assert kept == expected


def test_only_masked_rows_go_through_the_output_layer(
    fill: FillMaskPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    head = fill.model.head.forward

    def count(hidden: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        rows.append(len(hidden))
        return head(hidden, table)

    monkeypatch.setattr(fill.model.head, "forward", count)
    fill([TEXT, TWO], joint="none")
    assert rows == [3]


def test_broken_weights_are_no_answer() -> None:
    model = build_model("fill-mask")
    with torch.no_grad():
        model.head.dense.weight.fill_(math.nan)
    pipe = FillMaskPipeline(model, tokenizer=tokenizer_of())
    with pytest.raises(Exception, match="not finite"):
        pipe(TEXT)


def test_the_embedded_model_fills_masks_at_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe = FillMaskPipeline()
    found = pipe("He has lived in New [MASK] for ten years.", top_k=3)
    assert found.masks[0].fills[0].text == "york"
    assert 0.1 < found.masks[0].fills[0].score < 1
    (target,) = pipe("She lives in [MASK].", targets=["PARIS"]).masks[0].fills
    assert (target.text, target.sequence) == ("PARIS", "She lives in PARIS.")
    assert pipe.tokenizer.core.piece(target.pieces[0]) == "▁paris"
