"""The rules that released models seldom exercise."""

import io

import numpy as np
import pytest
import sentencepiece

from spacy_deberta.tokenizers import UnigramTokenizer
from spacy_deberta.tokenizers.spans import attach_empty, piece_shapes


def test_shapes_measure_bytes_unknown_and_space_pieces() -> None:
    pieces = ["[UNK]", "▁", "▁the", "s▁", "<0x41>", "<0xE2>", "<0x98>"]
    shapes = piece_shapes(pieces, [False] * 4 + [True] * 3, unk_id=0)
    assert shapes.advance.tolist() == [0, 1, 4, 2, 1, 1, 0]
    assert shapes.width.tolist() == [5, 1, 4, 2, 1, 1, 1]
    assert shapes.lead.tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert shapes.trail.tolist() == [0, 0, 0, 1, 0, 0, 0]


def test_empty_span_takes_the_next_one_of_its_own_text() -> None:
    starts = np.array([0, 0, 3, 5, 5, 1], dtype=np.int32)
    ends = np.array([0, 2, 3, 5, 7, 4], dtype=np.int32)
    attach_empty(starts, ends, np.array([0, 3, 3, 6]))  # texts of 3, 0 and 3 pieces
    assert starts.tolist() == [0, 0, 3, 5, 5, 1]
    assert ends.tolist() == [2, 2, 3, 7, 7, 4]


@pytest.mark.parametrize("as_suffix", [False, True])
def test_models_that_keep_or_suffix_spaces_have_trimmed_spans(as_suffix: bool) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the  old river and a new mountain "] * 20),
        model_writer=model,
        vocab_size=290,
        hard_vocab_limit=False,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        treat_whitespace_as_suffix=as_suffix,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3,
        pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
        minloglevel=2,
    )  # fmt: skip
    tokenizer = UnigramTokenizer(model.getvalue())
    text = "  the   river ½  "
    pieces = tokenizer.encode(text)
    assert (pieces.starts <= pieces.ends).all()
    assert (pieces.ends <= len(text)).all()
    surfaces = [text[a:b] for a, b in zip(pieces.starts, pieces.ends, strict=True)]
    assert all(surface == surface.strip() for surface in surfaces)
    covered = {
        i
        for a, b in zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
        for i in range(a, b)
    }
    assert "".join(text[i] for i in sorted(covered)) == "theriver½"
