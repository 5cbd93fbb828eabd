"""The side of the encoder component that listeners, and spaCy's linking, see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.components import linking
from spacy_deberta.components.backward import BackwardProtocol
from spacy_deberta.components.doc_data import stored_layers, stored_rows
from spacy_deberta.components.parts import hear_parts
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.listeners import listener_state, listener_width
from spacy_deberta.thinc_layers.types import EncodedDoc, Heard, Wanted


class ListenedTo:
    """What `spacy.ty.ListenedToComponent` and `RowSource` ask of a component.

    Attributes:
        listener_map: layers that listen, by the name of their component.
    """

    name: str
    model: Model[list[Doc], list[Floats2d]]
    vocab: Vocab
    listener_map: dict[str, list[Model[Any, Any]]]
    _backward: BackwardProtocol

    def _encode(self, docs: list[Doc], wanted: Wanted) -> list[EncodedDoc]:
        """Run the encoder without a graph."""
        from spacy_deberta.thinc_layers.transformer import encode

        if not self._backward.is_open_for(docs):
            self._backward.settle_waiting()
        return encode(self.model, docs, wanted)

    @property
    def width(self) -> int:
        """Width of a token row."""
        from spacy_deberta.thinc_layers.transformer import prepare

        prepare(self.model)
        return self.model.get_dim("nO")

    @property
    def n_layers(self) -> int:
        """Number of the last layer; the embeddings are layer 0."""
        from spacy_deberta.thinc_layers.transformer import prepare

        return prepare(self.model).encoder.config.num_hidden_layers

    @property
    def listeners(self) -> list[Model[Any, Any]]:
        """The layers that listen to this encoder."""
        return [listener for listeners in self.listener_map.values() for listener in listeners]

    @property
    def listening_components(self) -> list[str]:
        """Names of the components these layers belong to."""
        return list(self.listener_map)

    def add_listener(self, listener: Model[Any, Any], component_name: str) -> None:
        """Let a layer of a component listen to this encoder, and to no other of its pipeline."""
        linking.add_listener(self, listener, component_name)
        if self.model.has_dim("nO"):
            self._set_width(listener)

    def remove_listener(self, listener: Model[Any, Any], component_name: str) -> bool:
        """Forget a layer of a component; False if it was not known."""
        return linking.remove_listener(self, listener, component_name)

    def find_listeners(self, component: Any) -> None:
        """Add the listeners of a later component that name this encoder, or any.

        Language calls it for every encoder in pipeline order, so "*" ends with the nearest one.
        """
        for listener in linking.find_listeners(self, component):
            self.add_listener(listener, component.name)

    def rows_for(self, docs: Sequence[Doc], layers: Sequence[int] | None = None) -> list[Floats2d]:
        """Token rows: those this encoder left on the Docs; it runs on Docs without any.

        Args:
            docs: the Docs.
            layers: those whose rows are wanted, side by side; None = the last one.
        """
        wanted = [self.n_layers] if layers is None else layers
        found = [self._stored(doc) for doc in docs]
        missing = [n for n, rows in enumerate(found) if not rows.keys() >= set(wanted)]
        if missing:
            others = tuple(sorted({*wanted} - {self.n_layers}))
            fresh = self._encode([docs[n] for n in missing], Wanted(others))
            for number, encoded in zip(missing, fresh, strict=True):
                found[number] = encoded.by_layer(self.n_layers)
        return [self._side_by_side(rows, wanted) for rows in found]

    def _stored(self, doc: Doc) -> dict[int, Floats2d]:
        """Rows by layer that this encoder left on a Doc."""
        rows = stored_rows(doc, self.name)
        return {} if rows is None else {**stored_layers(doc, self.name), self.n_layers: rows}

    def _side_by_side(self, rows: dict[int, Floats2d], layers: Sequence[int]) -> Floats2d:
        """(n_tokens, columns) of some layers; not copied if it is one."""
        ops = self.model.ops
        chosen = [ops.asarray2f(rows[layer]) for layer in layers]
        return chosen[0] if len(chosen) == 1 else ops.xp.concatenate(chosen, axis=1)

    def listen(self, listener: Model[Any, Any], docs: Sequence[Doc]) -> Heard | None:
        """Token rows of the open update; None if it has neither these Docs nor their text."""
        layers = linking.layers_in_use(self)
        columns = linking.columns_of(listener, self, layers)
        if self._backward.is_open_for(docs):
            return self._backward.listen(listener.id, docs, columns)
        report = self._backward.lend(listener.id, docs)
        return None if report is None else hear_parts(self.model, docs, (layers, columns), report)

    def waits_for(self, listener: Model[Any, Any]) -> bool:
        """Whether the open update has no report of this listener yet."""
        return self._backward.waits_for(listener.id)

    def lend(self, listener: Model[Any, Any]) -> Callable[[Callable[[], float]], None] | None:
        """Let a listener run the encoder itself; None if no update waits for it."""
        return self._backward.lend(listener.id)

    def _set_width(self, listener: Model[Any, Any]) -> None:
        state = listener_state(listener)
        if state is not None:
            listener.set_dim("nO", listener_width(listener, self), force=True)
        elif listener.get_dim("nO") != self.width:
            raise PipelineError(
                f"a {listener.name} of '{self.name}' has width={listener.get_dim('nO')}, but this "
                f"encoder has width {self.width}. Set it to that, or use the architecture "
                "spacy-deberta.DebertaListener.v1, which finds it out."
            )
