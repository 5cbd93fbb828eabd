"""The protocol of backward.py: no order, exclusion or loop loses or delays a gradient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.training import Example
from torch import Tensor

from spacy_deberta.checkpoints import load_encoder
from spacy_deberta.errors import PipelineError
from spacy_deberta.thinc_layers.optimizer import build_adamw
from spacy_deberta.thinc_layers.transformer import shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.components.heads import torch_rows
from tests.tiny import LISTENER, TEXTS, add_encoder, make_docs, tiny_nlp

RATE = 0.1
EPS = 1e-2  # large: AdamW would blow the rounding of tiny gradients up to whole steps
TARGETS = {"one": 0.5, "two": -1.0, "three": 2.0}


def pull_nlp(source: Path, heads: Sequence[str] = tuple(TARGETS), **settings: Any) -> Language:
    nlp = tiny_nlp(source, window=200, stride=100)
    for head in heads:
        nlp.add_pipe("pull", name=head, config={"target": TARGETS[head], **settings})
    nlp.initialize()
    return nlp


def batches(nlp: Language) -> list[list[Example]]:
    docs = [nlp.make_doc(text) for text in (*TEXTS, "", *TEXTS[:2])]
    examples = [Example(doc, doc.copy()) for doc in docs]
    return [examples[0:3], examples[3:6], examples[6:8]]


def encoder_weights(nlp: Language, name: str = "deberta") -> dict[str, Tensor]:
    encoder = shim_of(nlp.get_pipe(name).model).encoder
    return {n: p.detach().clone() for n, p in encoder.named_parameters()}


def plain_torch(
    source: Path, tokenizer: UnigramTokenizer, heads: Sequence[str], *, at_once: bool = False
) -> dict[str, Tensor]:
    """The same training as a torch loop: one step per batch, or one for all."""
    nlp = Language()
    encoder = load_encoder(source).train()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in encoder.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in encoder.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=EPS)
    loops = batches(nlp) if not at_once else [[e for batch in batches(nlp) for e in batch]]
    for batch in loops:
        docs = make_docs([example.x.text for example in batch])
        rows = torch_rows(encoder, tokenizer, docs)
        loss = sum(((rows - TARGETS[head]) ** 2).sum() / 2 for head in heads)
        assert isinstance(loss, Tensor)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {n: p.detach() for n, p in encoder.named_parameters()}


def train_like_spacy(
    nlp: Language, exclude: Sequence[str] = (), annotates: Sequence[str] = ()
) -> None:
    """`spacy train` on each batch: updates without an optimizer, then finish_update."""
    optimizer = build_adamw(RATE, eps=EPS)
    for batch in batches(nlp):
        nlp.update(batch, sgd=False, exclude=exclude, annotates=annotates)  # type: ignore[arg-type]
        for name, pipe in nlp.pipeline:
            if name not in exclude:
                pipe.finish_update(optimizer)  # type: ignore[attr-defined]


def train_by_update(nlp: Language, exclude: Sequence[str] = ()) -> None:
    """A user's own loop: `nlp.update` with an optimizer."""
    optimizer = build_adamw(RATE, eps=EPS)
    for batch in batches(nlp):
        nlp.update(batch, sgd=optimizer, exclude=exclude)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_a_loop_equals_plain_torch(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer, train: Any
) -> None:
    """Row 16: the encoder steps in the same call, by both loops."""
    nlp = pull_nlp(tiny_source)

    train(nlp)

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, list(TARGETS)))


@pytest.mark.parametrize("left_out", ["one", "two", "three"])
@pytest.mark.parametrize("train", [train_like_spacy, train_by_update])
def test_excluding_any_listener_leaves_the_others_gradient(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer, left_out: str, train: Any
) -> None:
    """Row 15."""
    nlp = pull_nlp(tiny_source)

    train(nlp, exclude=[left_out])
    nlp(TEXTS[0])  # a waiting optimizer steps at the latest before the next prediction

    heads = [head for head in TARGETS if head != left_out]
    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, heads))


