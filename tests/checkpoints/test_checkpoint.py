"""Opening a folder: every tensor has a place, a reason to be left aside, or a fault."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_deberta.checkpoints import (
    open_checkpoint,
)
from spacy_deberta.checkpoints.names import HEAD_NAMES
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.heads import (
    ChoiceHead,
    EnhancedMaskDecoder,
    LegacyMaskedLMHead,
    MaskedLMHead,
    ProjectedTokenHead,
    RecordHead,
    ReplacedTokenHead,
    SequenceHead,
    SpanHead,
    TokenHead,
)
from tests.checkpoints.made import (
    DECODER,
    FILE,
    POSITIONS,
    SELF,
    WORDS,
    assert_same,
    make_tensors,
    sort,
    write,
)
from tests.tiny import tiny_config, tiny_v1_config


@pytest.mark.parametrize("config", [tiny_config(), tiny_v1_config()], ids=["v2", "v1"])
def test_a_folder_is_read_with_its_config_file_and_format(
    tmp_path: Path, config: DebertaConfig
) -> None:
    folder = write(tmp_path, config, make_tensors(config))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config == config
    assert type(checkpoint.config) is type(config)
    assert (checkpoint.file, checkpoint.format) == (str(folder / FILE), "safetensors")
    assert (checkpoint.heads, checkpoint.ignored, checkpoint.faults) == ({}, {}, [])
    assert checkpoint.tasks == ("encoder",)
    DebertaEncoder(config).load_state_dict(checkpoint.encoder)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [tiny_config(), tiny_v1_config()], ids=["v2", "v1"])
@pytest.mark.parametrize(
    "prefix", ["deberta.", "bert.", "generator.", "discriminator.deberta.", "generator.bert."]
)
def test_prefixes_change_nothing(config: DebertaConfig, prefix: str) -> None:
    tensors = make_tensors(config)
    found = sort(config, {prefix + name: tensor for name, tensor in tensors.items()})
    assert found.faults == []
    assert_same(found.encoder, sort(config, tensors).encoder)


def test_old_names_of_norms_are_the_new_ones() -> None:
    config = tiny_config()
    tensors = make_tensors(config, rtd=ReplacedTokenHead)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    assert sum(name.endswith(("gamma", "beta")) for name in old) == 14
    found, expected = sort(config, old), sort(config, tensors)
    assert found.faults == []
    assert_same(found.encoder, expected.encoder)
    assert_same(found.heads["rtd"], expected.heads["rtd"])


def test_every_name_without_a_place_is_a_fault() -> None:
    config = tiny_config()
    names = [
        "deberta.encoder.layer.2.output.dense.bias",
        "deberta.encoder.conv.conv.weight",
        "deberta.embeddings.token_type_embeddings.weight",
        "deberta.classifier.weight",
        "encoder.layer.0.attention.self.in_proj.weight",
        "something.else",
    ]
    tensors = make_tensors(config) | dict.fromkeys(names, torch.ones(16))
    assert sort(config, tensors).faults == [
        f"'{name}' has no place in the encoder of config.json" for name in sorted(names)
    ]


def test_a_tensor_that_is_there_twice_is_a_fault() -> None:
    config = tiny_config()
    tensors = make_tensors(config) | {f"deberta.{WORDS}": torch.ones(512, 16)}
    assert sort(config, tensors).faults == [
        f"'{WORDS}' is there twice: 'deberta.{WORDS}' and '{WORDS}'"
    ]


@pytest.mark.parametrize(
    "config",
    [tiny_config(share_att_key=False, num_hidden_layers=1), tiny_v1_config(num_hidden_layers=1)],
    ids=["v2", "v1"],
)
def test_every_tensor_of_an_encoder_is_needed(config: DebertaConfig) -> None:
    tensors = make_tensors(config)
    for name in tensors:
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        assert sort(config, rest).faults == [f"'{name}' is missing"]


def test_a_fused_matrix_of_another_shape_is_named_as_in_the_file() -> None:
    config = tiny_v1_config()
    name = "encoder.layer.1.attention.self.in_proj.weight"
    tensors = make_tensors(config) | {name: torch.ones(47, 16)}
    assert sort(config, tensors).faults == [
        f"'{name}' has shape (47, 16), expected (48, 16) from config.json"
    ]


def test_a_file_with_too_few_layers_is_one_fault() -> None:
    tensors = make_tensors(tiny_config())
    assert sort(tiny_config(num_hidden_layers=5), tensors).faults == [
        "there are 2 layers, expected num_hidden_layers=5 of config.json"
    ]


@pytest.mark.parametrize(
    ("config", "held", "found"),
    [
        (tiny_v1_config(), tiny_config(), "'encoder.LayerNorm.bias' and 13 more tensors"),
        (tiny_config(), tiny_v1_config(), f"'{SELF}in_proj.weight' and 11 more tensors"),
    ],
)
def test_weights_of_the_other_layout_are_one_fault(
    config: DebertaConfig, held: DebertaConfig, found: str
) -> None:
    assert sort(config, make_tensors(held)).faults == [
        f"{found} have the layout of another model_type than config.json's '{config.model_type}'"
    ]


# --- heads and tasks -----------------------------------------------------------------------------

TASKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "legacy_mlm": (LegacyMaskedLMHead, ("fill-mask",)),
    "mlm": (MaskedLMHead, ()),
    "rtd": (ReplacedTokenHead, ("replaced-token-detection",)),
    "pooler_classifier": (SequenceHead, ("sequence-classification",)),
    "classifier": (TokenHead, ("token-classification",)),
    "ner_proj": (ProjectedTokenHead, ("token-classification",)),
    "record": (RecordHead, ()),
    "qa": (SpanHead, ("question-answering",)),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("config", [tiny_config(), tiny_v1_config()], ids=["v2", "v1"])
def test_a_head_is_found_with_its_tasks(config: DebertaConfig, kind: str) -> None:
    module, tasks = TASKS[kind]
    tensors = make_tensors(config, **{kind: module})
    found = sort(config, tensors)
    assert (found.faults, found.ignored) == ([], {})
    assert found.tasks == ("encoder", *tasks)
    assert_same(
        found.heads[kind], {ours: tensors[theirs] for theirs, ours in HEAD_NAMES[kind].items()}
    )


@pytest.mark.parametrize("kind", TASKS)
def test_half_a_head_does_no_task(kind: str) -> None:
    config = tiny_config()
    tensors = make_tensors(config, **{kind: TASKS[kind][0]})
    for name in HEAD_NAMES[kind]:
        found = sort(config, {n: tensor for n, tensor in tensors.items() if n != name})
        assert found.faults == []
        assert found.tasks == ("encoder",) or name.startswith(("proj.", "pooler."))


@pytest.mark.parametrize(
    ("module", "n_labels", "tasks"),
    [
        (ChoiceHead, 2, ("multiple-choice",)),
        (ChoiceHead, 1, ("sequence-classification", "multiple-choice")),
        (SequenceHead, 1, ("sequence-classification", "multiple-choice")),
        (SequenceHead, 3, ("sequence-classification",)),
    ],
)
def test_one_logit_per_sequence_chooses_or_is_a_regression(
    module: Any, n_labels: int, tasks: tuple[str, ...]
) -> None:
    config = tiny_config(num_labels=n_labels)
    found = sort(config, make_tensors(config, pooler_classifier=module))
    assert found.tasks == ("encoder", *tasks)


def test_labels_that_the_config_does_not_count_are_classification() -> None:
    """Microsoft's configs do not count them."""
    tensors = make_tensors(tiny_config(num_labels=3), pooler_classifier=SequenceHead)
    assert sort(tiny_config(), tensors).tasks == ("encoder", "sequence-classification")


