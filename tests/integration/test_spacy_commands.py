"""spaCy's own commands with a pipeline of ours, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from confection import Config
from spacy.tokens import Doc, DocBin, Span

from spacy_deberta.cli.blueprint import Plan, build_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WORDS = ["Marie", "Curie", "crossed", "the", "old", "river"]


def run(*arguments: object, code: int = 0, folder: Path | None = None) -> str:
    """The output of `python -m spacy ...`."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "spacy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 docs with entities, tags and classes."""
    path = tmp_path_factory.mktemp("data") / "docs.spacy"
    vocab, docs = spacy.blank("en").vocab, DocBin()
    for label in ("x", "y") * 20:
        doc = Doc(vocab, words=WORDS, tags=["N", "N", "V", "D", "A", "N"])
        doc.ents = [Span(doc, 0, 2, "PERSON")]
        doc.cats = {"x": float(label == "x"), "y": float(label == "y")}
        docs.add(doc)
    docs.to_disk(path)
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_source: Path) -> Path:
    plan = Plan(
        ["ner", "tagger", "textcat_multilabel", "deberta_ner"],
        source=str(tiny_source),
        max_steps=4,
    )
    found = build_config(plan)
    found["training"]["eval_frequency"] = 2
    path = tmp_path_factory.mktemp("config") / "x.cfg"
    found.to_disk(path)
    return path


@pytest.fixture(scope="module")
def paths(data: Path) -> list[str]:
    return ["--paths.train", str(data), "--paths.dev", str(data)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, config: Path, paths: list[str]) -> Path:
    """What `spacy train` leaves."""
    out = tmp_path_factory.mktemp("out")
    output = run("train", config, "--output", out, *paths)
    assert "ENTS_F" in output
    return out / "model-best"


def test_train_and_evaluate_agree(trained: Path, data: Path, tmp_path: Path) -> None:
    run("evaluate", trained, data, "--output", tmp_path / "scores.json")
    run("evaluate", trained, data, "-P", "--output", tmp_path / "per.json", "-dp", tmp_path)

    scores = json.loads((tmp_path / "scores.json").read_text())
    performance = json.loads((trained / "meta.json").read_text())["performance"]
    assert scores["tag_acc"] == pytest.approx(performance["tag_acc"])
    assert scores["ents_f"] == pytest.approx(performance["ents_f"])
    assert (tmp_path / "entities.html").is_file()


def test_configs_are_filled_checked_and_compared(
    config: Path, paths: list[str], tmp_path: Path
) -> None:
    run("init", "fill-config", config, tmp_path / "filled.cfg")
    assert (tmp_path / "filled.cfg").read_text() == config.read_text()
    # --show-functions fails in spaCy 3.8.18 with any config: it does not find its own logger.
    assert "Config is valid" in run("debug", "config", config, *paths, "--show-variables")
    run("debug", "diff-config", config)


def test_data_and_models_are_debugged(
    config: Path, paths: list[str], trained: Path, tmp_path: Path
) -> None:
    assert "Named Entity Recognition" in run("debug", "data", config, *paths, code=1), "few docs"
    for component in ("ner", "deberta_ner"):
        output = run("debug", "model", config, component, *paths, "-DIM", "-P2")
        assert "deberta-listener" in output
    texts = ROOT / "tests/integration/texts.jsonl"
    assert "predict" in run("debug", "profile", trained, texts, folder=tmp_path)  # writes a file


def test_labels_are_written_and_read(config: Path, paths: list[str], tmp_path: Path) -> None:
    run("init", "labels", config, tmp_path, *paths)
    assert json.loads((tmp_path / "deberta_ner.json").read_text()) == ["PERSON"]
    changed = Config().from_disk(config, interpolate=False)
    changed["initialize"]["components"] = {
        name: {
            "labels": {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / f"{name}.json")}
        }
        for name in ("ner", "deberta_ner", "tagger", "textcat_multilabel")
    }
    changed.to_disk(tmp_path / "labels.cfg")
    config, out = tmp_path / "labels.cfg", tmp_path / "out"
    run("train", config, "--training.max_steps", 1, "--output", out, *paths)


def test_speed_is_measured(trained: Path, data: Path) -> None:
    output = run("benchmark", "speed", trained, data, "--batches", 30, "-b", 10, "--warmup", 1)
    assert "Mean" in output


def test_docs_are_annotated_by_apply(trained: Path, data: Path, tmp_path: Path) -> None:
    for n_process in (1, 2):
        run("apply", trained, data, tmp_path / "out.spacy", "-n", n_process, "-b", 8, "-F")
        docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.load(trained).vocab))
        assert len(docs) == 40
        assert all(doc.has_annotation("TAG") for doc in docs)


def test_a_threshold_is_found(trained: Path, data: Path) -> None:
    for pipe, score in (("textcat_multilabel", "cats_macro_f"), ("deberta_ner", "ents_f")):
        output = run("find-threshold", trained, data, pipe, "threshold", score, "-n", 3)
        said = " ".join(output.split())
        assert f"Optimizing for {score} for component '{pipe}' with 3 trials" in said


def test_what_there_is_can_be_asked(trained: Path) -> None:
    assert "deberta_ner" in run("info", trained)
    output = run("find-function", "spacy-deberta.DebertaListener.v1")
    assert "listeners.py" in output


def test_a_trained_pipeline_is_assembled(trained: Path, tmp_path: Path) -> None:
    parts = "".join(
        f'[components.{name}]\nsource = "{trained}"\n' for name in ("deberta", "ner", "tagger")
    )
    header = '[nlp]\nlang = "en"\npipeline = ["deberta","ner","tagger"]\n[components]\n'
    (tmp_path / "base.cfg").write_text(header + parts)
    run("init", "fill-config", tmp_path / "base.cfg", tmp_path / "full.cfg")
    run("assemble", tmp_path / "full.cfg", tmp_path / "nlp")

    text = "Marie Curie crossed the river"
    found, wanted = spacy.load(tmp_path / "nlp")(text), spacy.load(trained)(text)
    assert [token.tag_ for token in found] == [token.tag_ for token in wanted]
    assert (found.tensor == wanted.tensor).all()


def test_a_package_requires_this_one(trained: Path, tmp_path: Path) -> None:
    run("package", trained, tmp_path, "--name", "tiny", "--version", "1.2.3", "--build", "none")

    meta = json.loads((tmp_path / "en_tiny-1.2.3/meta.json").read_text())
    assert any(name.startswith("spacy-deberta>=") for name in meta["requirements"])


def test_our_commands_stand_under_spacys() -> None:
    assert "debug-pieces" in run("deberta", "--help")
    output = run("deberta", "config", "-", "--task", "nonsense", code=2)
    assert "error: task 'nonsense' is unknown" in output
    assert "Traceback" not in output
