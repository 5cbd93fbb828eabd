"""Token classification as `transformers` 4.57.6 does it: its pieces, words, groups and windows.

Kept for comparison; the module `ner` says what is wrong with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import decoders

from pipelines.compat_offsets import fast_offsets
from pipelines.ner_options import NerOptions
from pipelines.ner_texts import NerItem, Units, join_words
from pipelines.records import Entity, PieceTag
from spacy_deberta.errors import OptionError
from spacy_deberta.tokenizers import Pieces, Tokenizer, TruncationWarning, UnigramTokenizer

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[Any]
Group = dict[str, Any]

_WORD_STRATEGIES = ("first", "average", "max")
_N_SPECIAL = 2


def check_options(options: NerOptions) -> None:
    """Refuse what `transformers` does not have, or refuses itself.

    Raises:
        OptionError: an aggregation of ours, or windows of pieces that are not grouped.
    """
    if options.aggregation == "logmean":
        raise OptionError("aggregation='logmean' is not of transformers; use hf_compat=False.")
    if options.overlap is not None and options.aggregation == "none":
        raise OptionError(
            "stride with aggregation_strategy='none': transformers refuses it; use 'simple', "
            "'first', 'average' or 'max', or hf_compat=False."
        )


def compat_item(
    given: str | Sequence[str], core: Tokenizer, options: NerOptions, declared_length: int | None
) -> NerItem:
    """Pieces with the offsets of fast tokenizers, cut off at the declared length.

    Raises:
        OptionError: words for byte-level BPE, which `transformers` refuses.
    """
    check_options(options)
    if isinstance(given, str):
        text, parts, shifts = given, [given], [0]
    else:
        if not isinstance(core, UnigramTokenizer):
            raise OptionError(
                "is_split_into_words with a v1 tokenizer: transformers refuses it unless it was "
                "made with add_prefix_space=True; use hf_compat=False."
            )
        text, word_starts, _ = join_words(given, options.delimiter)
        parts, shifts = list(given), word_starts.tolist()
    columns: list[npt.NDArray[Any]] = [np.zeros((3, 0), dtype=np.int32)]
    for part, shift in zip(parts, shifts, strict=True):
        pieces = core.encode(part, specials=True)
        if len(pieces):
            found = fast_offsets(core, part)
            columns.append(np.stack([pieces.ids, found.starts + shift, found.ends + shift]))
    block = np.concatenate(columns, axis=1).astype(np.int32)
    if options.overlap is None and declared_length is not None:
        block = _cut(block, declared_length - _N_SPECIAL)
    none = np.zeros(0, dtype=np.int64)
    return NerItem(text, Pieces(*block), Units(none, none, none, none, none))


def compat_window(item: NerItem, first: int, logits: Floats, core: Tokenizer) -> list[Group]:
    """The pieces of a window, with the scores of all tags.

    Args:
        item: the text.
        first: number of the window's first piece.
        logits: (n + 2, K) of the window, special pieces included.
        core: the tokenizer.
    """
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores = (weights / weights.sum(axis=-1, keepdims=True))[1:-1]
    found = []
    for place, row in enumerate(scores):
        id_ = int(item.pieces.ids[first + place])
        start, end = int(item.pieces.starts[first + place]), int(item.pieces.ends[first + place])
        goes_on = start > 0 and " " not in item.text[start - 1 : start + 1]
        is_unknown = id_ == core.unk_id
        found.append(
            {
                "word": item.text[start:end] if is_unknown else core.piece(id_),
                "scores": row,
                "start": start,
                "end": end,
                "index": place + 1,
                "goes_on": goes_on and not is_unknown,
            }
        )
    return found


def compat_groups(
    pieces: Sequence[Group], tags: Sequence[str], options: NerOptions, core: Tokenizer
) -> list[Group]:
    """The results of one window: pieces, or groups of them."""
    strategy = options.strategy(hf_compat=True)
    decoder = decoders.Metaspace() if isinstance(core, UnigramTokenizer) else decoders.ByteLevel()
    if strategy in _WORD_STRATEGIES:
        units = [_word(word, tags, strategy, decoder) for word in _words(pieces)]
    else:
        units = [_tagged(piece, piece["scores"], tags) for piece in pieces]
    if strategy != "none":
        units = [_group(group, decoder) for group in _runs(units)]
    return [unit for unit in units if unit["label"] not in options.ignore_labels]


def merge_as_hf(windows: Sequence[Sequence[Group]]) -> list[Group]:
    """Results of all windows: of those that overlap the longest stays, then the best."""
    found = [group for groups in windows for group in groups]
    if len(windows) < 2 or not found:  # noqa: PLR2004
        return found
    found.sort(key=lambda group: group["start"])
    kept = []
    best = found[0]
    for group in found:
        if best["start"] <= group["start"] < best["end"]:
            if _rank(group) > _rank(best):
                best = group
        else:
            kept.append(best)
            best = group
    return [*kept, best]


def record_of(group: Group) -> Entity | PieceTag:
    """A result as our record."""
    own = {name: group[name] for name in ("label", "start", "end")}
    score = float(group["score"])
    if "index" in group:
        return PieceTag(piece=group["word"], index=group["index"], score=score, **own)
    return Entity(text=group["word"], score=score, **own)


def _cut(block: npt.NDArray[np.int32], room: int) -> npt.NDArray[np.int32]:
    if block.shape[1] > room:
        warnings.warn(
            f"{block.shape[1] - room} of {block.shape[1]} pieces are cut off, as transformers does "
            "without a stride; give stride, or use hf_compat=False.",
            TruncationWarning,
            stacklevel=2,
        )
    return block[:, :room]


def _words(pieces: Sequence[Group]) -> list[list[Group]]:
    """Pieces in words, by the space test of `transformers`."""
    words: list[list[Group]] = []
    for piece in pieces:
        if words and piece["goes_on"]:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _word(pieces: Sequence[Group], tags: Sequence[str], strategy: str, decoder: Any) -> Group:
    if strategy == "average":
        scores = np.nanmean(np.stack([piece["scores"] for piece in pieces]), axis=0)
    elif strategy == "max":
        scores = max(pieces, key=lambda piece: piece["scores"].max())["scores"]
    else:
        scores = pieces[0]["scores"]
    word = decoder.decode([piece["word"] for piece in pieces])
    whole = {"word": word, "start": pieces[0]["start"], "end": pieces[-1]["end"]}
    return _tagged(whole, scores, tags)


def _tagged(unit: Group, scores: Floats, tags: Sequence[str]) -> Group:
    """A piece or word with its best tag."""
    best = int(scores.argmax())
    kept: Group = {n: unit[n] for n in ("word", "start", "end", "index") if n in unit}
    return {**kept, "label": tags[best], "score": scores[best]}


def _runs(units: Sequence[Group]) -> list[list[Group]]:
    """Neighbours of one type; a tag with B begins a new run, any other may go on."""
    runs: list[list[Group]] = []
    for unit in units:
        begins, kind = _split(unit["label"])
        if runs and not begins and _split(runs[-1][-1]["label"])[1] == kind:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    return runs


def _split(label: str) -> tuple[bool, str]:
    if label.startswith(("B-", "I-")):
        return label.startswith("B-"), label[2:]
    return False, label


def _group(units: Sequence[Group], decoder: Any) -> Group:
    return {
        "label": units[0]["label"].split("-", 1)[-1],
        "score": np.mean(np.nanmean([unit["score"] for unit in units])),
        "word": decoder.decode([unit["word"] for unit in units]),
        "start": units[0]["start"],
        "end": units[-1]["end"],
    }


def _rank(group: Group) -> tuple[int, Any]:
    return group["end"] - group["start"], group["score"]
