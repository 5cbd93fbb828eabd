"""`torch.export`: one program for every batch and length, equal to the model."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.modeling.models import ALL, IDS, make_ids, make_labels, make_model

DYNAMIC = torch.export.Dim.DYNAMIC
SIZES = ((1, 1), (3, 70), (4, 5))


def dimensions(values: Tensor) -> dict[int, Any]:
    """Batch and length; the choices of a question are always two."""
    return {0: DYNAMIC, values.ndim - 1: DYNAMIC}


def export(model: Any, arguments: dict[str, Tensor]) -> Any:
    shapes = {name: dimensions(values) for name, values in arguments.items()}
    return torch.export.export(model, (), arguments, dynamic_shapes=shapes).module()


def make_inputs(task: str, count: int, width: int) -> dict[str, Tensor]:
    """Holes, padding at both ends, and a sequence of padding, whose ids mean nothing."""
    shape = (count, 2, width) if task == "ForMultipleChoice" else (count, width)
    generator = torch.Generator().manual_seed(width)
    mask = (torch.rand(shape, generator=generator) > 0.3).long()
    ids = make_ids(*shape)
    mask.view(-1, width)[-1] = 0
    mask.view(-1, width)[0] = 1
    return {"input_ids": ids.masked_fill(mask == 0, -1), "attention_mask": mask}


def check(model: Any, task: str) -> None:
    """Other sizes than the example's: one of each, and beyond the relative table."""
    program = export(model, make_inputs(task, 2, 9))
    for count, width in SIZES:
        inputs = make_inputs(task, count, width)
        with torch.no_grad():
            found, expected = program(**inputs), model(**inputs)
        assert type(found) is type(expected)
        assert found.keys() == expected.keys()
        for ours, theirs in zip(found.to_tuple(), expected.to_tuple(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_masked_model_of_a_release_is_exported_for_every_batch_and_length() -> None:
    """With 70 pieces beyond the farthest bucket, 64; `transformers` fails or differs there."""
    model = make_model("DebertaV2", "ForMaskedLM", num_hidden_layers=1, max_position_embeddings=80)
    check(model, "ForMaskedLM")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "task"), ALL, ids=IDS)
def test_every_model_is_exported_for_every_batch_and_length(family: str, task: str) -> None:
    settings = {"conv_kernel_size": 3} if family == "DebertaV2" else {}
    check(make_model(family, task, max_position_embeddings=80, **settings), task)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["plain", "legacy"])
def test_masked_models_without_a_mask_decoder_are_exported(decoder: str) -> None:
    settings = {"position_buckets": -1, "share_att_key": False, "max_relative_positions": 32}
    check(make_model("DebertaV2", "ForMaskedLM", "auto", decoder, **settings), "ForMaskedLM")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "task"), ALL, ids=IDS)
def test_losses_are_exported(family: str, task: str) -> None:
    model = make_model(family, task)
    inputs = make_inputs(task, 2, 9)
    inputs["input_ids"] = inputs["input_ids"].abs()
    labels = make_labels(model, inputs)
    program = torch.export.export(model, (), {**inputs, **labels}).module()
    found, expected = program(**inputs, **labels), model(**inputs, **labels)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Deberta", "DebertaV2"])
def test_all_that_may_be_asked_for_is_exported(family: str) -> None:
    """Embeddings in, types and positions, hidden states and attentions out; no mask."""
    settings = {"position_biased_input": True, "type_vocab_size": 2, "embedding_size": 8}
    model = make_model(family, "Model", **settings)

    class Everything(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, embeds: Tensor, types: Tensor, positions: Tensor) -> Any:
            return self.model(
                inputs_embeds=embeds,
                token_type_ids=types,
                position_ids=positions,
                output_hidden_states=True,
                output_attentions=True,
            )

    def arguments(count: int, width: int) -> dict[str, Tensor]:
        places = make_ids(count, width)
        embeds = torch.randn(count, width, 8)
        return {"embeds": embeds, "types": places % 2, "positions": places}

    shapes = {name: {0: DYNAMIC, 1: DYNAMIC} for name in ("embeds", "types", "positions")}
    program = torch.export.export(Everything(), (), arguments(2, 9), dynamic_shapes=shapes).module()
    given = arguments(3, 5)
    found, expected = program(**given), Everything()(**given)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(
        [*found[1], *found[2], found[0]], [*expected[1], *expected[2], expected[0]], strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_exported_programs_are_saved_and_loaded(tmp_path: Any) -> None:
    model = make_model("DebertaV2", "ForSequenceClassification")
    inputs = make_inputs("ForSequenceClassification", 2, 9)
    program = torch.export.export(model, (), inputs)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.equal(loaded(**inputs).logits, program.module()(**inputs).logits)


@pytest.mark.slow
def test_compiled_models_compute_the_same() -> None:
    model = make_model("DebertaV2", "ForTokenClassification")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for count, width in SIZES:
        inputs = make_inputs("ForTokenClassification", count, width)
        found, expected = compiled(**inputs).logits, model(**inputs).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
