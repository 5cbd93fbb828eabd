"""Which of two models a file holds, and which config its tensors ask for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_deberta.checkpoints import (
    DISCRIMINATOR,
    GENERATOR,
    GENERATOR_FILE,
    open_checkpoint,
    resolve_source,
    state_tensors,
)
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.heads import (
    EnhancedMaskDecoder,
    MaskedLMHead,
    ReplacedTokenHead,
    SequenceHead,
)
from tests.checkpoints.made import (
    DELTA,
    POSITIONS,
    WORDS,
    Tensors,
    assert_same,
    make_tensors,
    sort,
    write,
)
from tests.tiny import tiny_config, tiny_v1_config

# --- generators and discriminators ---------------------------------------------------------------


def make_dump(config: DebertaConfig, shallow: DebertaConfig) -> Tensors:
    """What training a pair writes: two models, one of them with a difference for a word table."""
    generator = make_tensors(shallow, mlm=MaskedLMHead, mask_decoder=EnhancedMaskDecoder)
    discriminator = make_tensors(config, rtd=ReplacedTokenHead)
    discriminator[f"deberta.{DELTA}"] = 0.1 * discriminator.pop(f"deberta.{WORDS}")
    return {
        **{f"generator.{name}": tensor for name, tensor in generator.items()},
        **{f"discriminator.{name}": tensor for name, tensor in discriminator.items()},
    }


def pair_config(config: DebertaConfig, shallow: DebertaConfig) -> dict[str, Any]:
    return {
        "embedding_sharing": "gdes",
        "generator": shallow.to_dict(),
        "discriminator": config.to_dict(),
    }


def test_a_dump_of_a_pair_holds_two_models(tmp_path: Path) -> None:
    config, shallow = tiny_config(num_hidden_layers=3), tiny_config(num_hidden_layers=1)
    dump = make_dump(config, shallow)
    folder = write(tmp_path, pair_config(config, shallow), dump)
    discriminator = open_checkpoint(folder)
    generator = open_checkpoint(folder, part=GENERATOR)
    assert (discriminator.faults, generator.faults) == ([], [])
    assert discriminator.config.num_hidden_layers == 3
    assert generator.config.num_hidden_layers == 1
    assert discriminator.tasks == ("encoder", "replaced-token-detection")
    assert generator.tasks == ("encoder", "fill-mask")
    assert len(discriminator.ignored) + len(generator.ignored) == len(dump) + 1
    assert discriminator.ignored["generator.lm_predictions.lm_head.bias"] == (
        "part of the generator"
    )


@pytest.mark.parametrize("part", [DISCRIMINATOR, GENERATOR])
def test_a_model_of_a_pair_goes_round_alone(tmp_path: Path, part: str) -> None:
    """Its config says no more of the other one."""
    config, shallow = tiny_config(num_hidden_layers=2), tiny_config(num_hidden_layers=1)
    folder = write(tmp_path / "pair", pair_config(config, shallow), make_dump(config, shallow))
    first = open_checkpoint(folder, part=part)
    tensors = state_tensors(first.config, first.encoder, first.heads)
    again = open_checkpoint(write(tmp_path / "alone", first.config, tensors))
    assert (again.config, again.tasks, again.faults) == (first.config, first.tasks, [])
    assert_same(again.encoder, first.encoder)


def test_the_discriminators_word_table_is_the_generators_plus_its_difference() -> None:
    config = tiny_config()
    dump = make_dump(config, config)
    found = sort(config, dump)
    expected = dump[f"generator.deberta.{WORDS}"] + dump[f"discriminator.deberta.{DELTA}"]
    torch.testing.assert_close(found.encoder["embeddings.pieces.weight"], expected)


def test_a_difference_without_a_generator_is_refused_not_guessed() -> None:
    config = tiny_config()
    tensors = make_tensors(config)
    tensors[DELTA] = tensors.pop(WORDS)
    found = sort(config, tensors)
    assert found.faults == [
        f"'{DELTA}' is the difference to the word table of a generator that is not in the file, "
        "and the sum is not there",
        f"'{WORDS}' is missing",
    ]
    assert found.encoder.keys().isdisjoint({"embeddings.pieces.weight"})


def test_a_difference_beside_the_sum_is_ignored() -> None:
    """As in the released discriminators."""
    config = tiny_config()
    tensors = make_tensors(config, rtd=ReplacedTokenHead, mlm=MaskedLMHead)
    for name in (DELTA, POSITIONS, POSITIONS.replace(".weight", "._weight")):
        tensors[f"deberta.{name}"] = torch.randn(512, 16)
    found = sort(config, tensors)
    assert found.faults == []
    assert torch.equal(found.encoder["embeddings.pieces.weight"], tensors[f"deberta.{WORDS}"])
    assert len(found.ignored) == 3 + 5


def test_a_generators_file_beside_a_release_has_the_layers_it_has(tmp_path: Path) -> None:
    config, shallow = tiny_config(num_hidden_layers=2), tiny_config(num_hidden_layers=1)
    folder = write(tmp_path, config, make_tensors(config, rtd=ReplacedTokenHead))
    tensors = make_tensors(shallow, mlm=MaskedLMHead, mask_decoder=EnhancedMaskDecoder)
    torch.save(tensors, folder / GENERATOR_FILE)
    for found in (
        open_checkpoint(folder, part=GENERATOR),
        open_checkpoint(folder, weights=GENERATOR_FILE),
    ):
        assert found.file == str(folder / GENERATOR_FILE)
        assert found.config == shallow
        assert found.faults == []
        assert found.tasks == ("encoder", "fill-mask")
    assert open_checkpoint(folder).config == config


def test_asking_for_a_generator_changes_nothing_where_there_is_no_pair(tmp_path: Path) -> None:
    config = tiny_v1_config()
    folder = write(tmp_path, config, make_tensors(config, mlm=MaskedLMHead))
    found = open_checkpoint(folder, part=GENERATOR)
    assert found.config == config
    assert_same(found.encoder, open_checkpoint(folder).encoder)


# --- configs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [tiny_config(), tiny_v1_config()], ids=["v2", "v1"])
def test_the_weights_say_which_model_a_config_without_a_type_means(
    tmp_path: Path, config: DebertaConfig
) -> None:
    content = config.to_dict()
    del content["model_type"]
    found = open_checkpoint(write(tmp_path, content, make_tensors(config)))
    assert type(found.config) is type(config)
    assert found.faults == []


def test_microsofts_config_is_read_from_its_own_file(tmp_path: Path) -> None:
    config = tiny_config()
    folder = write(tmp_path, config, make_tensors(config))
    (folder / "config.json").rename(folder / "model_config.json")
    assert open_checkpoint(resolve_source(str(folder))).config == config


def test_microsofts_config_is_read_from_the_file_of_the_weights(tmp_path: Path) -> None:
    config = tiny_config()
    torch.save({**make_tensors(config), "config": config.to_dict()}, tmp_path / "pytorch_model.bin")
    found = open_checkpoint(tmp_path)
    assert (found.config, found.faults, found.format) == (config, [], "bin")


def test_a_folder_without_any_config_is_refused(tmp_path: Path) -> None:
    config = tiny_config()
    folder = write(tmp_path, config, make_tensors(config))
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=rf"^{folder}: holds no config\.json"):
        open_checkpoint(folder)


def test_a_config_may_be_given_instead(tmp_path: Path) -> None:
    config = tiny_config()
    folder = write(tmp_path, {"model_type": "bert"}, make_tensors(config))
    assert open_checkpoint(folder, config=config).faults == []
    with pytest.raises(ConfigError, match="model_type='bert' is not supported"):
        open_checkpoint(folder)


def test_a_config_of_version_2_for_weights_of_version_1_is_a_fault(tmp_path: Path) -> None:
    config = tiny_v1_config()
    content = {**config.to_dict(), "model_type": "deberta-v2"}
    found = open_checkpoint(write(tmp_path, content, make_tensors(config)))
    assert isinstance(found.config, DebertaV2Config)
    assert "another model_type than config.json's 'deberta-v2'" in found.faults[0]


# --- strangers -----------------------------------------------------------------------------------

NAMES = sorted(
    make_tensors(
        tiny_config(),
        mlm=MaskedLMHead,
        mask_decoder=EnhancedMaskDecoder,
        pooler_classifier=SequenceHead,
    )
)
WORDS_OF_NAMES = sorted({part for name in NAMES for part in name.split(".")} | {"", "1", "99", "é"})


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.lists(st.sampled_from(WORDS_OF_NAMES), min_size=1, max_size=7).map(".".join)
        | st.sampled_from(NAMES),
        st.lists(st.integers(1, 48), min_size=0, max_size=3).map(torch.zeros),
        max_size=12,
    ),
    st.sampled_from([tiny_config(num_hidden_layers=1), tiny_v1_config(num_hidden_layers=1)]),
    st.sampled_from([GENERATOR, DISCRIMINATOR]),
)
def test_any_names_and_shapes_give_faults_never_a_crash(
    tensors: Tensors, config: DebertaConfig, part: str
) -> None:
    found = sort(config, tensors, part)
    assert found.faults
    assert found.tasks[0] == "encoder"
