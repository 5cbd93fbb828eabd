"""Fill-mask: what stands behind [MASK]; whole words as candidates, several masks together."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from spacy.tokens import Doc, Token

from pipelines.base import Nesting, TaskPipeline
from pipelines.batching import Row, collate
from pipelines.compat_fill_mask import check_top_k, hf_texts, nest_as_hf, read_as_hf
from pipelines.inputs import read_text
from pipelines.mask_texts import Frame, MaskedText, Piece, Query, find_masks, read_targets
from pipelines.options import Options, check_choice, check_count, check_lengths, check_mapping
from pipelines.records import Fill, FillResult, JointFill, MaskFill
from pipelines.registry import tasks
from pipelines.running import check_finite
from spacy_deberta.decoding import (
    EXPANSION,
    ChainStep,
    Filling,
    MaskScores,
    Order,
    allowed_pieces,
    best_pieces,
    chain_words,
    entropy,
    fill_jointly,
    log_probabilities,
    relative_shares,
)

EXTENSION = "mask_candidates"

Floats = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Answer = MaskScores | dict[int, float]  # the best pieces; or log p of those asked for


@dataclass(frozen=True, kw_only=True)
class FillMaskOptions(Options):
    """Options of fill-mask.

    Attributes:
        top_k: candidates per mask, and joint fillings.
        targets: words (or `Piece`s) that may fill the masks; None = any piece.
        joint: "beam" fills several masks together; "none" only each for itself.
        beam: partial fillings that the beam keeps.
        order: of the beam: the mask that the model is surest of first ("confidence"), or
            "left_to_right".
        length_norm: score of a target of several pieces: the "sum" of their log probabilities,
            or the "mean".
        tokenizer_kwargs: "truncation" and "max_length", as in `transformers`. Without `hf_compat`
            nothing is cut off, and max_length is the window.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None
    joint: Literal["beam", "none"] = "beam"
    beam: int = 8
    order: Order = "confidence"
    length_norm: Literal["sum", "mean"] = "sum"
    tokenizer_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_count("top_k", self.top_k, 0)  # transformers has 0
        check_count("beam", self.beam)
        check_choice("joint", self.joint, ("beam", "none"))
        check_choice("order", self.order, get_args(Order))
        check_choice("length_norm", self.length_norm, ("sum", "mean"))
        check_mapping("tokenizer_kwargs", self.tokenizer_kwargs, ("truncation", "max_length"))
        check_lengths("tokenizer_kwargs", self.tokenizer_kwargs)
        object.__setattr__(self, "targets", _each(self.targets, _from_json))

    def to_dict(self) -> dict[str, Any]:
        """All values that are not defaults, for pipeline.json; a `Piece` as {"piece": ...}."""
        found = super().to_dict()
        return found | ({"targets": _each(self.targets, _to_json)} if "targets" in found else {})


def _each(targets: Any, change: Callable[[Any], Any]) -> Any:
    """A target, or each of several, changed."""
    if isinstance(targets, list | tuple):
        return type(targets)(change(one) for one in targets)
    return change(targets)


def _to_json(target: Any) -> Any:
    return {"piece": str(target)} if isinstance(target, Piece) else target


def _from_json(target: Any) -> Any:
    if isinstance(target, Mapping) and [*target] == ["piece"] and isinstance(target["piece"], str):
        return Piece(target["piece"])
    return target


