"""`config`: filled configs from task, language, size and hardware."""

from pathlib import Path
from typing import Any

import pytest
from confection import Config
from spacy.util import load_config, load_model_from_config
from typer.testing import CliRunner

from spacy_deberta.cli import app
from spacy_deberta.cli.blueprint import SIZES, TASKS, Plan, build_config
from spacy_deberta.errors import ConfigError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["config", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def listeners(config: Config) -> dict[str, Any]:
    """Architecture of the listener in each component."""
    found = {}
    for name, block in config["components"].items():
        nodes = [block]
        while nodes:
            node = nodes.pop()
            if "Listener" in str(node.get("@architectures")):
                found[name] = node["@architectures"], node["upstream"]
            nodes += [value for value in node.values() if isinstance(value, dict)]
    return found


def test_a_written_config_is_filled_and_builds(tmp_path: Path) -> None:
    output = run(tmp_path / "new" / "x.cfg", "--task", "ner", "-t", "tagger", "--max-steps", 500)

    config = load_config(tmp_path / "new" / "x.cfg")
    nlp = load_model_from_config(config, auto_fill=False, validate=True)
    assert nlp.pipe_names == ["deberta", "ner", "tagger"]
    assert config["training"]["max_steps"] == 500
    assert config["training"]["optimizer"]["learn_rate"]["total_steps"] == 500
    assert config["training"]["optimizer"]["learn_rate"]["warmup_steps"] == 50
    assert "python -m spacy train" in output


@pytest.mark.parametrize("task", sorted(set(TASKS.values())))
def test_every_task_listens_to_the_encoder(task: str) -> None:
    config = build_config(Plan([task]))

    joint = task in ("deberta_textcat", "deberta_qa", "deberta_choice", "deberta_fill_mask")
    kind = "SequenceListener" if joint else "DebertaListener"
    assert listeners(config) == {task: (f"spacy-deberta.{kind}.v1", "deberta")}


@pytest.mark.parametrize("size", SIZES)
def test_a_larger_encoder_has_a_smaller_rate_and_its_own_source(size: str) -> None:
    config = build_config(Plan(["tagger"], size=size))

    rate = config["training"]["optimizer"]["learn_rate"]["initial_rate"]
    assert rate == SIZES[size].learn_rate <= 3e-4
    assert config["paths"]["source"] == SIZES[size].source
    assert config["components"]["deberta"]["model"]["source"] == "${paths.source}"


def test_a_gpu_has_larger_batches_in_bfloat16() -> None:
    cpu, gpu = (build_config(Plan(["tagger"], hardware=name)) for name in ("cpu", "gpu"))

    cpu_model, gpu_model = (one["components"]["deberta"]["model"] for one in (cpu, gpu))
    assert (cpu_model["precision"], gpu_model["precision"]) == ("fp32", "bf16")
    assert gpu_model["batch_pieces"] > cpu_model["batch_pieces"]
    assert gpu["training"]["batcher"]["@batchers"] == "spacy.batch_by_padded.v1"


def test_only_the_embedded_encoder_needs_word_shapes_beside_it() -> None:
    embedded, base = (build_config(Plan(["ner"], size=size)) for size in ("embedded", "base"))

    assert "shapes" in embedded["components"]["ner"]["model"]["tok2vec"]["*"]
    assert "*" not in base["components"]["ner"]["model"]["tok2vec"]


def test_a_source_of_ones_own_and_another_language(tmp_path: Path) -> None:
    config = Config().from_str(run("-", "-t", "senter", "-l", "de", "--source", "my/folder"))
    assert config["nlp"]["lang"] == "de"
    assert config["paths"]["source"] == "my/folder"
    assert "English only" in run(tmp_path / "x.cfg", "-t", "senter", "-l", "de")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="task 'nre' is unknown; supported: ner, tagger"):
        build_config(Plan(["nre"]))
    with pytest.raises(ConfigError, match="no task"):
        build_config(Plan([]))
    with pytest.raises(ConfigError, match="size 'tiny' is unknown; supported: embedded"):
        build_config(Plan(["ner"], size="tiny"))
    with pytest.raises(ConfigError, match="hardware 'tpu' is unknown; supported: cpu, gpu"):
        build_config(Plan(["ner"], hardware="tpu"))
    with pytest.raises(ConfigError, match="lang='qq': spaCy knows no such language"):
        build_config(Plan(["ner"], lang="qq"))
    with pytest.raises(ConfigError, match="max_steps=0"):
        build_config(Plan(["ner"], max_steps=0))
    (tmp_path / "x.cfg").write_text("")
    with pytest.raises(ConfigError, match="--force replaces it"):
        run(tmp_path / "x.cfg", "-t", "ner")
