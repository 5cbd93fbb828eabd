"""Outputs: the ways of access that users of `transformers` have."""

import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.utils import _pytree

from spacy_deberta.modeling import BaseModelOutput, SequenceClassifierOutput, outputs

LOGITS = torch.tensor([[1.0, 2.0]])
OUTPUT = SequenceClassifierOutput(loss=None, logits=LOGITS, hidden_states=(LOGITS, LOGITS))


def test_values_that_are_not_there_are_left_out() -> None:
    assert OUTPUT.keys() == ("logits", "hidden_states")
    assert list(OUTPUT) == ["logits", "hidden_states"]
    assert len(OUTPUT) == 2
    assert "logits" in OUTPUT
    assert "loss" not in OUTPUT
    assert OUTPUT.loss is None


def test_values_are_found_by_name_place_and_range() -> None:
    assert OUTPUT["logits"] is OUTPUT[0] is OUTPUT.logits is LOGITS
    assert OUTPUT[-1] == (LOGITS, LOGITS)
    assert OUTPUT[1:] == OUTPUT.to_tuple()[1:]
    assert dict(OUTPUT) == dict(OUTPUT.items())


def test_a_loss_comes_first() -> None:
    loss = torch.tensor(3.0)
    assert SequenceClassifierOutput(loss, LOGITS)[0] is loss


def test_absent_values_are_key_errors() -> None:
    with pytest.raises(KeyError, match="loss"):
        OUTPUT["loss"]


def test_outputs_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        OUTPUT.logits = LOGITS  # type: ignore[misc]


def test_outputs_are_pickled_and_taken_apart() -> None:
    copied = pickle.loads(pickle.dumps(OUTPUT))
    assert torch.equal(copied.logits, LOGITS)
    leaves, form = _pytree.tree_flatten(OUTPUT)
    assert len(leaves) == 3
    assert isinstance(_pytree.tree_unflatten(leaves, form), SequenceClassifierOutput)


def test_every_output_can_be_exported() -> None:
    classes = [BaseModelOutput, outputs.QuestionAnsweringModelOutput]
    classes += outputs.LogitsOutput.__subclasses__()
    assert len(classes) == 7
    assert all(found in _pytree.SUPPORTED_NODES for found in classes)
