"""Prediction, micro-batch by micro-batch, against the one graph of training."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from spacy.tokens import Doc
from torch import Tensor, nn

from spacy_deberta.encoder import POOLINGS, pool_rows
from spacy_deberta.thinc_layers import wrapper
from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.thinc_layers.types import EncoderBatch, EncoderSettings
from spacy_deberta.thinc_layers.windows import pack_docs
from spacy_deberta.thinc_layers.wrapper import encode_batch, predict_batch
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, make_docs

WINDOW = 12
WIDTH = 4
LONG_TOKEN = "riverwindow" * 20
RAGGED = ("", *TEXTS, " \n ", " ".join(TEXTS * 3), "", f"the {LONG_TOKEN} crossed", "\t", "a")


class FakeEncoder(nn.Module):
    """Every piece has a row that depends on its number and on its place in the window alone."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=WIDTH)
        self.table = nn.Parameter(
            torch.randn(512, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
        )

    def forward(self, ids: Tensor, lengths: Sequence[int]) -> Any:
        places = torch.cat([torch.arange(length) for length in lengths])
        return SimpleNamespace(last_hidden_state=self.table[ids] - self.table[places])


def pack(tokenizer: UnigramTokenizer, docs: Sequence[Doc], budget: int) -> EncoderBatch:
    settings = EncoderSettings(WINDOW, WINDOW // 2, "mean", budget)
    return pack_docs(split_docs(tokenizer, docs), tokenizer, settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("budget", [1, 25, 60, 10_000])
def test_prediction_is_bit_for_bit_the_one_graph_of_training(
    tiny_tokenizer: UnigramTokenizer, pooling: str, budget: int, dtype: torch.dtype
) -> None:
    encoder: Any = FakeEncoder(dtype)
    docs = make_docs(RAGGED)
    whole = encode_batch(encoder, pack(tiny_tokenizer, docs, 10_000), pooling)

    per_doc = predict_batch(encoder, pack(tiny_tokenizer, docs, budget), pooling)

    assert [len(rows) for rows in per_doc] == [len(doc) for doc in docs]
    assert all(rows.dtype == torch.float32 and not rows.requires_grad for rows in per_doc)
    assert torch.equal(torch.cat(per_doc), whole)


def test_tokens_are_split_between_micro_batches_in_these_tests(
    tiny_tokenizer: UnigramTokenizer,
) -> None:
    batch = pack(tiny_tokenizer, make_docs(RAGGED), 25)

    assert batch.rows_per_token.max() > 2 * WINDOW
    assert (batch.rows_per_token == 0).any()
    split = [part.split for part in wrapper.micro_batches(batch)]
    assert len(set().union(*split)) > 3
    assert sum(map(len, split)) > 2 * len(set().union(*split))


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n\n"], ["", " ", ""]])
def test_docs_without_pieces_have_rows_of_zeros(
    tiny_tokenizer: UnigramTokenizer, texts: list[str]
) -> None:
    encoder: Any = FakeEncoder()
    docs = make_docs(texts)

    per_doc = predict_batch(encoder, pack(tiny_tokenizer, docs, 25), "mean")

    assert [rows.tolist() for rows in per_doc] == [[[0.0] * WIDTH] * len(doc) for doc in docs]


@pytest.mark.parametrize("copies", [1, 20])
def test_prediction_holds_the_piece_rows_of_one_micro_batch(
    tiny_tokenizer: UnigramTokenizer, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """Row 14."""
    encoder: Any = FakeEncoder()
    budget, seen, held = 60, [], []
    add = wrapper._TokenRows.add

    def pool_and_note(rows: Tensor, *others: Any) -> Tensor:
        seen.append(len(rows))
        return pool_rows(rows, *others)

    def add_and_note(found: Any, *arguments: Any) -> None:
        add(found, *arguments)
        held.append(sum(len(rows) for part in found._unfinished.values() for rows in part))

    monkeypatch.setattr("spacy_deberta.encoder.pool_rows", pool_and_note)
    monkeypatch.setattr(wrapper._TokenRows, "add", add_and_note)
    (doc,) = make_docs([" ".join(TEXTS * copies)])

    predict_batch(encoder, pack(tiny_tokenizer, [doc], budget), "mean")

    assert len(held) > copies
    assert max(seen) <= budget
    assert max(held) < WINDOW  # what is there of one token
    assert held[-1] == 0


def test_each_doc_has_rows_in_memory_of_its_own(tiny_tokenizer: UnigramTokenizer) -> None:
    encoder: Any = FakeEncoder()

    per_doc = predict_batch(encoder, pack(tiny_tokenizer, make_docs(TEXTS), 60), "mean")

    sizes = [rows.untyped_storage().nbytes() for rows in per_doc]
    assert sizes == [rows.numel() * rows.element_size() for rows in per_doc]
    assert len({rows.untyped_storage().data_ptr() for rows in per_doc}) == len(TEXTS)


@pytest.mark.parametrize("budget", [25, 10_000])
def test_each_micro_batch_has_its_tokens_and_their_pieces(
    tiny_tokenizer: UnigramTokenizer, budget: int
) -> None:
    batch = pack(tiny_tokenizer, make_docs(RAGGED), budget)

    found: dict[int, list[int]] = {}
    for part in wrapper.micro_batches(batch):
        assert part.lengths.sum() == len(part.ids)
        pieces = np.split(part.ids[part.index], np.cumsum(part.rows_per_token)[:-1])
        for token, ids in zip(part.tokens.tolist(), pieces, strict=True):
            found.setdefault(token, []).extend(ids.tolist())

    ends = np.cumsum(batch.rows_per_token)[:-1]
    wanted = [ids.tolist() for ids in np.split(batch.ids[batch.index], ends)]
    assert [found.get(token, []) for token in range(len(wanted))] == wanted