def test_a_disabled_listener_is_not_waited_for(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 15."""
    nlp = pull_nlp(tiny_source)

    with nlp.select_pipes(disable=["three"]):
        train_like_spacy(nlp)

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, ["one", "two"]))


def test_with_all_listeners_no_step_is_left_over(tiny_source: Path) -> None:
    """Row 16."""
    nlp = pull_nlp(tiny_source)
    train_by_update(nlp)
    before = encoder_weights(nlp)

    nlp(TEXTS[0])

    assert_same(encoder_weights(nlp), before)
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    assert all(p.grad is None for p in encoder.parameters())


def test_accumulated_gradients_equal_one_batch(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 20."""
    nlp = pull_nlp(tiny_source)
    optimizer = build_adamw(RATE, eps=EPS)

    for batch in batches(nlp):
        nlp.update(batch, sgd=False)  # type: ignore[arg-type]
    for _, pipe in nlp.pipeline:
        pipe.finish_update(optimizer)  # type: ignore[attr-defined]

    wanted = plain_torch(tiny_source, tiny_tokenizer, list(TARGETS), at_once=True)
    assert_same(encoder_weights(nlp), wanted)


def test_accumulated_gradients_with_an_excluded_listener(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    nlp = pull_nlp(tiny_source)
    optimizer = build_adamw(RATE, eps=EPS)

    *first, last = batches(nlp)
    for batch in first:
        nlp.update(batch, sgd=False, exclude=["three"])  # type: ignore[arg-type]
    nlp.update(last, sgd=optimizer, exclude=["three"])
    nlp(TEXTS[0])

    wanted = plain_torch(tiny_source, tiny_tokenizer, ["one", "two"], at_once=True)
    assert_same(encoder_weights(nlp), wanted)


def test_an_annotating_encoder_trains_all_the_same(
    tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    nlp = pull_nlp(tiny_source)

    train_like_spacy(nlp, annotates=["deberta", "one"])

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, list(TARGETS)))


@pytest.mark.parametrize("annotates", [["deberta"], []])
def test_a_frozen_encoder_gives_rows_and_does_not_move(
    tiny_source: Path, annotates: list[str]
) -> None:
    """Rows 17 and 18."""
    nlp = pull_nlp(tiny_source)
    before = encoder_weights(nlp)

    train_like_spacy(nlp, exclude=["deberta"], annotates=annotates)

    for name, tensor in encoder_weights(nlp).items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)


def test_a_waiting_optimizer_steps_before_other_weights_are_used(tiny_source: Path) -> None:
    nlp = pull_nlp(tiny_source)
    optimizer = build_adamw(RATE, eps=EPS, use_averages=True)
    for batch in batches(nlp):
        nlp.update(batch, sgd=optimizer, exclude=["three"])

    with nlp.use_params(optimizer.averages):
        nlp(TEXTS[0])

    by_hand = pull_nlp(tiny_source)
    train_like_spacy(by_hand, exclude=["three"])
    assert_same(encoder_weights(nlp), encoder_weights(by_hand))


def test_a_frozen_encoder_after_training_gives_no_stale_rows(tiny_source: Path) -> None:
    nlp = pull_nlp(tiny_source, ["one", "two"])
    train_by_update(nlp, exclude=["two"])
    losses: dict[str, float] = {}
    example = batches(nlp)[0]

    nlp.update(example, sgd=False, exclude=["deberta"], losses=losses)  # type: ignore[arg-type]

    rows = np.concatenate(nlp.get_pipe("deberta").model.predict([e.x for e in example]))
    assert losses["one"] == pytest.approx(((rows - 0.5) ** 2).sum() / 2, rel=1e-4)


def test_a_listener_may_be_used_twice(tiny_source: Path, tiny_tokenizer: UnigramTokenizer) -> None:
    """Row 10."""
    nlp = pull_nlp(tiny_source, ["one"], uses=2)

    train_by_update(nlp)

    assert_same(encoder_weights(nlp), plain_torch(tiny_source, tiny_tokenizer, ["one", "one"]))


def _gradients(source: Path, factor: float) -> dict[str, Tensor]:
    model = {**LISTENER, "grad_factor": factor}
    nlp = pull_nlp(source, ["one"], model=model)
    nlp.update(batches(nlp)[0], sgd=False)  # type: ignore[arg-type]
    encoder = shim_of(nlp.get_pipe("deberta").model).encoder
    return {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}