def test_a_masked_lm_head_with_the_decoders_positions_fills_masks() -> None:
    config = tiny_config()
    tensors = make_tensors(config, mlm=MaskedLMHead, mask_decoder=EnhancedMaskDecoder)
    found = sort(config, tensors)
    assert found.tasks == ("encoder", "fill-mask")
    assert_same(found.heads["mask_decoder"], {"positions": tensors[f"deberta.{POSITIONS}"]})


def test_a_masked_lm_head_on_positions_in_the_input_fills_masks() -> None:
    config = tiny_config(position_biased_input=True, embedding_size=8)
    found = sort(config, make_tensors(config, mlm=MaskedLMHead))
    assert found.tasks == ("encoder", "fill-mask")
    assert set(found.heads) == {"mlm"}
    assert "embeddings.positions.weight" in found.encoder


def test_a_masked_lm_head_fills_masks_from_the_last_layer_where_the_config_says_so() -> None:
    config = tiny_config(legacy=False)
    assert sort(config, make_tensors(config, mlm=MaskedLMHead)).tasks == ("encoder", "fill-mask")


@pytest.mark.parametrize("name", ["classifier.weight", "classifier.bias"])
@pytest.mark.parametrize("module", [SequenceHead, RecordHead])
def test_a_number_in_the_place_of_a_classifier_is_a_fault_of_the_head(
    name: str, module: Any
) -> None:
    config = tiny_config()
    kind = "record" if module is RecordHead else "pooler_classifier"
    tensors = make_tensors(config, **{kind: module}) | {name: torch.tensor(1.0)}
    assert sort(config, tensors).faults == []


