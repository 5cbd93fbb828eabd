"""Zero-shot classification as `transformers` 4.57.6 has it: cuts, guessed labels, order of ties."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.batching import Row
from spacy_deberta.decoding import NliLabels
from spacy_deberta.errors import TokenizerError

if TYPE_CHECKING:
    from spacy_deberta.modeling import DebertaTokenizer


def hf_row(tokenizer: DebertaTokenizer, text: str, hypothesis: str, place: Any) -> Row:
    """The pair, its first text cut at the tokenizer's limit; whole if that would not suffice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cut silently
        try:
            found = tokenizer(text, hypothesis, truncation="only_first")
        except TokenizerError:
            found = tokenizer(text, hypothesis, truncation=False)
    return Row(found["input_ids"], found["token_type_ids"], place)


def hf_nli_labels(names: Sequence[str]) -> NliLabels:
    """Entailment by its name, else the last label; contradiction the first, else the last."""
    found = (n for n, name in enumerate(names) if name.lower().startswith("entail"))
    entailment = next(found, -1)
    if entailment < 0:
        warnings.warn(
            f"no label of {list(names)} begins with 'entail': the last one is taken for it. "
            "Without hf_compat, entailment_label= names it.",
            UserWarning,
            stacklevel=2,
        )
    return NliLabels(entailment, -1 if entailment == 0 else 0)


def hf_order(scores: Any) -> list[int]:
    """Best first; ties the other way round."""
    order: list[int] = np.argsort(scores)[::-1].tolist()
    return order