def test_grad_factor_of_a_half_gives_exactly_half(tiny_source: Path) -> None:
    """Row 10."""
    whole, half = _gradients(tiny_source, 1.0), _gradients(tiny_source, 0.5)

    assert whole
    for name, gradient in whole.items():
        torch.testing.assert_close(half[name], gradient * 0.5, atol=0, rtol=0)


def test_grad_factor_of_zero_gives_nothing_and_decays_nothing(tiny_source: Path) -> None:
    """Row 26."""
    nlp = pull_nlp(tiny_source, ["one"], model={**LISTENER, "grad_factor": 0.0})
    before = encoder_weights(nlp)

    train_like_spacy(nlp)

    assert_same(encoder_weights(nlp), before)


def test_an_exception_in_a_head_leaves_nothing_stale(tiny_source: Path) -> None:
    """Row 21."""
    nlp = pull_nlp(tiny_source, ["one"])
    nlp.get_pipe("one").fails = True
    with pytest.raises(RuntimeError, match="the head fails"):
        nlp.update(batches(nlp)[1], sgd=build_adamw(RATE, eps=EPS))
    nlp.get_pipe("one").fails = False
    healthy = pull_nlp(tiny_source, ["one"])

    for pipeline in (nlp, healthy):
        train_by_update(pipeline)

    assert_same(encoder_weights(nlp), encoder_weights(healthy))


def test_a_gradient_that_comes_too_late_is_an_error(tiny_source: Path) -> None:
    nlp = pull_nlp(tiny_source, ["one"])
    encoder, head = nlp.get_pipe("deberta"), nlp.get_pipe("one")
    first, second, _ = batches(nlp)
    encoder.update(first)
    rows, backprop = head.model.begin_update([example.x for example in first])
    encoder.update(second)

    with pytest.raises(PipelineError, match=r"encoder 'deberta' after .* had ended"):
        backprop(rows)


def test_the_loss_is_the_squared_norm_of_the_gradient(tiny_source: Path) -> None:
    nlp = pull_nlp(tiny_source, ["one"])

    losses = nlp.update(batches(nlp)[0], sgd=build_adamw(RATE, eps=EPS), losses=(found := {}))

    assert found["deberta"] == pytest.approx(2 * found["one"], rel=1e-5)
    assert set(losses) == {"deberta", "one"}


def test_updates_without_tokens_do_nothing(tiny_source: Path) -> None:
    """Row 13."""
    nlp = pull_nlp(tiny_source, ["one"])
    before = encoder_weights(nlp)
    doc = nlp.make_doc("")

    losses = nlp.update([Example(doc, doc.copy())], sgd=build_adamw(RATE, eps=EPS))

    assert losses == {"deberta": 0.0, "one": 0.0}
    assert_same(encoder_weights(nlp), before)


def two_encoders(source: Path, other: Path) -> Language:
    nlp = tiny_nlp(source, name="first")
    add_encoder(nlp, other, name="second")
    for head, upstream in (("one", "first"), ("two", "second"), ("three", "*")):
        nlp.add_pipe("pull", name=head, config={"model": {**LISTENER, "upstream": upstream}})
    nlp.initialize()
    return nlp


def test_two_encoders_do_not_hear_each_others_listeners(
    tiny_source: Path, other_source: Path
) -> None:
    """Row 28, in training."""
    nlp = two_encoders(tiny_source, other_source)
    assert nlp.get_pipe("first").listening_components == ["one"]
    assert nlp.get_pipe("second").listening_components == ["two", "three"]
    before = encoder_weights(nlp, "first"), encoder_weights(nlp, "second")

    train_like_spacy(nlp, exclude=["two", "three"])

    assert_same(encoder_weights(nlp, "second"), before[1])
    name = "layers.0.attention.query.weight"
    assert not torch.equal(encoder_weights(nlp, "first")[name], before[0][name])


def test_two_encoders_do_not_mix_their_rows(tiny_source: Path, other_source: Path) -> None:
    """Row 28, in prediction."""
    nlp = two_encoders(tiny_source, other_source)

    doc = nlp(TEXTS[0])

    (first,) = nlp.get_pipe("first").model.predict([doc])
    (second,) = nlp.get_pipe("second").model.predict([doc])
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(nlp.get_pipe("one").seen[0], first)
    np.testing.assert_array_equal(nlp.get_pipe("two").seen[0], second)
    np.testing.assert_array_equal(nlp.get_pipe("three").seen[0], second)
