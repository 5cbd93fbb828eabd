"""Spans with a score on a Doc: `doc.spans[key]` with `attrs["scores"]`, and `span._.deberta_score`.

The scores stand beside the spans as a plain list, so they survive `to_bytes`, `DocBin` and worker
processes; the extension looks them up and stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from spacy.tokens import Doc, Span, SpanGroup

SCORES = "scores"
EXTENSION = "deberta_score"


def store_spans(doc: Doc, key: str, spans: Sequence[Span], scores: Sequence[float]) -> None:
    """Set `doc.spans[key]` and its scores."""
    doc.spans[key] = SpanGroup(doc, name=key, attrs={SCORES: list(scores)}, spans=list(spans))


def add_entities(doc: Doc, spans: Sequence[Span]) -> None:
    """Add entities to a Doc; those it has stay, and so do tokens marked as being outside of any."""
    taken = {token for entity in doc.ents for token in range(entity.start, entity.end)}
    fresh = [span for span in spans if taken.isdisjoint(range(span.start, span.end))]
    doc.set_ents([*doc.ents, *fresh], default="outside")


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