def test_the_head_in_a_discriminators_file_is_not_its_own() -> None:
    """Released v3 files hold one; the generator was trained with it, not this encoder."""
    config = tiny_config()
    tensors = make_tensors(
        config, mlm=MaskedLMHead, mask_decoder=EnhancedMaskDecoder, rtd=ReplacedTokenHead
    )
    found = sort(config, tensors)
    assert found.tasks == ("encoder", "replaced-token-detection")
    assert set(found.heads) == {"rtd"}
    reason = "a masked-LM head that was trained with the generator"
    assert found.ignored["lm_predictions.lm_head.bias"] == reason
    assert f"deberta.{POSITIONS}" in found.ignored
    assert len(found.ignored) == 6


def test_positions_that_nobody_reads_are_ignored() -> None:
    config = tiny_config()
    found = sort(config, make_tensors(config) | {POSITIONS: torch.ones(64, 16)})
    assert found.faults == []
    assert found.ignored == {POSITIONS: "absolute positions, which only a mask decoder would read"}


def test_old_buffers_are_ignored() -> None:
    config = tiny_config()
    name = "deberta.embeddings.position_ids"
    found = sort(config, make_tensors(config) | {name: torch.arange(4.0)})
    assert found.ignored == {name: "the numbers 0, 1, 2, ... of older versions"}


def test_what_the_legacy_head_holds_twice_is_ignored_or_moved() -> None:
    config = tiny_config()
    tensors = make_tensors(config, legacy_mlm=LegacyMaskedLMHead)
    expected = sort(config, tensors)
    twice = tensors | {
        DECODER: tensors[f"deberta.{WORDS}"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }
    found = sort(config, twice)
    assert found.ignored == {
        DECODER: f"the same as '{WORDS}'",
        "cls.predictions.decoder.bias": "the same as 'cls.predictions.bias'",
    }
    del twice["cls.predictions.bias"]
    moved = sort(config, twice)
    for checkpoint in (found, moved):
        assert checkpoint.tasks == ("encoder", "fill-mask")
        assert_same(checkpoint.heads["legacy_mlm"], expected.heads["legacy_mlm"])


def test_an_output_matrix_of_its_own_makes_the_legacy_head_unusable() -> None:
    config = tiny_config()
    tensors = make_tensors(config, legacy_mlm=LegacyMaskedLMHead)
    found = sort(config, tensors | {DECODER: torch.ones(512, 16)})
    assert found.tasks == ("encoder",)
    assert DECODER in found.heads["legacy_mlm"]


@pytest.mark.parametrize("name", ["pooler.dense.weight", "proj.weight"])
def test_a_part_of_a_classifier_without_it_is_ignored(name: str) -> None:
    config = tiny_config()
    found = sort(config, make_tensors(config) | {name: torch.ones(16, 16)})
    assert (found.faults, found.heads) == ([], {})
    assert found.ignored == {name: f"a {name.partition('.')[0]} without a classifier"}