@tasks.register("fill-mask")
class FillMaskPipeline(TaskPipeline[str, MaskedText, FillResult]):
    """Fills [MASK] in texts.

    Only the rows of masks go through the mask decoder and the output layer; rows that are no text
    (special pieces, rows beyond the tokenizer) have no probability. A target may be a word of
    several pieces: it is scored as a chain over as many masks. Several masks in a text are filled
    jointly by a beam, beside the candidates of each for itself.
    """

    task: ClassVar[str] = "fill-mask"
    head: ClassVar[str] = "ForMaskedLM"
    options_class: ClassVar[type[Options]] = FillMaskOptions

    def prepare(self, raw: Any, options: FillMaskOptions) -> MaskedText:
        """Find the masks of a text and the pieces of the targets."""
        text, core = read_text(raw), self.tokenizer.core
        if self.hf_compat:
            check_top_k(options.top_k, self.config.vocab_size)
            return read_as_hf(text, self.tokenizer, options.targets, options.tokenizer_kwargs or {})
        check_count("top_k", options.top_k)
        item = find_masks(text, core, read_targets(options.targets))
        lengths = {len(word) for words in item.words or () for word in words}
        if len(lengths) > 1 and options.length_norm == "sum" and "length_norm" not in options.given:
            warnings.warn(
                f"targets have from {min(lengths)} to {max(lengths)} pieces, and longer ones score "
                "lower for their length alone; length_norm='mean' evens that out.",
                UserWarning,
                stacklevel=2,
            )
        return item

    def encode(self, item: MaskedText, options: FillMaskOptions) -> list[Row]:
        """The windows around the masks; for targets of several pieces, one row for each step."""
        return list(self._frame(item, options).rows(item, (None,) * len(item.places)))

    def forward(self, rows: Sequence[Row], options: FillMaskOptions) -> list[Any]:
        """For each row its answers, one for each query of the row."""
        given = collate(rows, self.config.pad_token_id, self.model.device)
        asked = np.zeros(tuple(given["input_ids"].shape), dtype=np.int64)
        for number, row in enumerate(rows):
            asked[number, [query.position for query in row.extra.queries]] = 1
        keep, mask = given.get("attention_mask"), torch.from_numpy(asked).to(self.model.device)
        with torch.no_grad():
            predict: Any = self.model.predict_rows
            found = predict(given["input_ids"], keep, mask)
        check_finite({"logits": found}, lambda: self._first_broken(given))
        log_probs = log_probabilities(found.float().cpu().numpy(), self._text_rows)
        places = {place: at for at, place in enumerate(map(tuple, np.argwhere(asked).tolist()))}
        n_best = EXPANSION * _width(options) if options.joint == "beam" else options.top_k
        return [
            [
                _answer(query, log_probs[places[number, query.position]], n_best)
                for query in row.extra.queries
            ]
            for number, row in enumerate(rows)
        ]

    def decode(
        self, item: MaskedText, rows: Sequence[Row], results: Sequence[Any], options: Any
    ) -> FillResult:
        """Candidates of each mask, and joint fillings of all."""
        first = self._gather(item, rows, results, options)[(None,) * len(item.places)]
        scores = [first[mask] for mask in range(len(item.places))]
        masks = tuple(
            MaskFill(*item.spans[mask], tuple(self._fills(item, mask, scores[mask], options.top_k)))
            for mask in range(len(scores))
        )
        windows = len({row.extra.queries[0].mask for row in rows})
        joint: tuple[JointFill, ...] = ()
        if not self.hf_compat and (options.joint == "beam" or len(scores) == 1):
            joint = tuple(self._fill_jointly(item, scores, options))
        return FillResult(item.text, masks, joint, windows)

    def to_hf(self, records: Sequence[Any], options: Any, nesting: Nesting) -> Any:
        """Lists of candidates; one more around those of several masks; one text alone is bare."""
        shaped = [nest_as_hf(record) for record in records]
        return shaped if nesting == "list" and len(shaped) != 1 else shaped[0]

    def annotate_doc(self, doc: Doc, record: FillResult, options: Any) -> None:
        """Write `token._.mask_candidates`: words and probabilities, best first."""
        if not Token.has_extension(EXTENSION):
            Token.set_extension(EXTENSION, default=())
        for mask in record.masks:
            middle = (mask.start + mask.end) // 2  # spaCy may have split "[", "MASK", "]"
            found = [(fill.text, fill.score) for fill in mask.fills]
            for token in doc.char_span(middle, middle + 1, alignment_mode="expand") or ():
                token._.set(EXTENSION, found)

    # One text

    def _frame(self, item: MaskedText, options: FillMaskOptions) -> Frame:
        core = self.tokenizer.core
        chosen = (options.tokenizer_kwargs or {}).get("max_length") or self.max_length
        length = len(item.ids) + 2 if self.hf_compat else chosen
        return Frame(core.cls_id, core.sep_id, core.mask_id, length - 2)

    def _gather(
        self, item: MaskedText, rows: Sequence[Row], results: Sequence[Any], options: Any
    ) -> dict[Filling, dict[int, MaskScores]]:
        """Scores of each open mask of each filling, from the answers of all rows."""
        found: dict[Filling, dict[int, MaskScores]] = defaultdict(dict)
        chains: dict[tuple[Filling, int], dict[ChainStep, dict[int, float]]] = defaultdict(dict)
        for row, answers in zip(rows, results, strict=True):
            for query, answer in zip(row.extra.queries, answers, strict=True):
                if isinstance(answer, MaskScores):
                    found[row.extra.filling][query.mask] = answer
                else:
                    chains[row.extra.filling, query.mask][query.step] = answer
        mean = options.length_norm == "mean"
        for (filling, mask), steps in chains.items():
            assert item.words is not None
            found[filling][mask] = chain_words(item.words[mask], steps, mean=mean)
        return found

    def _fill_jointly(
        self, item: MaskedText, first: Sequence[MaskScores], options: FillMaskOptions
    ) -> Iterable[JointFill]:
        frame = self._frame(item, options)

        def score(fillings: Sequence[Filling]) -> list[dict[int, MaskScores]]:
            rows = [row for filling in fillings for row in frame.rows(item, filling)]
            results = self.run_batches(rows, options)
            found = self._gather(item, rows, results, options)
            return [found[filling] for filling in fillings]

        found = fill_jointly(first, score, width=_width(options), order=options.order)
        for one in found[: options.top_k]:
            texts = [self._text(item, mask, word) for mask, word in enumerate(one.pieces)]
            sequence = _replace(item.text, item.spans, texts)
            yield JointFill(tuple(texts), math.exp(one.log_prob), sequence)

    def _fills(self, item: MaskedText, mask: int, scores: MaskScores, top_k: int) -> Iterable[Fill]:
        candidates = scores.candidates
        log_probs = [candidate.log_prob for candidate in candidates]
        shares = relative_shares(log_probs) if item.words is not None else [None] * len(log_probs)
        for candidate, share in list(zip(candidates, shares, strict=True))[:top_k]:
            score = math.exp(candidate.log_prob)
            if self.hf_compat:
                text, sequence = hf_texts(item, mask, candidate.pieces[0], self.tokenizer)
            else:
                text = self._text(item, mask, candidate.pieces)
                sequence = _replace(item.text, item.spans[mask : mask + 1], [text])
            yield Fill(text, candidate.pieces, score, share, sequence)

    def _text(self, item: MaskedText, mask: int, word: tuple[int, ...]) -> str:
        """A target as the caller wrote it, or pieces as a text."""
        if item.words is not None:
            return str(item.names[mask][word])
        return self.tokenizer.core.decode(word).strip()

    @cached_property
    def _text_rows(self) -> Bool | None:
        """The pieces that are text; None = everything counts, as in `transformers`."""
        if self.hf_compat:
            return None
        core = self.tokenizer.core
        names = [core.piece(number) for number in range(core.n_pieces)]
        special = {name for name, added in core.added.items() if added.special}
        return allowed_pieces(self.config.vocab_size, names, special)


def _width(options: FillMaskOptions) -> int:
    """Fillings that the beam keeps: no fewer than are returned."""
    return max(options.beam, options.top_k)


def _answer(query: Query, log_probs: Floats, n_best: int) -> Answer:
    """What a row (V,) says to a query."""
    if query.pieces is None:
        return MaskScores(best_pieces(log_probs, n_best), entropy(log_probs))
    return {piece: float(log_probs[piece]) for piece in query.pieces}


def _replace(text: str, spans: Sequence[tuple[int, int]], words: Sequence[str]) -> str:
    """The caller's text with words in place of some masks, and nothing else changed."""
    parts, at = [], 0
    for (start, end), word in zip(spans, words, strict=True):
        parts += [text[at:start], word]
        at = end
    return "".join([*parts, text[at:]])
