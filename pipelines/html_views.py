"""Fragments of a report: one input and its result, for each task.

Everything that comes from outside goes through `shown`.
"""

from __future__ import annotations

import html
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_UNWRITABLE = re.compile("[\ud800-\udfff\x80-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_GOLDEN = 137  # degrees: hues of neighbours in a list differ
_BEST_HUE = 45

_MOST_BARS = 12
_CELLS = 96  # of a strip of features
_PAIR = 2


@dataclass(frozen=True)
class Highlight:
    """A part of a text that stands out.

    Attributes:
        start: first character.
        end: one behind the last.
        hue: 0 to 359.
        tag: what stands behind it, escaped; "" = nothing.
        best: it stands out more than the others.
    """

    start: int
    end: int
    hue: int
    tag: str = ""
    best: bool = False


def shown(value: object) -> str:
    """Any text as HTML that shows it and does nothing: control characters are made visible."""
    text = _CONTROLS.sub(lambda found: chr(0x2400 + min(ord(found[0]), 0x21)), str(value))
    return html.escape(_UNWRITABLE.sub("\ufffd", text), quote=True)


def hue_of(label: str) -> int:
    """A colour that a label has in every report."""
    return zlib.crc32(label.encode("utf-8", "surrogatepass")) * _GOLDEN % 360


def input_text(given: Any) -> str:
    """The text of an input, whatever it is: a string, words, a Doc, or fields."""
    if isinstance(given, str):
        return given
    if isinstance(getattr(given, "text", None), str):
        return str(given.text)
    if isinstance(given, Mapping):
        for name in ("text", "context", "sequence", "question", "input"):
            if isinstance(given.get(name), str):
                return str(given[name])
            if name == "text" and isinstance(given.get(name), list):  # words
                return input_text(given[name])
    if isinstance(given, list | tuple) and all(isinstance(word, str) for word in given):
        return " ".join(given)
    return str(given)


def highlight(text: str, marks: Iterable[Highlight]) -> str:
    """A text with parts marked; of parts that overlap, the first stays."""
    parts, place = [], 0
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        if not place <= mark.start <= mark.end <= len(text):
            continue
        css = ' class="best"' if mark.best else ""
        tag = f' <span class="tag">{mark.tag}</span>' if mark.tag else ""
        inner = f"<bdi>{shown(text[mark.start : mark.end])}</bdi>{tag}"
        parts += [
            shown(text[place : mark.start]),
            f'<mark{css} style="--h:{mark.hue}">{inner}</mark>',
        ]
        place = mark.end
    css = "passage marked" if len(parts) else "passage"
    return f'<p class="{css}" dir="auto">{"".join(parts)}{shown(text[place:])}</p>'


def bars(rows: Sequence[tuple[str, float]], *, tops: Sequence[int] = (0,)) -> str:
    """Names with their scores as bars.

    Args:
        rows: name and score, 0 to 1, of each.
        tops: numbers of the rows that are set off.
    """
    parts = []
    for number, (name, score) in enumerate(rows):
        css = " top" if number in tops else ""
        parts.append(
            f'<span class="name{css}" dir="auto">{shown(name) or "&nbsp;"}</span>'
            f'<span class="bar"><i class="{css.strip()}" style="--p:{_percent(score)}"></i></span>'
            f'<span class="value{css}">{_number(score)}</span>'
        )
    return f'<div class="rows">{"".join(parts)}</div>'


def show_entities(given: Any, result: Any) -> str:
    """A text with its entities, or with its tagged pieces."""
    found = result if isinstance(result, list) else [result]
    text = input_text(given)
    marks = [
        Highlight(
            int(entity["start"]),
            int(entity["end"]),
            hue_of(_bare(entity)),
            f"{shown(label_of(entity))}<small>{_number(entity['score'])}</small>",
        )
        for entity in found
    ]
    return highlight(text, marks) + ("" if found else '<p class="note">No entities.</p>')


def show_classes(given: Any, result: Any) -> str:
    """A text or pair, and the scores of its labels, best first."""
    rows = sorted(_label_scores(result), key=lambda row: -row[1])
    named = set(result["labels"]) if _is_classified(result) else {rows[0][0]}
    is_zero_shot = isinstance(result, dict) and "sequence" in result
    body = _passage(result["sequence"]) if is_zero_shot else _texts(given)
    if len(rows) == 1 and not 0 <= rows[0][1] <= 1:  # a regression: no share of anything
        return f'{body}<p class="verdict">{shown(rows[0][0])} <b>{_number(rows[0][1])}</b></p>'
    tops = [number for number, row in enumerate(rows) if row[0] in named]
    more = len(rows) - _MOST_BARS
    note = f'<p class="note">and {more} more labels</p>' if more > 0 else ""
    return body + bars(rows[:_MOST_BARS], tops=tops) + note


def show_answers(given: Any, result: Any) -> str:
    """A question, its context with the answers marked, and their scores."""
    question, contexts = _question(given)
    answers = [one for one in result.get("nbest", [result])] if isinstance(result, dict) else result
    parts = [f'<h2 dir="auto">{shown(question)}</h2>']
    best = answers[0] if answers else {}
    for number, context in enumerate(contexts):
        marks = [
            Highlight(one["start"], one["end"], _BEST_HUE, best=one is best)
            for one in answers
            if one["answer"] and one.get("context_index", 0) == number
        ]
        parts.append(highlight(context, marks))
    rows = [(one["answer"] or "no answer", float(one["score"])) for one in answers]
    return "".join(parts) + bars(rows)


def show_masks(given: Any, result: Any) -> str:
    """A text with its masks, and the candidates of each."""
    if not (isinstance(result, dict) and "masks" in result):
        listed = result if isinstance(result, list) else [result]
        groups = listed if listed and isinstance(listed[0], list) else [listed]
        masks = [bars([(row["token_str"], row["score"]) for row in group]) for group in groups]
        return _passage(input_text(given)) + "".join(masks)
    text, parts, place = result["text"], [], 0
    for mask in result["masks"]:
        word = mask["fills"][0]["token_str"] if mask["fills"] else text[mask["start"] : mask["end"]]
        slot = f'<bdi class="slot">{shown(word)}</bdi>'
        parts += [shown(text[place : mask["start"]]), slot]
        place = mask["end"]
    body = f'<p class="passage" dir="auto">{"".join(parts)}{shown(text[place:])}</p>'
    groups = [[(f["token_str"], f["score"]) for f in mask["fills"]] for mask in result["masks"]]
    titles = [f"<h3>Mask {n + 1}</h3>" if len(groups) > 1 else "" for n in range(len(groups))]
    lists = [f"<section>{t}{bars(g)}</section>" for t, g in zip(titles, groups, strict=True)]
    if result.get("joint"):
        joint = [(" … ".join(fill["texts"]), fill["score"]) for fill in result["joint"]]
        lists.append(f"<section><h3>Together</h3>{bars(joint)}</section>")
    return f'{body}<div class="masks">{"".join(lists)}</div>'


def show_choice(given: Any, result: Any) -> str:
    """A question or context, and its choices."""
    parts = []
    if isinstance(given, Mapping):
        shown_names = ("context", "article", "question", "text", "premise", "goal", "sentence")
        texts = [given[name] for name in shown_names if isinstance(given.get(name), str)]
        parts = [_passage(text) for text in texts] or [_passage(input_text(given))]
    else:
        parts = [_passage(given[0] if isinstance(given, tuple) else input_text(given))]
    rows = list(zip(result["choices"], result["scores"], strict=True))
    return "".join(parts) + bars(rows, tops=[result["index"]])


def show_features(given: Any, result: Any) -> str:
    """A text, how large its features are, and the first row as a strip of colours."""
    rows = result["vectors"] if isinstance(result, dict) else result
    while rows and rows[0] and isinstance(rows[0][0], list):  # transformers' nesting
        rows = rows[0]
    first = [float(value) for value in rows[0][:_CELLS]] if rows else []
    largest = max(map(abs, first), default=0.0) or 1.0
    cells = "".join(
        f'<i style="--h:{205 if value < 0 else 20};--a:{abs(value) / largest:.2f}"></i>'
        for value in first
    )
    size = f"{len(rows)} rows of {len(rows[0]) if rows else 0} numbers; the first of them above"
    return (
        f'{_passage(input_text(given))}<div class="strip">{cells}</div><p class="note">{size}</p>'
    )


def show_failure(given: Any, result: Mapping[str, Any]) -> str:
    """An input that failed, and why."""
    beginning = result.get("preview") or input_text(given)[:80]
    return (
        f"<p><b>{shown(result['error_type'])}</b> {shown(result['message'])}</p>"
        f"<code>{shown(beginning)}</code>"
    )


VIEWS: dict[str, Callable[[Any, Any], str]] = {
    "feature-extraction": show_features,
    "fill-mask": show_masks,
    "multiple-choice": show_choice,
    "question-answering": show_answers,
    "text-classification": show_classes,
    "token-classification": show_entities,
    "zero-shot-classification": show_classes,
}


def labels_of(task: str, result: Any) -> list[str]:
    """The labels that a result counts for in the summary of a report."""
    if task == "token-classification":
        return [_bare(entity) for entity in result]
    if task not in ("text-classification", "zero-shot-classification"):
        return []
    if _is_classified(result):
        return [str(label) for label in result["labels"]]
    rows = _label_scores(result)
    return [max(rows, key=lambda row: row[1])[0]] if len(rows) > 1 else []


def label_of(entity: Mapping[str, Any]) -> str:
    """The label of an entity, or the tag of a piece."""
    return str(entity.get("entity_group", entity.get("entity", "")))


def _label_scores(result: Any) -> list[tuple[str, float]]:
    if isinstance(result, dict) and "sequence" in result:
        return list(zip(map(str, result["labels"]), result["scores"], strict=True))
    listed = result if isinstance(result, list) else result.get("scores", [result])
    return [(str(row["label"]), float(row["score"])) for row in listed]


def _is_classified(result: Any) -> bool:
    """Whether it says which labels hold, and has the scores of all."""
    return isinstance(result, dict) and "labels" in result and "sequence" not in result


def _bare(entity: Mapping[str, Any]) -> str:
    label = label_of(entity)
    return label[2:] if label[1:2] == "-" and "entity" in entity else label


def _texts(given: Any) -> str:
    """One passage, or the two of a pair."""
    if isinstance(given, Mapping):
        pair = (given.get("text", given.get("text_a")), given.get("text_pair", given.get("text_b")))
        texts = [text for text in pair if text is not None]
        return "".join(map(_passage, texts)) or _passage(input_text(given))
    if isinstance(given, tuple) and len(given) == _PAIR:
        return "<h3>and</h3>".join(map(_passage, given))
    return _passage(input_text(given))


def _question(given: Any) -> tuple[str, list[str]]:
    if isinstance(given, Mapping):
        contexts = given.get("contexts", given.get("context", ""))
        question = given.get("question", "")
    elif isinstance(given, tuple) and len(given) == _PAIR:
        question, contexts = given
    else:
        question, contexts = getattr(given, "question_text", ""), input_text(given)
    listed = contexts if isinstance(contexts, list | tuple) else [contexts]
    return str(question), [input_text(context) for context in listed]


def _passage(text: object) -> str:
    return f'<p class="passage" dir="auto">{shown(text)}</p>'


def _percent(score: object) -> str:
    value = float(score) if isinstance(score, int | float) else 0.0
    return f"{100 * min(1.0, max(0.0, value if math.isfinite(value) else 0.0)):.1f}%"


def _number(score: object) -> str:
    value = float(score) if isinstance(score, int | float) else math.nan
    if 0 < abs(value) < 0.0005:  # noqa: PLR2004 - would read 0.000
        return "&lt; 0.001" if value > 0 else "&gt; -0.001"
    return f"{value:.3f}"
