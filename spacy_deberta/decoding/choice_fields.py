"""The choices and the right answer of a question, as data sets spell them.

choices: ["a", "b"]                                  most
choices: {"text": ["a", "b"], "label": ["A", "B"]}   ARC, OpenBookQA, CommonsenseQA on the hub
question: {"stem": ..., "choices": [{"text": "a", "label": "A"}, ...]}   their own files
endings, options, choice, answers: ["a", "b"]        HellaSwag, RACE, DREAM, ReClor
ending0, ending1, ...; sol1, sol2; answerA, answerB; choice1, ...; option1, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spacy_deberta.errors import InputError

Fields = Mapping[str, Any]

_LISTS = ("choices", "endings", "options", "choice", "answers")
_NUMBERED = ("ending", "answer", "sol", "choice", "option")
_GOLD = ("label", "answerKey", "answer", "gold")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MIN_CHOICES = 2


@dataclass(frozen=True)
class NamedChoices:
    """The choices of one question.

    Attributes:
        texts: of each choice.
        names: what an answer key calls each; empty = nothing is said about it.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()


def read_choices(fields: Fields) -> NamedChoices:
    """The choices of one question, in whatever way its data set writes them.

    Raises:
        InputError: there are none, fewer than two, or something else than text.
    """
    question = fields.get("question")
    nested = question.get("choices") if isinstance(question, Mapping) else None
    given = next((fields[key] for key in _LISTS if _is_listed(fields.get(key))), nested)
    found = _numbered(fields) if given is None else _listed(given)
    if len(found.texts) < _MIN_CHOICES:
        raise InputError(
            f"choices: found {len(found.texts)} among the fields {_names(fields)}, expected two or "
            "more. Give them as choices=[...], or name the data set's format."
        )
    return found


def read_gold(fields: Fields, choices: NamedChoices, first: int = 0) -> int | None:
    """The number of the right choice; None where the fields do not say it.

    Args:
        fields: of one question; label, answerKey, answer or gold are looked at.
        choices: of the same question.
        first: what the data set calls its first choice, 0 or 1, where it counts.

    Raises:
        InputError: the answer is none of the choices.
    """
    key = next((key for key in _GOLD if fields.get(key) not in (None, "", -1)), None)
    if key is None:
        return None
    value = str(fields[key]).strip()
    known = {name: number for number, name in enumerate(choices.names)}
    known |= {} if known else _counted(len(choices.texts), 1 if key == "answerKey" else first)
    texts = {text: number for number, text in enumerate(choices.texts)}
    found = known.get(value, texts.get(value))
    if found is None:
        raise InputError(
            f"{key}={fields[key]!r}: expected one of {', '.join(known)}, or a choice's own text, "
            f"for {len(choices.texts)} choices."
        )
    return found


def text_field(fields: Fields, *names: str) -> str:
    """The first of these fields that is there, as text.

    Raises:
        InputError: none is, or it is no text.
    """
    for name in names:
        value = fields.get(name)
        if isinstance(value, Mapping):
            value = value.get("stem")
        if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
            value = "\n".join(value)
        if value is not None:
            return _as_text(name, value)
    raise InputError(
        f"{' or '.join(names)}: not among the fields {_names(fields)}. Add it, or name the format "
        "that the fields belong to."
    )


def _counted(n_choices: int, first: int) -> dict[str, int]:
    """Numbers and letters of the choices."""
    numbers = {str(number + first): number for number in range(n_choices)}
    return numbers | {letter: number for number, letter in enumerate(_LETTERS[:n_choices])}


def _is_listed(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _listed(value: Any) -> NamedChoices:  # noqa: ANN401 - any JSON
    """From a list of texts, a list of {text, label}, or {text: [...], label: [...]}."""
    if isinstance(value, Mapping):
        texts, names = value.get("text", ()), value.get("label", ())
    elif any(isinstance(choice, Mapping) for choice in value):
        rows = [choice if isinstance(choice, Mapping) else {"text": choice} for choice in value]
        texts = [row.get("text") for row in rows]
        names = [row["label"] for row in rows if "label" in row]
    else:
        texts, names = value, ()
    read = tuple(_as_text(f"choices[{place}]", text) for place, text in enumerate(texts))
    return NamedChoices(read, tuple(map(str, names)) if len(names) == len(read) else ())


def _numbered(fields: Fields) -> NamedChoices:
    """From fields that are counted from 0, from 1 or from A."""
    for family in _NUMBERED:
        for suffixes in (range(len(fields)), range(1, len(fields) + 1), _LETTERS):
            names = [f"{family}{suffix}" for suffix in suffixes]
            n_there = next((n for n, name in enumerate(names) if name not in fields), len(names))
            if n_there >= _MIN_CHOICES:
                return NamedChoices(tuple(_as_text(name, fields[name]) for name in names[:n_there]))
    return NamedChoices(())


def _as_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: found {type(value).__name__}, expected text.")
    return value


def _names(fields: Fields) -> str:
    shown: Sequence[str] = [str(name) for name in fields]
    return ", ".join(shown) or "(none)"
