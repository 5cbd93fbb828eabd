"""Text classification as `transformers` 4.57.6 has it: its inputs, cuts and nesting."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.batching import Row
from pipelines.records import Regression
from spacy_deberta.alignment import Frame, lay_text
from spacy_deberta.errors import InputError

if TYPE_CHECKING:
    from pipelines.text_classification import ClassificationOptions, TextClassificationPipeline
    from spacy_deberta.modeling import DebertaTokenizer

_PAIR = 2
_SPECIAL = 3  # pieces of a pair


def is_legacy_pair(raw: Any) -> bool:
    """Whether this is [["a", "b"]], its old form of a pair."""
    return (
        isinstance(raw, list)
        and len(raw) == 1
        and isinstance(raw[0], list)
        and len(raw[0]) == _PAIR
        and all(isinstance(text, str) for text in raw[0])
    )


def check_compat(raw: Any) -> None:
    """Refuse a tuple, of which `transformers` would judge the first text only.

    Raises:
        InputError: saying how to give a pair, and how several texts.
    """
    if isinstance(raw, tuple):
        raise InputError(
            "a tuple: transformers would judge its first text only. Give a pair as "
            '{"text": "a", "text_pair": "b"}, and several texts as a list.'
        )


def hf_rows(
    tokenizer: DebertaTokenizer,
    first: str,
    second: str | None,
    truncation: bool | str | None,
    max_length: int | None,
) -> list[Row]:
    """One row, of any length unless truncation is asked for; special pieces are read as such."""
    from pipelines.text_classification import Place

    limit = int(max_length or tokenizer.model_max_length) if truncation else None
    if limit is not None and second is not None and truncation in (True, "longest_first"):
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in (first, second)]
        n_first, n_second = _fit_pair(len(ids[0]), len(ids[1]), limit - _SPECIAL)
        frame = Frame(tokenizer.core.cls_id, tokenizer.core.sep_id)
        (row,) = lay_text(np.array(ids[0][:n_first]), np.array(ids[1][:n_second]), frame).rows
        return [Row(row.ids, row.types, Place(1, truncated=False))]
    with warnings.catch_warnings():
        if not truncation:
            warnings.simplefilter("ignore")  # nothing is cut: that is what was asked for
        found = tokenizer(first, second, truncation=truncation or False, max_length=limit)
    return [Row(found["input_ids"], found["token_type_ids"], Place(1, truncated=False))]


def _fit_pair(n_first: int, n_second: int, room: int) -> tuple[int, int]:
    """How many pieces of each text are left: as the fast tokenizers have it, not the slow ones.

    Where both are cut, the longer text keeps the odd piece, and of equal ones the second.
    """
    short, long = sorted((n_first, n_second))
    if short + long <= room:
        return n_first, n_second
    left = short, max(short, room - short)
    if sum(left) > room:
        left = room // 2, room - room // 2
    return left if n_first <= n_second else left[::-1]


def shape_as_hf(
    record: Any, pipeline: TextClassificationPipeline, options: ClassificationOptions
) -> Any:
    """The result of one input; of a single text the call puts it into a list."""
    found = record.values if isinstance(record, Regression) else record.scores
    scores = [one.to_dict() for one in found]
    top_k, is_sorted = _top_k(pipeline, options)
    if top_k == 1 and not is_sorted:
        return max(scores, key=lambda one: one["score"])
    if is_sorted:
        scores.sort(key=lambda one: -one["score"])
    return scores if top_k is None else scores[:top_k]


def _top_k(
    pipeline: TextClassificationPipeline, options: ClassificationOptions
) -> tuple[int | None, bool]:
    """How many labels, and whether they are sorted: return_all_scores leaves them as they are."""
    top_k: int | None = 1
    is_sorted = False
    for given, values in ((pipeline.given, pipeline.options), (options.given, options)):
        if "top_k" in given:
            top_k, is_sorted = values.top_k, True
        elif "return_all_scores" in given and values.return_all_scores is not None:
            warnings.warn(
                "return_all_scores is deprecated; top_k=None gives all scores, sorted.",
                DeprecationWarning,
                stacklevel=2,
            )
            top_k = None if values.return_all_scores else 1
    return top_k, is_sorted
