"""Spans with a score on a Doc: `doc.spans[key]` with `attrs["scores"]`, and `span._.deberta_score`.

The scores stand beside the spans as a plain list, so they survive `to_bytes`, `DocBin` and worker
processes; the extension looks them up and stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from spacy.tokens import Doc, Span, SpanGroup, Token

SCORES = "scores"
EXTENSION = "deberta_score"


def store_spans(doc: Doc, key: str, spans: Sequence[Span], scores: Sequence[float]) -> None:
    """Set `doc.spans[key]` and its scores."""
    doc.spans[key] = SpanGroup(doc, name=key, attrs={SCORES: list(scores)}, spans=list(spans))


BLOCKED_IOB = 3  # of `ent_iob`: an entity begins; without a type, none may


def add_entities(doc: Doc, spans: Sequence[Span]) -> None:
    """Add entities to a Doc; those it has stay, and so do tokens that are blocked.

    Args:
        doc: the Doc.
        spans: of those that overlap, the first is added.
    """
    blocked = [doc[token.i : token.i + 1] for token in doc if is_blocked(token)]
    taken = {token.i for span in (*doc.ents, *blocked) for token in span}
    fresh = []
    for span in spans:
        if taken.isdisjoint(range(span.start, span.end)):
            fresh.append(span)
            taken.update(range(span.start, span.end))
    doc.set_ents([*doc.ents, *fresh], blocked=blocked, default="outside")


def is_blocked(token: Token) -> bool:
    """Whether a token is marked by `doc.set_ents(blocked=...)` as one that no entity may have."""
    return token.ent_iob == BLOCKED_IOB and not token.ent_type


def span_score(span: Span) -> float | None:
    """The score of a span with this label, from whichever group of its Doc holds it.

    Returns:
        None if no group with scores holds it.
    """
    for group in span.doc.spans.values():
        scores = group.attrs.get(SCORES)
        if scores is None or len(scores) != len(group):
            continue
        for other, score in zip(group, scores, strict=True):
            found = (other.start, other.end, other.label)
            if found == (span.start, span.end, span.label):
                return float(score)
    return None


def register_extension() -> None:
    """Make `span._.deberta_score` available."""
    if not Span.has_extension(EXTENSION):
        Span.set_extension(EXTENSION, getter=span_score)
