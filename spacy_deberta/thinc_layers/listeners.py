"""The layer through which a component uses the rows of an encoder earlier in the pipeline."""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.types import RowSource

ANY = "*"  # upstream: the nearest encoder before the component


@dataclass(eq=False)
class ListenerState:
    """What a listener knows; copied and pickled with its model, without the encoder.

    Attributes:
        upstream: name of the encoder component, or ANY.
        grad_factor: factor on the gradient that goes to the encoder.
        layers: numbers of the layers it wants, side by side; None = the last one alone.

    A component that was added to a second pipeline by `source=` stands in both, and listens in each
    to that pipeline's encoder: pipelines are told apart by the vocabulary of their Docs.
    """

    upstream: str
    grad_factor: float
    layers: tuple[int, ...] | None = None
    _sources: "list[weakref.ref[RowSource]]" = field(default_factory=list)  # the newest last
    _chosen: "dict[int, weakref.ref[RowSource]]" = field(default_factory=dict)  # by thread
    _met: "list[weakref.ref[RowSource]]" = field(default_factory=list)

    @property
    def source(self) -> RowSource | None:
        """The encoder to listen to: the one this thread last turned to, else the newest."""
        chosen = self._chosen.get(threading.get_ident())
        known = [*_alive(self._sources), *_alive([chosen] if chosen else [])]
        return known[-1] if known else None

    @property
    def names(self) -> list[str]:
        """Names of the encoders before the listener's component."""
        return [source.name for source in _alive(self._met)]

    def meet(self, source: RowSource) -> bool:
        """Take note of an encoder before the component; whether `upstream` stands for it."""
        if not any(known is source for known in _alive(self._met)):
            self._met.append(weakref.ref(source))
        return self.upstream in (ANY, source.name)

    def bind(self, source: RowSource) -> list[RowSource]:
        """Listen to this encoder.

        Returns:
            The encoders of the same pipeline that it listened to before.
        """
        before = _alive(self._sources)
        left = [one for one in before if one is not source and one.vocab is source.vocab]
        kept = [one for one in before if one is not source and one.vocab is not source.vocab]
        self._sources = [weakref.ref(one) for one in (*kept, source)]
        self._chosen = {}
        return left

    def bind_alone(self, source: RowSource) -> None:
        """Listen to this encoder and to no other: a copy, of the original's copied listener."""
        self._sources, self._chosen = [weakref.ref(source)], {}

    def unbind(self, source: RowSource) -> None:
        """Listen no more to this encoder, if it does."""
        self._sources = [weakref.ref(one) for one in _alive(self._sources) if one is not source]
        self._chosen = {}

    def turn_to(self, docs: Sequence[Doc]) -> None:
        """Choose the encoder of the pipeline that these Docs are in, for this thread."""
        if docs and len(self._sources) > 1:
            self._chosen.pop(threading.get_ident(), None)
            for one in _alive(self._sources):
                if one.vocab is docs[0].vocab:
                    self._chosen[threading.get_ident()] = weakref.ref(one)

    def require_source(self) -> RowSource:
        """The encoder, or a PipelineError that names the encoders there are."""
        source = self.source
        if source is None:
            there = ", ".join(f"'{name}'" for name in self.names) or "none"
            raise PipelineError(
                f"a listener with upstream='{self.upstream}' has no encoder to listen to; encoders "
                f"before its component in the pipeline: {there}. Add a 'deberta' component before "
                "it, or set upstream to the name of one of them."
            )
        return source

    def layer_numbers(self, source: RowSource) -> list[int]:
        """Its layers counted from 0, the embeddings."""
        return layer_numbers(self.layers or (-1,), source.n_layers)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ListenerState":
        """A copied listener listens to the same encoder."""
        return replace(self, _met=list(self._met), _sources=list(self._sources), _chosen={})

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: the encoder binds its listeners again when it is unpickled."""
        return {**self.__dict__, "_sources": [], "_chosen": {}, "_met": []}


def _alive(references: "Sequence[weakref.ref[RowSource]]") -> list[RowSource]:
    found = (reference() for reference in references)
    return [source for source in found if source is not None]


def build_deberta_listener(
    upstream: str = ANY, grad_factor: float = 1.0
) -> Model[list[Doc], list[Floats2d]]:
    """A listener, registered as `spacy-deberta.DebertaListener.v1`.

    Its width is the encoder's, and is known once the encoder is.

    Args:
        upstream: name of the encoder component; "*" = the nearest one before.
        grad_factor: factor on the gradient that goes to the encoder; 0 = none of it.

    Raises:
        ConfigError: a negative factor.
    """
    if grad_factor < 0:
        raise ConfigError(f"grad_factor={grad_factor} is negative; expected 0 or more.")
    return Model(
        "deberta-listener",
        forward,
        init=init,
        dims={"nO": None},
        attrs={"listener": ListenerState(upstream, float(grad_factor))},
    )


def layer_numbers(layers: Sequence[int], last: int) -> list[int]:
    """Numbers of layers, counted from 0 = the embeddings; -1 stands for the last one.

    Raises:
        ConfigError: there is no such layer, or one is named twice.
    """
    wrong = [n for n in layers if not -last - 1 <= n <= last]
    if wrong:
        raise ConfigError(
            f"layers={list(layers)}: the encoder has no layer {wrong[0]}; it has 0 (the embeddings)"
            f" to {last}, or -1 for the last one, -2 for the one before."
        )
    numbers = [n % (last + 1) for n in layers]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"layers={list(layers)}: one layer is named twice; name each once.")
    return numbers


def listener_state(node: Model[Any, Any]) -> ListenerState | None:
    """The state of a listener; None for any other layer."""
    state = node.attrs.get("listener")
    return state if isinstance(state, ListenerState) else None


def forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Any]]]:
    """Token rows of each Doc, (n_tokens, nO), from the encoder."""
    state: ListenerState = model.attrs["listener"]
    state.turn_to(docs)
    source = state.require_source()
    heard = source.listen(model, docs) if is_train else None
    if heard is None:
        layers = None if state.layers is None else state.layer_numbers(source)
        return source.rows_for(docs, layers), _no_gradient
    report, factor = heard.report, state.grad_factor

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        report(d_rows, factor)
        return []

    return heard.rows, backprop


def init(model: Model[Any, list[Floats2d]], X: Any = None, Y: Any = None) -> None:
    """Learn the width from the encoder."""
    source = model.attrs["listener"].require_source()
    model.set_dim("nO", listener_width(model, source), force=True)


def listener_width(listener: Model[Any, Any], source: RowSource) -> int:
    """Columns that a listener gives when it listens to this encoder."""
    state: ListenerState = listener.attrs["listener"]
    n_layers = len(state.layer_numbers(source))
    return source.width * (n_layers if listener.attrs.get("mix") == "concat" else 1)


def _no_gradient(d_rows: list[Floats2d]) -> list[Any]:
    return []
