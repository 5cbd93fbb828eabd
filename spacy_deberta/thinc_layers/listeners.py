"""The layer through which a component uses the rows of an encoder earlier in the pipeline."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
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
    """

    upstream: str
    grad_factor: float
    _source: "weakref.ref[RowSource] | None" = None
    _met: "list[weakref.ref[RowSource]]" = field(default_factory=list)

    @property
    def source(self) -> RowSource | None:
        """The encoder this listener listens to."""
        return self._source() if self._source is not None else None

    @property
    def names(self) -> list[str]:
        """Names of the encoders before the listener's component."""
        met = (reference() for reference in self._met)
        return [source.name for source in met if source is not None]

    def meet(self, source: RowSource) -> bool:
        """Take note of an encoder before the component; whether `upstream` stands for it."""
        if not any(reference() is source for reference in self._met):
            self._met.append(weakref.ref(source))
        return self.upstream in (ANY, source.name)

    def bind(self, source: RowSource | None) -> None:
        """Listen to this encoder, or to none."""
        self._source = None if source is None else weakref.ref(source)

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

    def __deepcopy__(self, memo: dict[int, Any]) -> "ListenerState":
        """A copied listener listens to the same encoder."""
        return ListenerState(self.upstream, self.grad_factor, self._source, list(self._met))

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: the encoder binds its listeners again when it is unpickled."""
        return {**self.__dict__, "_source": None, "_met": []}


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


def listener_state(node: Model[Any, Any]) -> ListenerState | None:
    """The state of a listener; None for any other layer."""
    state = node.attrs.get("listener")
    return state if isinstance(state, ListenerState) else None


def forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Any]]]:
    """Token rows of each Doc, (n_tokens, nO), from the encoder."""
    state: ListenerState = model.attrs["listener"]
    source = state.require_source()
    heard = source.listen(model, docs) if is_train else None
    if heard is None:
        return source.rows_for(docs), _no_gradient
    report, factor = heard.report, state.grad_factor

    def backprop(d_rows: list[Floats2d]) -> list[Any]:
        report(d_rows, factor)
        return []

    return heard.rows, backprop


def init(model: Model[list[Doc], list[Floats2d]], X: Any = None, Y: Any = None) -> None:
    """Learn the width from the encoder."""
    model.set_dim("nO", model.attrs["listener"].require_source().width, force=True)


def _no_gradient(d_rows: list[Floats2d]) -> list[Any]:
    return []
