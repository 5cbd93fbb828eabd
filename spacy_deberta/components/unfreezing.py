"""Gradual unfreezing: an encoder is trained from its last layer down, some steps later each.

Source: Howard and Ruder 2018 (arXiv:1801.06146), 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from spacy.language import Language

from spacy_deberta.errors import ConfigError, PipelineError

BeforeUpdate = Callable[[Language, dict[str, Any]], None]


def build_unfreezing(
    first_step: int = 0,
    steps_per_layer: int = 100,
    layers: Optional[int] = None,  # noqa: UP045  (as in every registered function of spaCy)
    component: Optional[str] = None,  # noqa: UP045
) -> BeforeUpdate:
    """A [training.before_update], registered as `spacy-deberta.unfreeze_gradually.v1`.

    Args:
        first_step: before it the encoder is frozen; from it on, its last layer is trained.
        steps_per_layer: after so many steps each, the layer below is trained, too; at the end the
            embeddings. 0 = all at once.
        layers: how many layers are trained in the end; null = all, and the embeddings.
        component: name of the encoder component; null = every encoder.

    Raises:
        ConfigError: a negative number.
    """
    numbers = {"first_step": first_step, "steps_per_layer": steps_per_layer, "layers": layers or 0}
    for name, number in numbers.items():
        if number < 0:
            raise ConfigError(f"{name}={number} is negative; expected 0 or more.")

    def unfreeze(nlp: Language, progress: dict[str, Any]) -> None:
        n_layers = _n_trained(progress["step"] - first_step, steps_per_layer)
        if layers is not None:
            n_layers = layers if n_layers is None else min(n_layers, layers)
        for encoder in _encoders(nlp, component):
            encoder.train_last(n_layers)

    return unfreeze


def _n_trained(n_steps: int, steps_per_layer: int) -> int | None:
    """Layers to train so many steps after the first one; None = everything."""
    if n_steps < 0:
        return 0
    return 1 + n_steps // steps_per_layer if steps_per_layer else None


def _encoders(nlp: Language, name: str | None) -> list[Any]:
    from spacy_deberta.components.transformer import DebertaTransformer

    there = {n: pipe for n, pipe in nlp.pipeline if isinstance(pipe, DebertaTransformer)}
    if not there or (name is not None and name not in there):
        listing = ", ".join(f"'{found}'" for found in there) or "none"
        raise PipelineError(
            f"unfreeze_gradually: component={name!r}, but the encoders in the pipeline are: "
            f"{listing}. Name one of them, or null for every encoder."
        )
    return list(there.values()) if name is None else [there[name]]
