"""A head without weights of its own, so that training it can be written down in plain torch."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from spacy_deberta.encoder import DebertaEncoder, pool_rows
from spacy_deberta.thinc_layers.pieces import split_docs
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import LISTENER


@Language.factory("pull", default_config={"model": LISTENER, "target": 0.0, "uses": 1})
def make_pull(
    nlp: Language, name: str, model: Model[list[Doc], list[Floats2d]], target: float, uses: int
) -> "Pull":
    return Pull(nlp.vocab, model, name, target, uses)


class Pull(TrainablePipe):  # type: ignore[misc]
    """Pulls every number of every row towards a target: loss = sum((rows - target)^2) / 2."""

    def __init__(
        self, vocab: Vocab, model: Model[Any, Any], name: str, target: float, uses: int
    ) -> None:
        self.vocab, self.model, self.name, self.cfg = vocab, model, name, {}
        self.target, self.uses = target, uses
        self.fails = False
        self.seen: list[Floats2d] = []

    def predict(self, docs: Iterable[Doc]) -> list[Floats2d]:
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], scores: list[Floats2d]) -> None:
        self.seen = scores

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        losses = {} if losses is None else losses
        docs = [example.predicted for example in examples]
        outputs = [self.model.begin_update(docs) for _ in range(self.uses)]
        if self.fails:
            raise RuntimeError("the head fails")
        losses.setdefault(self.name, 0.0)
        for rows, backprop in outputs:
            d_rows = [r - self.target for r in rows]
            losses[self.name] += sum(float((d**2).sum()) for d in d_rows) / 2
            backprop(d_rows)
        if sgd:
            self.finish_update(sgd)
        return losses

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        self.model.initialize(X=[example.x for example in get_examples()])


def torch_rows(
    encoder: DebertaEncoder, tokenizer: UnigramTokenizer, docs: list[Doc]
) -> torch.Tensor:
    """Rows of all tokens, one window per Doc, written without our packing."""
    parts = []
    for doc in split_docs(tokenizer, docs):
        ids = [tokenizer.cls_id, *doc.pieces.ids.tolist(), tokenizer.sep_id]
        states = encoder(torch.tensor(ids), [len(ids)]).last_hidden_state[1:-1]
        index, lengths = torch.tensor(doc.alignment.pieces), torch.tensor(doc.alignment.lengths)
        parts.append(pool_rows(states, index, lengths, "mean"))
    return torch.cat(parts)
