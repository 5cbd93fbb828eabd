"""Docs that a component cuts out of those of the update, such as spaCy's entity_linker.

They are other Docs than the encoder read, so their listener gets a run of the encoder for them
alone, as the listeners of `thinc_layers/sequences.py` do, and sends its gradient all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.thinc_layers.types import Heard


def are_parts(docs: Sequence[Doc], of: Sequence[Doc]) -> bool:
    """Whether the text of every Doc is part of the text of another."""
    wholes = [doc.text for doc in of]
    return all(any(doc.text in whole for whole in wholes) for doc in docs)


def hear_parts(
    model: Model[Any, Any],
    docs: Sequence[Doc],
    places: tuple[Sequence[int], Any],
    report: Callable[[Callable[[], float]], None],
) -> Heard:
    """Run the encoder on such Docs, for training.

    Args:
        model: of the encoder component.
        docs: the parts.
        places: layers to encode, and the columns of their rows that the listener hears.
        report: takes the backward of the run.
    """
    from spacy_deberta.thinc_layers.transformer import encode_for_update

    layers, columns = places
    rows, backprop = encode_for_update(model, docs, layers)
    xp = model.ops.xp

    def take(d_rows: list[Floats2d], factor: float) -> None:
        def backward() -> float:
            whole = [xp.zeros_like(row) for row in rows]
            for gradient, d in zip(whole, d_rows, strict=True):
                gradient[:, columns] = d * factor
            if factor:
                backprop(whole)
            return float(sum((gradient**2).sum() for gradient in whole))

        report(backward)

    return Heard([xp.ascontiguousarray(row[:, columns]) for row in rows], take)
