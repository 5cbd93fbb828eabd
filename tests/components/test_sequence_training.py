"""A listener that runs the encoder itself trains it, once per step, whatever else listens."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from torch import Tensor

from spacy_deberta.checkpoints import load_encoder
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.thinc_layers.sequences import PieceSequence, sequence_encoder
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.components.heads import torch_rows
from tests.components.test_backward import (
    EPS,
    RATE,
    TARGETS,
    assert_same,
    batches,
    encoder_weights,
    train_by_update,
    train_like_spacy,
)
from tests.tiny import make_docs, tiny_nlp

LISTENER = {"@architectures": "spacy-deberta.SequenceListener.v1"}
OWN_TARGET = 1.5
FACTOR = 0.5


@Language.factory("join", default_config={"model": LISTENER, "tied": False})
def make_join(nlp: Language, name: str, model: Model[Any, Any], tied: bool) -> "Join":
    return Join(nlp.vocab, model, name, tied)


class Join(TrainablePipe):  # type: ignore[misc]
    """Pulls the rows of `[CLS] text [SEP] text [SEP]` towards a target, and the piece table."""

    def __init__(self, vocab: Vocab, model: Model[Any, Any], name: str, tied: bool) -> None:
        self.vocab, self.model, self.name, self.cfg = vocab, model, name, {}
        self.tied = tied
        self.seen: list[Any] = []

    def predict(self, docs: Iterable[Doc]) -> list[Any]:
        return self.model.predict(joined(sequence_encoder(self.model).tokenizer, list(docs)))

    def set_annotations(self, docs: Iterable[Doc], scores: list[Any]) -> None:
        self.seen = scores

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        encoder = sequence_encoder(self.model)
        docs = [example.predicted for example in examples]
        rows, backprop = self.model.begin_update(joined(encoder.tokenizer, docs))
        if self.tied and encoder.piece_table().requires_grad:
            (encoder.piece_table().sum() * 2).backward()
        backprop([r - OWN_TARGET for r in rows])
        if sgd:
            self.finish_update(sgd)
        return losses or {}

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        self.model.initialize()


def joined(tokenizer: Any, docs: Sequence[Doc]) -> list[PieceSequence]:
    c, s = [tokenizer.cls_id], [tokenizer.sep_id]
    parts = [doc.pieces.ids.tolist() for doc in split_docs(tokenizer, docs)]
    return [PieceSequence(np.array([*c, *part, *s, *part, *s])) for part in parts]


def join_nlp(source: Path, pipes: Sequence[str], **settings: Any) -> Language:
    nlp = tiny_nlp(source, window=200, stride=100)
    for pipe in pipes:
        if pipe.startswith("join"):
            nlp.add_pipe("join", name=pipe, config=settings)
        else:
            nlp.add_pipe("pull", name=pipe, config={"target": TARGETS[pipe]})
    nlp.initialize()
    return nlp


def plain_torch(
    source: Path,
    tokenizer: UnigramTokenizer,
    heads: Sequence[str],
    factor: float = 1.0,
    *,
    tied: bool = False,
) -> dict[str, Tensor]:
    """The same as a torch loop."""
    encoder = load_encoder(source).train()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in encoder.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in encoder.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=EPS)
    for batch in batches(Language()):
        docs = make_docs([example.x.text for example in batch])
        loss = torch.zeros(())
        for head in heads:
            if head.startswith("join"):
                for one in joined(tokenizer, docs):
                    rows = encoder(torch.from_numpy(one.ids), [len(one.ids)]).last_hidden_state
                    loss = loss + factor * ((rows - OWN_TARGET) ** 2).sum() / 2
                if tied:
                    loss = loss + factor * encoder.embeddings.pieces.weight.sum() * 2
            else:
                rows = torch_rows(encoder, tokenizer, docs)
                loss = loss + ((rows - TARGETS[head]) ** 2).sum() / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {n: p.detach() for n, p in encoder.named_parameters()}


ORDERS = [("join",), ("join", "one"), ("one", "join"), ("join", "one", "join2"), ("join", "join2")]


@pytest.mark.parametrize("pipes", ORDERS, ids="-".join)
@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_a_loop_equals_plain_torch(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer, train: Any, pipes: tuple[str, ...]
) -> None:
    nlp = join_nlp(tiny_source, pipes)

    train(nlp)

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, pipes))
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize("left_out", ["join", "one", "join2"])
@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_excluding_any_listener_leaves_the_others_gradient(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer, left_out: str, train: Any
) -> None:
    pipes = ("join", "one", "join2")
    nlp = join_nlp(tiny_source, pipes)

    train(nlp, exclude=[left_out])
    nlp("a small river")  # a waiting optimizer steps at the latest before the next prediction

    rest = [pipe for pipe in pipes if pipe != left_out]
    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, rest))


def test_finish_update_steps_at_once_though_another_listener_never_reports(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    nlp = join_nlp(tiny_source, ("join", "one"))

    train_like_spacy(nlp, exclude=["one"])

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, ["join"]))


def test_a_frozen_encoder_after_training_gets_no_stale_gradient(tiny_source: Path) -> None:
    nlp = join_nlp(tiny_source, ("join", "one"))
    examples = batches(nlp)[0]
    nlp.update(examples, sgd=False, exclude=["one"])  # type: ignore[arg-type]  # the step stays open
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    before = [None if p.grad is None else p.grad.clone() for p in encoder.parameters()]

    nlp.update(examples, sgd=False, exclude=["deberta", "one"])  # type: ignore[arg-type]

    for parameter, gradient in zip(encoder.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)


@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_half_a_factor_is_half_of_the_gradient_and_of_the_tables(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer, train: Any
) -> None:
    model = {**LISTENER, "grad_factor": FACTOR}
    nlp = join_nlp(tiny_source, ("join", "one"), model=model, tied=True)

    train(nlp)

    wanted = plain_torch(tiny_source, tiny_tokenizer, ("join", "one"), FACTOR, tied=True)
    assert_same(encoder_weights(nlp), wanted)


@pytest.mark.parametrize("settings", [{"exclude": ["deberta"]}, {}], ids=["frozen", "factor 0"])
@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_no_gradient_reaches_an_encoder_that_is_not_trained(
    tiny_source: Path, train: Any, settings: dict[str, Any]
) -> None:
    factor = 1.0 if settings else 0.0
    nlp = join_nlp(
        tiny_source, ("join",), model={**LISTENER, "grad_factor": factor}, tied=bool(settings)
    )
    before = encoder_weights(nlp)

    train(nlp, **settings)

    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    assert all(p.grad is None or not p.grad.any() for p in encoder.parameters())
    for name, weight in encoder_weights(nlp).items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


def test_a_gradient_after_the_step_has_ended_is_an_error(tiny_source: Path) -> None:
    nlp = join_nlp(tiny_source, ("join", "one"))
    examples = batches(nlp)[0]
    nlp.get_pipe("deberta").update(examples)
    model = nlp.get_pipe("join").model
    encoder = sequence_encoder(model)
    rows, backprop = model.begin_update(joined(encoder.tokenizer, [e.x for e in examples]))
    nlp.get_pipe("deberta").finish_update(build_adamw(RATE))
    nlp.get_pipe("deberta").update(examples)

    with pytest.raises(PipelineError, match="after the encoder's step had ended"):
        backprop(rows)


def test_the_encoder_reads_no_docs_if_only_sequences_are_heard(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = join_nlp(tiny_source, ("join",))
    lengths = []
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    forward = encoder.forward
    monkeypatch.setattr(
        encoder, "forward", lambda ids, n, **kw: (lengths.append(sum(n)), forward(ids, n, **kw))[1]
    )
    examples = batches(nlp)[0]

    nlp.update(examples, sgd=build_adamw(RATE))

    tokenizer = shim_of(nlp.get_pipe("deberta").model).tokenizer
    wanted = joined(tokenizer, [example.x for example in examples])
    assert lengths == [sum(len(one.ids) for one in wanted)]


def test_a_saved_pipeline_predicts_the_same(tiny_source: Path, tmp_path: Path) -> None:
    from spacy import load

    nlp = join_nlp(tiny_source, ("join", "one"))
    nlp("a small river")
    nlp.to_disk(tmp_path)

    loaded = load(tmp_path)
    loaded("a small river")

    found = loaded.get_pipe("join").seen  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found[0], nlp.get_pipe("join").seen[0])  # type: ignore[attr-defined]


def test_a_listener_without_an_encoder_names_those_there_are(tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("join", config={"model": {**LISTENER, "upstream": "other"}})

    with pytest.raises(PipelineError, match=r"upstream=.other. has no encoder.*.deberta."):
        nlp.initialize()
