"""Fill-mask as `transformers` 4.57.6 does it, for `hf_compat=True`.

Targets are single pieces: one of the vocabulary by its own name, or else the first piece of the
word. Probabilities are those of all rows of the output layer; `sequence` is decoded from pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.mask_texts import MaskedText, check_masks
from pipelines.records import FillResult
from spacy_deberta.errors import InputError, OptionError
from spacy_deberta.modeling import DebertaTokenizer, DebertaV2Tokenizer

FRAME = 2  # [CLS] and [SEP]


def check_top_k(top_k: int, n_rows: int) -> None:
    """Refuse more candidates than the output layer has rows; `transformers` crashes there."""
    if top_k > n_rows:
        raise OptionError(f"top_k={top_k}: the output layer has {n_rows} rows; ask for fewer.")


def read_as_hf(
    text: str, tokenizer: DebertaTokenizer, targets: object, settings: Mapping[str, Any]
) -> MaskedText:
    """A text, cut off if `settings` ask for it, and the targets' pieces.

    Raises:
        InputError: no mask is left, or no target.
    """
    pieces = tokenizer.core.encode(text, specials=not tokenizer.split_special_tokens)
    places = np.flatnonzero(pieces.ids == tokenizer.mask_token_id).tolist()
    check_masks(places, text)
    ids = pieces.ids.astype(np.int64)
    if settings.get("truncation"):
        limit = settings.get("max_length") or int(tokenizer.model_max_length)
        ids = ids[: max(0, limit - FRAME)]
    places = [place for place in places if place < len(ids)]
    if not places:
        raise InputError(f"no [MASK] in the first {len(ids)} pieces, the only ones that are read.")
    words = None if targets is None else (target_pieces(tokenizer, targets),) * len(places)
    spans = tuple((int(pieces.starts[place]), int(pieces.ends[place])) for place in places)
    return MaskedText(text, ids, tuple(places), spans, words, ())


def target_pieces(tokenizer: DebertaTokenizer, targets: object) -> tuple[tuple[int], ...]:
    """One piece for each target; those without any are left out.

    Raises:
        InputError: there is none.
    """
    given = [targets] if isinstance(targets, str) else targets
    vocabulary = tokenizer.get_vocab()
    found: dict[int, None] = {}
    for target in given if isinstance(given, Sequence) else ():
        known = vocabulary.get(target)
        ids = tokenizer.tokenize(target) if known is None else ()
        pieces = [known] if known is not None else tokenizer.convert_tokens_to_ids(ids[:1])
        found.update(dict.fromkeys(pieces))
    if not found:
        raise InputError("targets: at least one must be provided when passed.")
    return tuple((number,) for number in sorted(found))


def hf_texts(
    item: MaskedText, mask: int, piece: int, tokenizer: DebertaTokenizer
) -> tuple[str, str]:
    """`token_str` and `sequence` of a candidate."""
    ids = item.ids.tolist()
    ids[item.places[mask]] = piece
    framed = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    kept = [number for number in framed if number != tokenizer.pad_token_id]
    if len(item.places) == 1:
        special = set(tokenizer.all_special_ids)
        kept = [number for number in kept if number not in special]
    return join_pieces(tokenizer, [piece]), join_pieces(tokenizer, kept)


def join_pieces(tokenizer: DebertaTokenizer, ids: Sequence[int]) -> str:
    """A text from pieces as the fast tokenizers of `transformers` join them.

    Numbers without a piece are nothing, and spaces stand where pieces have their mark; the slow
    tokenizers, and `tokenizer.decode`, put one behind special pieces, too.
    """
    known = [number for number in ids if number < tokenizer.core.n_pieces]
    if not isinstance(tokenizer, DebertaV2Tokenizer):
        return tokenizer.decode(known)
    marker = tokenizer.core.space_marker
    names = tokenizer.convert_ids_to_tokens(known)
    rest = (name.replace(marker, " ") for name in names[1:])
    return "".join([*(name.replace(marker, "") for name in names[:1]), *rest])


def nest_as_hf(record: FillResult) -> list[Any]:
    """The candidates of the one mask of a text; of several, a list for each."""
    found = [[fill.to_dict() for fill in mask.fills] for mask in record.masks]
    return found[0] if len(found) == 1 else found
