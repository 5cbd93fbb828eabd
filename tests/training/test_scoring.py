"""Pseudo-log-likelihoods against recordings of other code and a slow loop."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.modeling import DebertaForMaskedLM, DebertaV2ForMaskedLM
from spacy_deberta.tokenizers import Tokenizer, UnigramTokenizer
from spacy_deberta.training.scoring import (
    Copy,
    MaskedScorer,
    ScorerOptions,
    UnigramScorer,
    open_masked_lm,
    open_random,
    open_unigram,
    pseudo_log_likelihoods,
    read_texts,
)
from spacy_deberta.training.scoring.running_text import hide_words
from tests.modeling.models import refill
from tests.reference.case import PEER_FOLDER, RECORDED_FILE, read_case
from tests.tiny import TEXTS, tiny_config, write_checkpoint

REFERENCE = Path(__file__).parents[1] / "reference"
RECORDED = {  # case -> the mask decoder that its logits come from
    "transformers-5.23.0/no-table-norm": "plain",
    "transformers-5.23.0/v1-masked-lm-plain": "plain",
    "microsoft-4d7fe0b/biased-input": "plain",
    "microsoft-4d7fe0b/mask-decoder": "emd",
    "microsoft-4d7fe0b/mask-decoder-v1": "emd",
}


def make_model(mask_decoder: str = "auto", **changes: Any) -> DebertaV2ForMaskedLM:
    model: DebertaV2ForMaskedLM = refill(
        DebertaV2ForMaskedLM(tiny_config(**changes), mask_decoder=mask_decoder)
    )
    return model.eval()


# --- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_log_probabilities_equal_recorded_logits(name: str) -> None:
    """The recorded batches read any piece where a target is: it takes the part of [MASK]."""
    folder = REFERENCE / name
    case = read_case(folder)
    model_class: Any = DebertaForMaskedLM if case.family == "v1" else DebertaV2ForMaskedLM
    model = model_class.from_pretrained(folder / PEER_FOLDER)
    assert model.mask_decoder == RECORDED[name]
    ids, keep = case.inputs["input_ids"], case.inputs["attention_mask"]
    labels = case.labels["labels"]
    logits = load_file(folder / RECORDED_FILE)["output.logits"]
    if name.startswith("microsoft"):  # records rows of targets alone
        rows = {place: row for row, place in enumerate(_targets(labels))}
    else:  # rows of real pieces
        rows = {place: row for row, place in enumerate(_targets(keep, least=1))}
    n_compared = 0
    for line, column in _targets(labels):
        first, last = keep[line].index(1), len(keep[line]) - keep[line][::-1].index(1) - 1
        if not first < column < last:
            continue  # in the place of [CLS] or [SEP]
        sequence = ids[line][first : last + 1]
        place = column - first - 1
        tokenizer: Any = SimpleNamespace(
            cls_id=sequence[0], sep_id=sequence[-1], mask_id=ids[line][column], n_pieces=24
        )
        text = np.asarray(sequence[1:-1])
        text[place] = labels[line][column]
        found = MaskedScorer(model, tokenizer).predict(
            [Copy(text, np.asarray([place]), np.asarray([place]))]
        )
        expected = logits[rows[line, column]].double().log_softmax(-1)
        assert found.log_probabilities[0] == pytest.approx(
            expected[labels[line][column]].item(), abs=1e-5
        )
        assert found.right[0] == (int(expected.argmax()) == labels[line][column])
        n_compared += 1
    assert n_compared >= 3


def _targets(rows: Sequence[Sequence[int]], least: int = 0) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(rows) for j, value in enumerate(row) if value >= least]


def slow_score(
    model: DebertaV2ForMaskedLM, tokenizer: Tokenizer, ids: list[int], words: list[int] | None
) -> float:
    """One forward pass of the public model per piece; with words, later pieces are hidden too."""
    total = 0.0
    for place, piece in enumerate(ids):
        hidden = [
            tokenizer.mask_id
            if other == place or (words and other > place and words[other] == words[place])
            else ids[other]
            for other in range(len(ids))
        ]
        sequence = torch.tensor([[tokenizer.cls_id, *hidden, tokenizer.sep_id]])
        with torch.no_grad():
            row: Tensor = model(sequence, prediction_mask=torch.ones_like(sequence)).logits[0]
        odds = row[place + 1].double().exp()
        total += math.log(odds[piece] / odds.sum())
    return total


@pytest.mark.parametrize("mask_decoder", ["emd", "plain", "legacy"])
def test_both_variants_equal_a_slow_loop(
    mask_decoder: str, tiny_tokenizer: UnigramTokenizer
) -> None:
    model = make_model(mask_decoder)
    texts = read_texts([*TEXTS, "Unquietly reopened, Marie."], tiny_tokenizer)
    scores = pseudo_log_likelihoods(texts, MaskedScorer(model, tiny_tokenizer, 60))
    n_split = 0
    for text, score in zip(texts, scores, strict=True):
        ids, words = text.ids.tolist(), text.words.tolist()
        for name, given in (("pll", None), ("pll_word_l2r", words)):
            expected = slow_score(model, tiny_tokenizer, ids, given)
            assert score.totals[name] == pytest.approx(expected, abs=1e-4)
        is_split = len(set(words)) < len(words)
        assert is_split == (abs(score.totals["pll"] - score.totals["pll_word_l2r"]) > 1e-3)
        n_split += is_split
    assert 0 < n_split < len(texts)


def test_the_order_of_copies_and_the_size_of_batches_change_nothing(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    model, texts = make_model(), read_texts(TEXTS, tiny_tokenizer)
    copies = hide_words(texts, None, share=0.5)
    assert len(copies) == len(texts)
    expected = MaskedScorer(model, tiny_tokenizer, 10_000).predict(copies)
    alone = MaskedScorer(model, tiny_tokenizer, 1)
    found = [alone.predict([copy]) for copy in copies]
    values = np.concatenate([one.log_probabilities for one in found])
    np.testing.assert_allclose(values, expected.log_probabilities, atol=1e-5)
    assert len(expected.right) == sum(len(copy.targets) for copy in copies)
    assert np.array_equal(np.concatenate([one.right for one in found]), expected.right)


def test_the_same_text_scores_the_same_to_the_last_bit(tiny_tokenizer: UnigramTokenizer) -> None:
    texts = read_texts([TEXTS[0], TEXTS[1], TEXTS[0]], tiny_tokenizer)
    first, _, again = pseudo_log_likelihoods(texts, MaskedScorer(make_model(), tiny_tokenizer))
    assert first.totals == again.totals


def test_a_tokenizer_of_another_model_is_refused(tiny_tokenizer: UnigramTokenizer) -> None:
    with pytest.raises(
        ConfigError, match=r"found vocab_size=40, expected at least the 35\d pieces"
    ):
        MaskedScorer(make_model(vocab_size=40), tiny_tokenizer)
    with pytest.raises(ConfigError, match="batch_pieces=0: expected at least 1"):
        MaskedScorer(make_model(), tiny_tokenizer, 0)


# --- where scorers come from ---------------------------------------------------------------------


@pytest.mark.parametrize("mask_decoder", ["emd", "plain", "legacy"])
def test_checkpoints_of_every_decoder_are_opened(
    mask_decoder: str, tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    model = make_model(mask_decoder)
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save(tmp_path)
    scorer, tokenizer = open_masked_lm(str(tmp_path))
    assert scorer.model.mask_decoder == mask_decoder
    texts = read_texts(TEXTS, tokenizer)
    expected = pseudo_log_likelihoods(texts, MaskedScorer(model, tiny_tokenizer))
    found = pseudo_log_likelihoods(texts, scorer)
    assert [score.totals for score in found] == [score.totals for score in expected]
    same, _ = open_masked_lm(str(tmp_path))
    drawn, _ = open_random(str(tmp_path), seed=0)
    again, _ = open_random(str(tmp_path), seed=0)
    other, _ = open_random(str(tmp_path), seed=1)
    assert drawn.model.mask_decoder == mask_decoder
    assert scorer.checksum() == same.checksum()
    assert drawn.checksum() == again.checksum()
    assert len({scorer.checksum(), drawn.checksum(), other.checksum()}) == 3


def test_a_checkpoint_without_a_head_has_only_controls(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "bare", tiny_tokenizer)
    with pytest.raises(CheckpointError, match="holds no masked-LM head"):
        open_masked_lm(str(folder))
    assert open_random(str(folder), seed=0)[0].model.mask_decoder == "emd"


def test_unigram_counts_pieces_in_files(tiny_source: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the river\n\nthe the garden\n", encoding="utf-8")
    scorer, tokenizer = open_unigram(str(tiny_source), [file, file])
    (text,) = read_texts(["the garden"], tokenizer)
    pieces = [piece for line in ("the river", "the the garden") for piece in _ids(tokenizer, line)]
    total = 2 * len(pieces) + tokenizer.n_pieces
    expected = sum(math.log((2 * pieces.count(piece) + 1) / total) for piece in text.ids)
    (score,) = pseudo_log_likelihoods([text], scorer)
    assert score.totals["pll"] == score.totals["pll_word_l2r"] == pytest.approx(expected)
    with pytest.raises(DataError, match="no text to count pieces in"):
        open_unigram(str(tiny_source), [])


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids.tolist()
    return ids


def test_a_device_that_is_not_there_is_named(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    make_model().save_pretrained(tmp_path)
    tiny_tokenizer.save(tmp_path)
    for device in ("abacus", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device='{device}': torch cannot use it here"):
            open_masked_lm(str(tmp_path), ScorerOptions(device=device))


def test_the_most_frequent_piece_is_right_for_unigram() -> None:
    scorer = UnigramScorer(np.asarray([0, 7, 2]))
    places = np.arange(3)
    found = scorer.predict([Copy(np.asarray([1, 2, 1]), places, places)])
    assert found.right.tolist() == [True, False, True]
    np.testing.assert_allclose(np.exp(found.log_probabilities), [8 / 12, 3 / 12, 8 / 12])
