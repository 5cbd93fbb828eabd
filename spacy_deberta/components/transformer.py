"""The component `deberta`: one encoder, shared by the components after it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from spacy_deberta.components import linking
from spacy_deberta.components.backward import BackwardProtocol, Step
from spacy_deberta.components.doc_data import register_extension, store_encoding, stored_rows
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.listeners import listener_state
from spacy_deberta.thinc_layers.types import EncodedDocs, Heard

DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.DebertaModel.v1",
    "source": None,
    "window": 256,
    "stride": 192,
    "pooling": "mean",
    "batch_pieces": 8192,
}

register_extension()


@Language.factory(
    "deberta", assigns=["doc._.deberta", "doc.tensor"], default_config={"model": DEFAULT_MODEL}
)
def make_deberta(
    nlp: Language, name: str, model: Model[list[Doc], list[Floats2d]]
) -> "DebertaTransformer":
    """Build the component `deberta`; weights are loaded when they are first used."""
    return DebertaTransformer(nlp.vocab, model, name)


class DebertaTransformer(TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Runs the encoder once per Doc and shares its token rows.

    Components after it use the rows through a listener layer (`spacy-deberta.DebertaListener.v1`,
    or spaCy's own Tok2VecListener), in prediction and, with the gradient flowing back, in training.

    Args:
        vocab: the pipeline's vocabulary.
        model: a model of the architecture `spacy-deberta.DebertaModel.v1`.
        name: name of the component in the pipeline.

    Raises:
        PipelineError: a model of another architecture.
    """

    def __init__(
        self, vocab: Vocab, model: Model[list[Doc], list[Floats2d]], name: str = "deberta"
    ) -> None:
        from spacy_deberta.thinc_layers.transformer import shim_of

        shim_of(model)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {}
        self.listener_map: dict[str, list[Model[Any, Any]]] = {}
        self._backward = BackwardProtocol(model.finish_update)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> EncodedDocs:
        """Pieces and token rows of each Doc; changes nothing."""
        from spacy_deberta.thinc_layers.transformer import encode

        docs = list(docs)
        if not self._backward.is_open_for(docs):
            self._backward.settle_waiting()
        return encode(self.model, docs)

    def set_annotations(self, docs: Iterable[Doc], scores: EncodedDocs) -> None:
        """Write `doc.tensor` and `doc._.deberta`."""
        for doc, pieces, rows in zip(docs, scores.pieces, scores.rows, strict=True):
            store_encoding(doc, self.name, pieces, rows)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of Docs, in order.

        If a batch fails, its Docs are tried one by one, and the error handler gets only those that
        fail alone.
        """
        batches: Iterator[list[Doc]] = util.minibatch(stream, size=batch_size)  # type: ignore[no-untyped-call]
        for docs in batches:
            try:
                self.set_annotations(docs, self.predict(docs))
                done = docs
            except Exception:
                done = [doc for doc in docs if self(doc) is not None]
            yield from done

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Run the encoder and hand its rows to the listeners, whose gradients train it.

        `backward.py` says when. `losses` gets the squared norm of these gradients: a sign of life,
        not a loss. `drop` reaches thinc layers only; the encoder has the dropout of its config.
        """
        from spacy_deberta.thinc_layers.transformer import encode_for_update

        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DebertaTransformer.update")
        self._backward.settle()
        docs = [example.predicted for example in examples]
        if self.listeners and any(len(doc) for doc in docs):
            encoded, backprop = encode_for_update(self.model, docs)
            waiting = {listener.id for listener in self.listeners}
            step = Step(docs, encoded.rows, backprop, losses, self.name, waiting)
            self._backward.open(step)
            step.on_close = linking.send_rows(
                self.listeners, docs, lambda listener: self.listen(listener, docs)
            )
        if sgd:  # False: not now
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Step the encoder, now or as soon as its listeners have reported."""
        self._backward.finish(sgd)

    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Work with other weights between two steps of this generator, as Language does it."""
        self._backward.settle_waiting()
        yield from super().use_params(params)

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
        **config: Any,
    ) -> dict[str, float]:
        """Do nothing: in rehearsal, listeners get rows but send no gradient."""
        return {} if losses is None else losses

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """Refuse: the encoder is trained by its listeners."""
        raise PipelineError(
            f"'{self.name}' has no loss of its own; it is trained by components that listen to it."
        )

    def add_label(self, label: str) -> int:
        """Refuse: the encoder has no labels."""
        raise PipelineError(f"'{self.name}' has no labels; add '{label}' to another component.")

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Load the weights of the source, also if others are loaded; tell listeners their width.

        Raises:
            CheckpointError: the source is not there, and no weights are loaded yet.
        """
        validate_get_examples(get_examples, "DebertaTransformer.initialize")
        self.model.initialize()
        for listener in self.listeners:
            self._set_width(listener)

    # Listeners

    @property
    def width(self) -> int:
        """Width of a token row."""
        from spacy_deberta.thinc_layers.transformer import prepare

        prepare(self.model)
        return self.model.get_dim("nO")

    @property
    def listeners(self) -> list[Model[Any, Any]]:
        """The layers that listen to this encoder."""
        return [listener for listeners in self.listener_map.values() for listener in listeners]

    @property
    def listening_components(self) -> list[str]:
        """Names of the components these layers belong to."""
        return list(self.listener_map)

    def add_listener(self, listener: Model[Any, Any], component_name: str) -> None:
        """Let a layer of a component listen to this encoder, and to no other."""
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

    def rows_for(self, docs: Sequence[Doc]) -> list[Floats2d]:
        """Token rows: those this encoder left on the Docs; it runs on Docs without any."""
        stored = [stored_rows(doc, self.name) for doc in docs]
        missing = [doc for doc, rows in zip(docs, stored, strict=True) if rows is None]
        fresh = iter(self.predict(missing).rows if missing else ())
        return [next(fresh) if rows is None else self.model.ops.asarray2f(rows) for rows in stored]

    def listen(self, listener: Model[Any, Any], docs: Sequence[Doc]) -> Heard | None:
        """Token rows of the open update; None if these Docs are not in it."""
        return self._backward.listen(listener.id, docs)

    def _set_width(self, listener: Model[Any, Any]) -> None:
        if listener_state(listener) is not None:
            listener.set_dim("nO", self.width, force=True)
        elif listener.get_dim("nO") != self.width:
            raise PipelineError(
                f"a {listener.name} of '{self.name}' has width={listener.get_dim('nO')}, but this "
                f"encoder has width {self.width}. Set it to that, or use the architecture "
                "spacy-deberta.DebertaListener.v1, which finds it out."
            )

    # Saving and loading

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write config.json, model.safetensors and the tokenizer: a checkpoint folder."""
        from spacy_deberta.thinc_layers.transformer import shim_of

        self._backward.settle_waiting()
        writers: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda file: srsly.write_json(file, self.cfg),
            "vocab": lambda folder: self.vocab.to_disk(folder, exclude=exclude),
            "model": lambda entry: shim_of(self.model).save(entry.parent),
        }
        util.to_disk(path, writers, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "DebertaTransformer":
        """Read what `to_disk` wrote; the weights are memory-mapped, the source is not needed."""
        from spacy_deberta.thinc_layers.transformer import prepare, shim_of

        readers: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda file: self.cfg.update(srsly.read_json(file)),
            "vocab": lambda folder: self.vocab.from_disk(folder, exclude=exclude),
            "model": lambda entry: shim_of(self.model).load(entry.parent),
        }
        util.from_disk(path, readers, exclude)
        if "model" not in exclude:
            prepare(self.model)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The same as one blob."""
        self._backward.settle_waiting()
        data: bytes = super().to_bytes(exclude=exclude)
        return data

    def __setstate__(self, state: Any) -> None:
        """After pickle and deepcopy: the copies of the listeners listen to this copy."""
        super().__setstate__(state)
        for listener in self.listeners:
            listener_of = listener_state(listener)
            if listener_of is not None:
                listener_of.bind(self)
