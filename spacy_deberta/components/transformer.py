"""The component `deberta`: one encoder, shared by the components after it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

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
from spacy_deberta.components.doc_data import (
    check_keep,
    register_extension,
    store_encoding,
)
from spacy_deberta.components.listened import ListenedTo
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError
from spacy_deberta.thinc_layers.listeners import listener_state
from spacy_deberta.thinc_layers.types import EncodedDoc, Wanted

DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.DebertaModel.v1",
    "source": None,
    "window": 256,
    "stride": 192,
    "pooling": "mean",
    "batch_pieces": 8192,
    "precision": "fp32",
    "device": "auto",
    "gradient_checkpointing": False,
}

register_extension()


@Language.factory(
    "deberta",
    assigns=["doc._.deberta", "doc.tensor"],
    default_config={
        "model": DEFAULT_MODEL,
        "keep": "pieces",
        "frozen": False,
        "trained_layers": None,
    },
)
def make_deberta(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    keep: str = "pieces",
    frozen: bool = False,
    trained_layers: Optional[int] = None,  # noqa: UP045  (as in every registered function of spaCy)
) -> "DebertaTransformer":
    """Build the component `deberta`; weights are loaded when they are first used.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: a model of the architecture `spacy-deberta.DebertaModel.v1`.
        keep: what stays on a Doc beside `doc.tensor`: nothing, pieces, layers (pieces and the rows
            of all layers) or attentions (these, too).
        frozen: never train the encoder; as trained_layers = 0.
        trained_layers: train the last layers only; null = all, and the embeddings.
    """
    if frozen and trained_layers:
        raise ConfigError(f"frozen=true and trained_layers={trained_layers}; give one of them.")
    component = DebertaTransformer(nlp.vocab, model, name, keep=keep)
    component.train_last(0 if frozen else trained_layers)
    return component


class DebertaTransformer(ListenedTo, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Runs the encoder once per Doc and shares its token rows.

    Components after it use the rows through a listener layer (`spacy-deberta.DebertaListener.v1`,
    or spaCy's own Tok2VecListener), in prediction and, with the gradient flowing back, in training.

    Args:
        vocab: the pipeline's vocabulary.
        model: a model of the architecture `spacy-deberta.DebertaModel.v1`.
        name: name of the component in the pipeline.
        keep: what stays on a Doc beside `doc.tensor`: one of `doc_data.KEEP`.

    Raises:
        PipelineError: a model of another architecture.
        ConfigError: unknown keep.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str = "deberta",
        *,
        keep: str = "pieces",
    ) -> None:
        from spacy_deberta.thinc_layers.transformer import shim_of

        shim_of(model)
        check_keep(keep)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.keep = keep
        self.cfg: dict[str, Any] = {}
        self.listener_map: dict[str, list[Model[Any, Any]]] = {}
        self._trained_layers: int | None = None
        self._backward = BackwardProtocol(model.finish_update)

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> list[EncodedDoc]:
        """Pieces and token rows of each Doc; changes nothing."""
        docs = list(docs)
        known = self._backward.predicted(docs)
        if known is not None:
            return known
        return self._encode(docs, self._wanted())

    def set_annotations(self, docs: Iterable[Doc], scores: list[EncodedDoc]) -> None:
        """Write `doc.tensor` and `doc._.deberta`."""
        for doc, encoded in zip(docs, scores, strict=True):
            store_encoding(doc, self.name, encoded, pieces=self.keep != "nothing")

    def _wanted(self) -> Wanted:
        """What listeners, or the user, want beside the last layer."""
        if self.keep in ("layers", "attentions"):
            return Wanted(tuple(range(self.n_layers)), self.keep == "attentions")
        return Wanted(linking.layers_in_use(self))

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
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DebertaTransformer.update")
        self._backward.settle()
        docs = [example.predicted for example in examples]
        step = self._begin_step(docs, losses)
        if step is not None:
            self._backward.open(step)
            step.on_close = linking.send_rows(
                self.listeners, docs, lambda listener: self.listen(listener, docs)
            )
        if sgd:  # False: not now
            self.finish_update(sgd)
        return losses

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder is not trained at all now: it forms no graph."""
        return self._trained_layers == 0

    def train_last(self, n_layers: int | None) -> None:
        """Train the last layers only from the next update on; None = all, and the embeddings.

        Raises:
            ConfigError: a negative number.
        """
        from spacy_deberta.thinc_layers.transformer import shim_of

        if n_layers is not None and n_layers < 0:
            raise ConfigError(f"trained_layers={n_layers} is negative; use null for all of them.")
        if n_layers != self._trained_layers:
            self._backward.settle()
            self._trained_layers = n_layers
            shim_of(self.model).train_last(n_layers)

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
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        source: Optional[str] = None,  # noqa: UP045  (spaCy validates the config by it)
        revision: Optional[str] = None,  # noqa: UP045
    ) -> None:
        """Load the weights of the source, also if others are loaded; tell listeners their width.

        Args:
            get_examples: not needed here.
            nlp: the pipeline.
            source: checkpoint folder or hub name, instead of the model's. spaCy does not call this
                for frozen_components: give their source to the model, or set frozen=true instead.
            revision: of that source on the hub: branch, tag or commit.

        Raises:
            CheckpointError: the source is not there, and no weights are loaded yet.
        """
        from spacy_deberta.thinc_layers.transformer import shim_of

        validate_get_examples(get_examples, "DebertaTransformer.initialize")
        if source is not None:
            shim = shim_of(self.model)
            shim.source, shim.revision = source, revision
        self.model.initialize()
        for listener in self.listeners:
            self._set_width(listener)

    def _begin_step(self, docs: list[Doc], losses: dict[str, float]) -> Step | None:
        """A step that waits for the listeners; None if none of them can report.

        The encoder reads the Docs only if a listener wants their rows.
        """
        from spacy_deberta.thinc_layers.sequences import hears_sequences
        from spacy_deberta.thinc_layers.transformer import encode_for_update

        readers = [one for one in self.listeners if not hears_sequences(one)]
        reads = bool(readers) and any(len(doc) for doc in docs)
        if not reads and (self.is_frozen or len(readers) == len(self.listeners)):
            return None
        layers = linking.layers_in_use(self)
        waiting = {listener.id for listener in self.listeners}
        step = Step(docs, [], _no_backward, losses, self.name, waiting)
        if not reads:
            step.rows = [self.model.ops.alloc2f(0, self.width) for _ in docs]
        elif self.is_frozen:
            places = [*layers, self.n_layers]
            step.encoded = self.predict(docs)
            found = [encoded.by_layer(self.n_layers) for encoded in step.encoded]
            step.rows = [self._side_by_side(rows, places) for rows in found]
        else:
            step.rows, step.backprop = encode_for_update(self.model, docs, layers)
        return step

    @contextmanager
    def memory_zone(self, mem: Any = None) -> Iterator[Any]:
        """For `nlp.memory_zone`: when it ends, no Doc is held here."""
        try:
            yield mem
        finally:
            self._backward.settle()

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

        if not Path(path).is_dir():
            raise CheckpointError(
                f"component '{self.name}': its folder {path} is not there. A pipeline that was "
                f'saved with exclude=["{self.name}"] is loaded with the same exclude.'
            )
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

    def __reduce__(self) -> Any:
        """For pickle and deepcopy: as in saving, no optimizer is left waiting."""
        self._backward.settle_waiting()
        return super().__reduce__()

    def __setstate__(self, state: Any) -> None:
        """After pickle and deepcopy: the copies of the listeners listen to this copy."""
        super().__setstate__(state)
        for listener in self.listeners:
            listener_of = listener_state(listener)
            if listener_of is not None:
                listener_of.bind_alone(self)


def _no_backward(d_rows: list[Floats2d]) -> list[Any]:
    return []
