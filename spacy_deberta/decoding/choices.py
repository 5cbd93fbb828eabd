"""Multiple choice: what the model reads of each choice, and what its logits mean.

A question becomes one pair of texts per choice, [CLS] A [SEP] B [SEP], in the way its data set is
usually read; `FORMATS` is the table. The logits of its pairs compete in one softmax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.decoding.choice_fields import Fields, read_choices, read_gold, text_field
from spacy_deberta.decoding.classes import activate
from spacy_deberta.errors import InputError

Pairs = list[tuple[str, str]]

RACE_LIMIT = 160  # pieces of question and option; microsoft/DeBERTa, race_task.py
LONG = ("head", "tail", "window")  # what is read of a context that is too long
N_SPECIAL = 3  # [CLS] A [SEP] B [SEP]

_WINDOW_STEP = 0.75  # of the room of a window: a quarter of it overlaps


@dataclass(frozen=True)
class ChoiceTexts:
    """What a model reads of one question.

    Attributes:
        pairs: context and choice, one pair per choice.
        choices: the choices as they were given.
        gold: number of the right one; None where it is not known.
        second_limit: most pieces of a pair's second text; None = as many as there are.
    """

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    gold: int | None = None
    second_limit: int | None = None


@dataclass(frozen=True)
class ChoiceFormat:
    """How the questions of a data set are read.

    Attributes:
        keys: fields that tell the format; of several alternatives "a|b" one is needed.
        pairs: the fields and the choices to texts A and B.
        first: what the data set calls its first choice, where it counts.
        second_limit: most pieces of B.
    """

    keys: tuple[str, ...]
    pairs: Callable[[Fields, Sequence[str]], Pairs]
    first: int = 0
    second_limit: int | None = None

    def fits(self, fields: Fields) -> bool:
        """Whether the fields are those of this format."""
        return all(any(name in fields for name in key.split("|")) for key in self.keys)


@dataclass(frozen=True)
class PairFrame:
    """The row of a pair: special pieces, length, and what to do with a context that is too long.

    Attributes:
        cls_id: number of [CLS].
        sep_id: number of [SEP].
        limit: most pieces of a row, special ones included.
        long: "head" or "tail" of the context is read, or all of it in "window"s.
    """

    cls_id: int
    sep_id: int
    limit: int
    long: str = "head"


@dataclass(frozen=True, eq=False)
class PairRow:
    """One row for the model.

    Attributes:
        ids: [CLS] A [SEP] B [SEP].
        types: 0 for A and the special pieces around it, 1 for B and its [SEP].
        n_cut: pieces of the context that no row of the pair has.
    """

    ids: list[int]
    types: list[int]
    n_cut: int = 0


def choice_formats() -> tuple[str, ...]:
    """The names of all formats."""
    return tuple(FORMATS)


def read_question(fields: Fields, format: str = "auto", *, cloze: bool = False) -> ChoiceTexts:
    """The texts of one question.

    Args:
        fields: of one row of a data set, or context, question and choices.
        format: a name in FORMATS; "auto" = the first one there whose fields are given.
        cloze: fill the option into the "_" of a RACE question, instead of putting it behind.

    Raises:
        InputError: the fields are not those of the format, or the format is unknown.
    """
    if not isinstance(fields, Mapping):
        raise InputError(
            f"found {type(fields).__name__}, expected the fields of a question as a dict, "
            '{"context": ..., "choices": [...]}.'
        )
    chosen = _choose(fields, format)
    choices = read_choices(fields)
    pairs = chosen.pairs(fields, choices.texts)
    if cloze and chosen.pairs is _article:
        pairs = _cloze(fields, choices.texts)
    gold = read_gold(fields, choices, chosen.first)
    return ChoiceTexts(tuple(pairs), choices.texts, gold, chosen.second_limit)


def lay_pair(first: Sequence[int], second: Sequence[int], frame: PairFrame) -> list[PairRow]:
    """The rows of one pair: one, or several windows over its context.

    Only the context is ever cut: choices that were cut could become equal.

    Args:
        first: pieces of the context.
        second: pieces of the choice.
        frame: what is put around them.

    Raises:
        InputError: the choice leaves no room for any context.
    """
    room = frame.limit - N_SPECIAL - len(second)
    if room < min(1, len(first)) or room < 0:
        raise InputError(
            f"a choice of {len(second)} pieces leaves no room for its context in rows of "
            f"{frame.limit}. Give a greater max_length, or shorter choices."
        )
    n_over = max(0, len(first) - room)
    starts = [0]
    if n_over and frame.long == "tail":
        starts = [n_over]
    elif n_over and frame.long == "window":
        starts = [*range(0, n_over, max(1, int(room * _WINDOW_STEP))), n_over]
    n_cut = n_over if len(starts) == 1 else 0
    rows = [_row(first[start : start + room], second, frame) for start in starts]
    return [PairRow(row.ids, row.types, n_cut) for row in rows]


def choice_probabilities(
    logits: npt.NDArray[np.floating] | Sequence[float], temperature: float = 1.0
) -> npt.NDArray[np.floating]:
    """Softmax over the choices of one question.

    Args:
        logits: (C,).
        temperature: above 1 makes the distribution flatter.

    Returns:
        (C,), adding up to 1.
    """
    return activate(np.asarray(logits, dtype=np.float64) / temperature, "softmax")


def _choose(fields: Fields, format: str) -> ChoiceFormat:
    if format != "auto":
        if format not in FORMATS:
            raise InputError(f"format={format!r}: expected auto, {', '.join(FORMATS)}.")
        return FORMATS[format]
    found = next((known for known in FORMATS.values() if known.fits(fields)), None)
    if found is None:
        raise InputError(
            f"the fields {', '.join(map(str, fields)) or '(none)'} belong to no known format. Give "
            f"context=... and choices=[...], or format= one of {', '.join(FORMATS)}."
        )
    return found


def _row(first: Sequence[int], second: Sequence[int], frame: PairFrame) -> PairRow:
    ids = [frame.cls_id, *map(int, first), frame.sep_id, *map(int, second), frame.sep_id]
    n_first = len(first) + 2  # [CLS] and [SEP]
    return PairRow(ids, [0] * n_first + [1] * (len(ids) - n_first))


# --- the formats: fields and choices to texts A and B ---------------------------------------------


def _plain(fields: Fields, choices: Sequence[str]) -> Pairs:
    context = text_field(fields, "context", "text", "prompt", "question")
    return [(context, choice) for choice in choices]


def _endings(fields: Fields, choices: Sequence[str]) -> Pairs:
    context = text_field(fields, "sent1", "ctx_a", "ctx")
    begun = fields.get("sent2", fields.get("ctx_b", "") if "ctx_a" in fields else "")
    return [(context, f"{begun} {choice}".strip()) for choice in choices]


def _article(fields: Fields, choices: Sequence[str]) -> Pairs:
    article, question = _article_of(fields), text_field(fields, "question")
    return [(article, _one_space(f"{question} {choice}")) for choice in choices]


def _cloze(fields: Fields, choices: Sequence[str]) -> Pairs:
    article, question = _article_of(fields), text_field(fields, "question")
    if "_" not in question:
        return _article(fields, choices)
    return [(article, _one_space(question.replace("_", choice))) for choice in choices]


def _article_of(fields: Fields) -> str:
    return _one_space(text_field(fields, "article", "dialogue", "context"))


def _copa(fields: Fields, choices: Sequence[str]) -> Pairs:
    premise, asked = text_field(fields, "premise"), text_field(fields, "question")
    if asked not in ("cause", "effect"):
        raise InputError(f"question={asked!r}: expected cause or effect.")
    link = {"cause": "because", "effect": "so"}[asked]
    return [(premise, f"{link} {choice[:1].lower()}{choice[1:]}") for choice in choices]


def _piqa(fields: Fields, choices: Sequence[str]) -> Pairs:
    return [(text_field(fields, "goal"), choice) for choice in choices]


def _siqa(fields: Fields, choices: Sequence[str]) -> Pairs:
    situation = f"{text_field(fields, 'context')} {text_field(fields, 'question')}"
    return [(situation, choice) for choice in choices]


def _question(fields: Fields, choices: Sequence[str]) -> Pairs:
    question = text_field(fields, "question", "question_stem")
    fact = text_field(fields, "fact", "fact1") if "fact" in fields or "fact1" in fields else ""
    return [(f"{fact} {question}".strip(), choice) for choice in choices]


def _winogrande(fields: Fields, choices: Sequence[str]) -> Pairs:
    sentence = text_field(fields, "sentence")
    before, gap, after = sentence.partition("_")
    if not gap:
        raise InputError(f"sentence={sentence!r}: expected a _ where the option belongs.")
    return [(before + choice, after.strip()) for choice in choices]


def _one_space(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


# The order is that of "auto": what has more of its own fields comes first.
FORMATS: dict[str, ChoiceFormat] = {
    "swag": ChoiceFormat(("sent1",), _endings),
    "hellaswag": ChoiceFormat(("ctx|ctx_a",), _endings),
    "copa": ChoiceFormat(("premise", "choice1"), _copa),
    "piqa": ChoiceFormat(("goal",), _piqa),
    "siqa": ChoiceFormat(("context", "question", "answerA"), _siqa, first=1),
    "winogrande": ChoiceFormat(("sentence", "option1"), _winogrande, first=1),
    "race": ChoiceFormat(("article", "question"), _article, second_limit=RACE_LIMIT),
    "dream": ChoiceFormat(("dialogue", "question"), _article, second_limit=RACE_LIMIT),
    "cosmosqa": ChoiceFormat(("context", "question"), _article, second_limit=RACE_LIMIT),
    "reclor": ChoiceFormat(("context", "question"), _article, second_limit=RACE_LIMIT),
    "openbookqa": ChoiceFormat(("question_stem",), _question),
    "commonsenseqa": ChoiceFormat(("question",), _question),
    "arc": ChoiceFormat(("question",), _question),
    "plain": ChoiceFormat(("context|text|prompt",), _plain),
}
