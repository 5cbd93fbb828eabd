"""`migrate`: configs of spacy-transformers and spacy-curated-transformers."""

from pathlib import Path
from typing import Any

import pytest
from confection import Config
from spacy.util import load_config, load_model_from_config
from typer.testing import CliRunner

from spacy_deberta.cli import app
from spacy_deberta.cli.migration import migrate_config
from spacy_deberta.errors import ConfigError

# The part that matters of what `spacy init config -p ner,tagger --gpu` writes.
ST = """
[nlp]
lang = "en"
pipeline = ["transformer","ner","tagger"]
batch_size = 64

[components]

[components.transformer]
factory = "transformer"
max_batch_items = 4096

[components.transformer.set_extra_annotations]
@annotation_setters = "spacy-transformers.null_annotation_setter.v1"

[components.transformer.model]
@architectures = "spacy-transformers.TransformerModel.v3"
name = "microsoft/deberta-v3-small"
mixed_precision = true

[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.strided_spans.v1"
window = 128
stride = 96

[components.transformer.model.tokenizer_config]
use_fast = true

[components.ner]
factory = "ner"

[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
nO = null

[components.ner.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 0.5
upstream = "transformer"

[components.ner.model.tok2vec.pooling]
@layers = "reduce_first.v1"

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"
nO = null

[components.tagger.model.tok2vec]
@architectures = "spacy-transformers.Tok2VecTransformer.v3"
name = "roberta-base"

[components.tagger.model.tok2vec.pooling]
@layers = "reduce_mean.v1"

[training]
accumulate_gradient = 3
dropout = 0.2

[training.optimizer]
@optimizers = "Adam.v1"
L2 = 0.02
L2_is_weight_decay = true
grad_clip = 0.5

[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 250
total_steps = 20000
initial_rate = 5e-5

[training.batcher]
@batchers = "spacy.batch_by_padded.v1"
discard_oversize = true
size = 2000
buffer = 256
"""

CURATED: dict[str, Any] = {
    "nlp": {"lang": "en", "pipeline": ["trf", "tagger"]},
    "components": {
        "trf": {
            "factory": "curated_transformer",
            "model": {"@architectures": "spacy-curated-transformers.BertTransformer.v1"},
        },
        "tagger": {
            "factory": "tagger",
            "model": {
                "@architectures": "spacy.Tagger.v2",
                "tok2vec": {
                    "@architectures": "spacy-curated-transformers.ScalarWeightingListener.v1",
                    "width": 768,
                    "upstream": "trf",
                    "pooling": {"@layers": "reduce_mean.v1"},
                },
            },
        },
    },
    "initialize": {
        "components": {
            "trf": {
                "encoder_loader": {
                    "@model_loaders": "spacy-curated-transformers.HFTransformerEncoderLoader.v1",
                    "name": "bert-base-cased",
                }
            }
        }
    },
}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["migrate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.cfg"
    path.write_text(ST)
    return path


def test_a_migrated_config_is_filled_and_builds(old: Path, tmp_path: Path) -> None:
    output = run(old, tmp_path / "new.cfg")

    config = load_config(tmp_path / "new.cfg")
    nlp = load_model_from_config(config, auto_fill=False, validate=True)
    assert nlp.pipe_names == ["transformer", "ner", "tagger"]
    encoder = config["components"]["transformer"]
    assert encoder["factory"] == "deberta"
    assert encoder["model"]["source"] == "microsoft/deberta-v3-small"
    assert encoder["model"]["pooling"] == "first"
    assert encoder["model"]["precision"] == "bf16"
    listener = config["components"]["ner"]["model"]["tok2vec"]
    assert listener == {
        "@architectures": "spacy-deberta.DebertaListener.v1",
        "upstream": "transformer",
        "grad_factor": 0.5,
    } | {key: listener[key] for key in listener.keys() - {"upstream", "grad_factor"}}
    assert "transformers." not in config.to_str()
    assert "windows are counted in pieces" in output


def test_training_settings_are_kept_and_the_optimizer_is_ours(old: Path, tmp_path: Path) -> None:
    run(old, tmp_path / "new.cfg")

    training = load_config(tmp_path / "new.cfg")["training"]
    optimizer = training["optimizer"]
    assert (training["accumulate_gradient"], training["dropout"]) == (3, 0.2)
    assert optimizer["@optimizers"] == "spacy-deberta.AdamW.v1"
    assert (optimizer["weight_decay"], optimizer["grad_clip"]) == (0.02, 0.5)
    assert optimizer["learn_rate"]["initial_rate"] == 5e-5
    assert training["batcher"]["discard_oversize"] is False


def test_an_encoder_that_is_no_deberta_is_pointed_out_or_replaced(
    old: Path, tmp_path: Path
) -> None:
    assert "'roberta-base' does not look like a DeBERTa" in run(old, tmp_path / "new.cfg")
    assert "look like" not in run(old, tmp_path / "new.cfg", "--source", "x/deberta", "--force")

    tagger = load_config(tmp_path / "new.cfg")["components"]["tagger"]["model"]["tok2vec"]
    assert tagger["@architectures"] == "spacy-deberta.DebertaModel.v1"
    assert tagger["source"] == "x/deberta"


def test_curated_configs_give_up_their_loaders() -> None:
    done = migrate_config(Config(CURATED))

    assert done.config["components"]["trf"]["model"]["source"] == "bert-base-cased"
    assert done.config["initialize"]["components"] == {}
    listener = done.config["components"]["tagger"]["model"]["tok2vec"]
    assert listener == {"@architectures": "spacy-deberta.DebertaListener.v1", "upstream": "trf"}
    assert any("mix of all layers" in note for note in done.notes)
    assert CURATED["initialize"]["components"]["trf"], "the old config is as it was"


def test_what_cannot_be_migrated_is_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to migrate"):
        migrate_config(Config({"nlp": {"lang": "en"}, "components": {"x": {"factory": "tagger"}}}))
    with pytest.raises(ConfigError, match="there is no such file"):
        run(tmp_path / "absent.cfg", tmp_path / "new.cfg")
    (tmp_path / "bad.cfg").write_text("[a\nb")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        run(tmp_path / "bad.cfg", tmp_path / "new.cfg")
    with pytest.raises(ConfigError, match="--force replaces it"):
        run(old, old)
