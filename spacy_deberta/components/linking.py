"""Which layers of later components listen to an encoder: ours, and spaCy's own Tok2VecListener.

A Tok2VecListener cannot ask. It is sent rows and a callback at the encoder's update, and reads
`doc.tensor` in prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.components.backward import ALL_COLUMNS, Columns
from spacy_deberta.thinc_layers.listeners import ANY, listener_state
from spacy_deberta.thinc_layers.types import Heard, RowSource


class Encoder(RowSource, Protocol):
    """The component, as far as linking is concerned."""

    listener_map: dict[str, list[Model[Any, Any]]]


def find_listeners(encoder: Encoder, component: Any) -> Iterator[Model[Any, Any]]:
    """Layers of a component that are to listen to this encoder."""
    model = getattr(component, "model", None)
    for node in model.walk() if isinstance(model, Model) else ():
        state = listener_state(node)
        if state is not None:
            if state.meet(encoder):
                yield node
            else:  # it may have been renamed
                state.unbind(encoder)
        elif isinstance(node, Tok2VecListener) and node.upstream_name in (ANY, encoder.name):
            yield node


def add_listener(encoder: Encoder, listener: Model[Any, Any], component: str) -> None:
    """Let a layer of a component listen to this encoder, and to no other of its pipeline."""
    state = listener_state(listener)
    if state is not None:
        for other in state.bind(encoder):
            other.remove_listener(listener, component)
    listeners = encoder.listener_map.setdefault(component, [])
    if not any(known is listener for known in listeners):
        listeners.append(listener)


def layers_in_use(encoder: Encoder) -> tuple[int, ...]:
    """Layers below the last one that listeners want, ascending."""
    wanted: set[int] = set()
    for listeners in encoder.listener_map.values():
        for state in map(listener_state, listeners):
            if state is not None and state.layers is not None:
                wanted.update(state.layer_numbers(encoder))
    return tuple(sorted(wanted - {encoder.n_layers})) if wanted else ()


def columns_of(listener: Model[Any, Any], encoder: Encoder, layers: Sequence[int]) -> Columns:
    """The columns of a listener in rows of some layers and, at the end, of the last one."""
    state = listener_state(listener)
    if state is None or state.layers is None:
        return slice(len(layers) * encoder.width, None) if layers else ALL_COLUMNS
    places = [*layers, encoder.n_layers]
    starts = [places.index(number) * encoder.width for number in state.layer_numbers(encoder)]
    return [start + column for start in starts for column in range(encoder.width)]


def remove_listener(encoder: Encoder, listener: Model[Any, Any], component: str) -> bool:
    """Forget a layer of a component; False if it was not known."""
    known = encoder.listener_map.get(component, [])
    kept = [other for other in known if other is not listener]
    if kept:
        encoder.listener_map[component] = kept
    else:
        encoder.listener_map.pop(component, None)
    return len(kept) < len(known)


def send_rows(
    listeners: Iterable[Model[Any, Any]],
    docs: Sequence[Doc],
    listen: Callable[[Model[Any, Any]], Heard | None],
) -> Callable[[], None]:
    """Send the rows of an update to each Tok2VecListener.

    Returns:
        A function that takes them back, for the end of the update.
    """
    sent = [node for node in listeners if isinstance(node, Tok2VecListener)]
    for node in sent:
        heard = listen(node)
        if heard is not None:
            node.receive(Tok2VecListener.get_batch_id(docs), heard.rows, _backprop(heard))

    def take_back() -> None:
        for node in sent:
            node.receive(None, None, None)  # type: ignore[arg-type]  # its state at first

    return take_back


def _backprop(heard: Heard) -> Callable[[list[Floats2d]], list[Any]]:
    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        heard.report(d_rows, 1.0)
        return []

    return backprop
