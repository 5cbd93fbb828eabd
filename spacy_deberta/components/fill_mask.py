"""The component `deberta_fill_mask`: goes on with masked-LM training, on a user's own text.

It trains the encoder of a `deberta` component (or one of its own) on the texts of the training
Docs, which need no annotation: words are hidden as in pre-training, drawn anew for each step. In
prediction it writes candidates for each "[MASK]" in a Doc to `token._.mask_candidates`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.symbols import ORTH
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc, Token
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Optimizer, set_dropout_rate
from thinc.types import Floats2d

from spacy_deberta.components.task_pipe import TaskPipe
from spacy_deberta.decoding.mask_windows import MASK
from spacy_deberta.decoding.masks import Floats, best_pieces, log_probabilities
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError

if TYPE_CHECKING:
    from spacy_deberta.components.masked_text import HiddenWords, Int64, MaskReader
    from spacy_deberta.modeling import DebertaForMaskedLM, DebertaTokenizer
    from spacy_deberta.thinc_layers.mask_filler import MaskedSequence, MasksToLogits

EXTENSION = "mask_candidates"
OWN_HEAD = "own"  # the head of the checkpoint that the encoder comes from
DEFAULT_MODEL = {
    "@architectures": "spacy-deberta.MaskFiller.v1",
    "tok2vec": {"@architectures": "spacy-deberta.SequenceListener.v1"},
    "head": {"@architectures": "spacy-deberta.Head.v1", "kind": "mlm"},
}
_PREDICTED_PIECES = 4096  # that go through the encoder and the output layer at once
_EVALUATION = -1  # the step that `score` draws for
_TINY = float(np.finfo(np.float32).tiny)

Candidates = list[tuple[str, float]]

if not Token.has_extension(EXTENSION):
    Token.set_extension(EXTENSION, default=())


@Language.factory(
    "deberta_fill_mask",
    assigns=[f"token._.{EXTENSION}"],
    default_config={
        "model": DEFAULT_MODEL,
        "mask_share": 0.15,
        "window": 256,
        "top_k": 5,
        "seed": 0,
    },
    default_score_weights={"mask_acc": 1.0, "mask_loss": None},
)
def make_fill_mask(  # noqa: PLR0913, PLR0917 - the settings of the component
    nlp: Language,
    name: str,
    model: MasksToLogits,
    mask_share: float,
    window: int,
    top_k: int,
    seed: int,
) -> DebertaFillMask:
    """Build the component `deberta_fill_mask`; from now on "[MASK]" is one token of `nlp`.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: spacy-deberta.MaskFiller.v1.
        mask_share: of the words to hide in training and in `nlp.evaluate`.
        window: pieces of one input, special pieces included; longer texts are cut in training, and
            read around their masks in prediction.
        top_k: candidates of a mask.
        seed: of what is hidden; other components' draws do not change it.

    Raises:
        ConfigError: a setting is out of range.
    """
    keep_masks_whole(nlp.tokenizer)
    cfg = {"mask_share": mask_share, "window": window, "top_k": top_k, "seed": seed}
    return DebertaFillMask(nlp.vocab, model, name, cfg=cfg)


class DebertaFillMask(TaskPipe, TrainablePipe):  # type: ignore[misc]  # Cython: no types
    """Fills masks, and learns to.

    Args:
        vocab: the pipeline's vocabulary.
        model: spacy-deberta.MaskFiller.v1.
        name: name of the component in the pipeline.
        cfg: the settings of `make_fill_mask`; "step" counts updates.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self, vocab: Vocab, model: MasksToLogits, name: str, *, cfg: dict[str, Any]
    ) -> None:
        self.vocab, self.model, self.name = vocab, model, name
        self.cfg: dict[str, Any] = {"step": 0, **cfg}
        self.remember_settings(cfg)
        self.scorer = None
        self._reader: MaskReader | None = None
        for setting, least in (("window", 3), ("top_k", 1)):
            if cfg[setting] < least:
                raise ConfigError(f"{setting}={cfg[setting]}: expected {least} or more.")
        if not 0 < cfg["mask_share"] < 1:
            raise ConfigError(f"mask_share={cfg['mask_share']}: expected between 0 and 1.")

    @property
    def labels(self) -> tuple[str, ...]:
        """None: what fills a mask is no label."""
        return ()

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> list[list[Candidates]]:
        """For each mask of each Doc its candidates, best first."""
        docs = list(docs)
        reader = self._read(docs)
        sequences = [reader.masks(doc.text) for doc in docs]
        rows = self._logits([one for found in sequences for one in found])
        return [
            [self._candidates(next(rows), reader) for one in found for _ in one.places]
            for found in sequences
        ]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[list[Candidates]]) -> None:
        """Write `token._.mask_candidates` of each token that is a mask."""
        for doc, masks in zip(docs, scores, strict=True):
            for token, candidates in zip(mask_tokens(doc), masks, strict=True):
                token._.set(EXTENSION, candidates)

    # Training

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Hide words of the texts and learn to predict them; annotations are not looked at.

        Args:
            examples: whose texts are read.
            drop: of no effect: the encoder has the dropout of its config.
            sgd: steps the weights if given.
            losses: gets the mean cross-entropy in nats, summed over batches.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DebertaFillMask.update")
        hidden = self._hide(examples, self.cfg["step"])
        self.cfg["step"] += 1
        if hidden.sequences:
            set_dropout_rate(self.model, drop)
            logits, backprop = self.model.begin_update(hidden.sequences)
            loss, d_logits = self.get_loss(hidden.labels, logits)
            backprop(d_logits)
            losses[self.name] += loss
        if sgd:  # False: not now
            self.finish_update(sgd)
        return losses

    def get_loss(self, examples: Int64, scores: Floats2d) -> tuple[float, Floats2d]:
        """Mean cross-entropy of the hidden pieces, and its gradient.

        Args:
            examples: (M,) the pieces that were hidden.
            scores: (M, V) logits.

        Returns:
            The loss in nats, and the gradient (M, V).
        """
        ops, rows = self.model.ops, np.arange(len(examples))
        gradient: Any = ops.softmax(scores)
        chosen = ops.to_numpy(gradient[rows, examples])
        gradient[rows, examples] -= 1.0
        gradient /= max(1, len(examples))
        return float(-np.log(np.maximum(chosen, _TINY)).mean()), gradient

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        head: str | None = OWN_HEAD,
    ) -> None:
        """Make the head, and begin to count steps.

        Args:
            get_examples: the training data; it is only checked.
            nlp: the pipeline.
            head: "own" = that of the checkpoint which the encoder comes from; a folder or hub name
                = that of another one of the same vocabulary; None = from random.

        Raises:
            CheckpointError: there is no such head, or it does not fit the encoder.
        """
        from spacy_deberta.thinc_layers.mask_filler import load_tied_head

        validate_get_examples(get_examples, "DebertaFillMask.initialize")
        self.cfg["step"] = 0
        if head is not None:
            try:
                load_tied_head(self.model, None if head == OWN_HEAD else head)
            except CheckpointError as error:
                raise CheckpointError(
                    f"component '{self.name}': {error} `python -m spacy_deberta export` writes "
                    "the head of a trained pipeline, too; head = null trains a new one."
                ) from error
        self.model.initialize()

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """How well hidden words of the texts are predicted; always the same words.

        Returns:
            mask_acc, the share of hidden pieces that the model's best candidate is; mask_loss, the
            mean cross-entropy in nats; both None if there is nothing to hide. All are replaced by
            masks.
        """
        hidden = self._hide(list(examples), _EVALUATION, keep_none=True)
        n_right, loss = 0, 0.0
        for row, label in zip(self._logits(hidden.sequences), hidden.labels, strict=True):
            log_probs = log_probabilities(row[None])[0]
            n_right += int(log_probs.argmax() == label)
            loss -= float(log_probs[label])
        n = len(hidden.labels)
        return {"mask_acc": n_right / n if n else None, "mask_loss": loss / n if n else None}

    def add_label(self, label: str) -> int:
        """Refuse: what fills a mask is no label."""
        raise PipelineError(
            f"'{self.name}' has no labels; its candidates are the encoder's vocabulary, with or "
            f"without {label!r}."
        )

    def as_model(self, nlp: Language) -> tuple[DebertaForMaskedLM, DebertaTokenizer]:
        """Encoder and head, copied, as a checkpoint would be loaded; and their tokenizer."""
        from spacy_deberta.thinc_layers.mask_filler import masked_lm_of

        return masked_lm_of(self.model)

    def _hide(
        self, examples: Iterable[Example], step: int, *, keep_none: bool = False
    ) -> HiddenWords:
        docs = [example.predicted for example in examples]
        texts = [doc.text for doc in docs]
        share, seed = self.cfg["mask_share"], self.cfg["seed"]
        return self._read(docs).hide(texts, share, seed=seed, step=step, keep_none=keep_none)

    def _read(self, docs: Sequence[Doc]) -> MaskReader:
        """The reader of the encoder's tokenizer, kept while that is the same."""
        from spacy_deberta.components.masked_text import MaskReader
        from spacy_deberta.thinc_layers.sequences import sequence_encoder

        encoder, window = sequence_encoder(self.model, docs), self.cfg["window"]
        if encoder.max_length is not None and window > encoder.max_length:
            raise ConfigError(
                f"component '{self.name}': window={window}, but its encoder has absolute positions "
                f"for {encoder.max_length} pieces. Use window={encoder.max_length}."
            )
        if self._reader is None or self._reader.tokenizer is not encoder.tokenizer:
            self._reader = MaskReader(encoder.tokenizer, window)
        return self._reader

    def _logits(self, sequences: Sequence[MaskedSequence]) -> Iterator[Floats]:
        """(V,) of each place of all sequences, in order; a bounded number of them at a time."""
        part: list[MaskedSequence] = []
        size = 0
        for sequence in sequences:
            part.append(sequence)
            size += len(sequence.sequence.ids)
            if size >= _PREDICTED_PIECES:
                yield from self.model.ops.to_numpy(self.model.predict(part))
                part, size = [], 0
        if part:
            yield from self.model.ops.to_numpy(self.model.predict(part))

    def _candidates(self, logits: Floats, reader: MaskReader) -> Candidates:
        row = log_probabilities(logits[None], reader.allowed_pieces(len(logits)))[0]
        decode = reader.tokenizer.decode
        return [
            (decode(one.pieces).strip(), float(np.exp(one.log_prob)))
            for one in best_pieces(row, self.cfg["top_k"])
        ]


def keep_masks_whole(tokenizer: Any) -> None:
    """Let spaCy's tokenizer make one token of each "[MASK]", whatever stands around it."""
    if not isinstance(tokenizer, Tokenizer):
        return
    tokenizer.add_special_case(MASK, [{ORTH: MASK}])
    mask = re.escape(MASK)
    for name, form in (
        ("prefix_search", "^{}"),
        ("suffix_search", "{}$"),
        ("infix_finditer", "{}"),
    ):
        rule = getattr(tokenizer, name)
        known = rule.__self__.pattern if rule is not None else ""
        if mask not in known:
            pattern = re.compile("|".join(filter(None, (form.format(mask), known))))
            setattr(tokenizer, name, getattr(pattern, name.partition("_")[2]))


def mask_tokens(doc: Doc) -> Iterator[Token]:
    """The token of each "[MASK]" in a Doc; its middle one where the tokenizer splits it."""
    for match in re.finditer(re.escape(MASK), doc.text):
        middle = (match.start() + match.end()) // 2
        yield from doc.char_span(middle, middle + 1, alignment_mode="expand") or ()
