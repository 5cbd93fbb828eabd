"""Behaviours 30, 54 and 58: spaCy's commands work with a pipeline of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_deberta.thinc_layers.optimizer import build_adamw
from tests.tiny import LISTENER, TEXTS, ner_examples, tiny_nlp

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "ner_v2.cfg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_source: Path) -> Path:
    """Forty Docs, and a pipeline trained on them by the command."""
    folder = tmp_path_factory.mktemp("commands")
    nlp = spacy.blank("en")
    docs = [example.reference for example in ner_examples(nlp, TEXTS * 8)]
    DocBin(docs=docs).to_disk(folder / "data.spacy")
    config = spacy.util.load_config(
        CONFIG,
        overrides={
            "paths.train": str(folder / "data.spacy"),
            "paths.dev": str(folder / "data.spacy"),
            "paths.source": str(tiny_source),
            "training.max_steps": 4,
            "training.eval_frequency": 2,
            # spaCy's own `debug config --show-functions` does not find version 1
            "training.logger": {"@loggers": "spacy.ConsoleLogger.v3"},
        },
    )
    config.to_disk(folder / "config.cfg")
    run(folder, "train config.cfg --output out")
    return folder


def run(folder: Path, arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "spacy", *arguments.split()],
        capture_output=True, text=True, timeout=600, check=False, cwd=folder,
    )  # fmt: skip
    assert result.returncode in codes, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "shows"),
    [
        ("evaluate out/model-best data.spacy --output scores.json", "NER"),
        ("benchmark speed out/model-best data.spacy --batch-size 1 --no-shuffle", "words/s"),
        ("benchmark accuracy out/model-best data.spacy", "NER"),
        ("debug config config.cfg --show-functions", "spacy-deberta.DebertaListener.v1"),
        ("debug diff-config config.cfg", ""),
        ("debug model config.cfg ner -P0 -P1 -P2 -P3", ""),
        ("debug profile out/model-best data.jsonl --n-texts 10", "cumtime"),
        ("init fill-config config.cfg filled.cfg", "filled.cfg"),
        ("init labels config.cfg labels", "ner"),
        ("assemble out/model-best/config.cfg assembled", ""),
        ("apply out/model-best data.spacy applied.spacy", "Loaded model"),
        ("find-function spacy-deberta.DebertaModel.v1", "thinc_layers/transformer.py"),
        ("info out/model-best", "deberta"),
    ],
    ids=lambda value: " ".join(value.split()[:2]) if isinstance(value, str) else "",
)
def test_a_command_of_spacy_works(folder: Path, arguments: str, shows: str) -> None:
    """Rows 30 and 54."""
    lines = [json.dumps({"text": text}) for text in TEXTS * 3]
    (folder / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")

    assert shows in run(folder, arguments)


def test_debug_data_runs_through(folder: Path) -> None:
    """Row 54; it exits with 1 because 40 Docs are few."""
    assert "Training pipeline: deberta, ner" in run(folder, "debug data config.cfg", (0, 1))


def test_filling_a_filled_config_changes_nothing(folder: Path) -> None:
    """Row 41."""
    run(folder, "init fill-config config.cfg once.cfg")
    run(folder, "init fill-config once.cfg twice.cfg")

    assert (folder / "once.cfg").read_text() == (folder / "twice.cfg").read_text()


def test_a_package_requires_this_one(folder: Path) -> None:
    """Row 54."""
    (folder / "packages").mkdir()

    run(folder, "package out/model-best packages --build none --force")

    (meta,) = (folder / "packages").glob("*/meta.json")
    requirements = json.loads(meta.read_text(encoding="utf-8"))["requirements"]
    assert any(name.startswith("spacy-deberta") for name in requirements)


def test_a_higher_threshold_finds_less(tiny_source: Path, tmp_path: Path) -> None:
    """Row 58: with spaCy's own multi-label classifier on the listener."""
    nlp = tiny_nlp(tiny_source)
    model = {
        "@architectures": "spacy.TextCatReduce.v1",
        "exclusive_classes": False,
        "use_reduce_mean": True,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
        "tok2vec": LISTENER,
    }
    pipe = nlp.add_pipe("textcat_multilabel", config={"model": model})
    examples = []
    for number, text in enumerate(TEXTS * 2):
        cats = {"LONG": float(len(text) > 30), "EVEN": float(number % 2 == 0)}
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    nlp.initialize(lambda: examples)
    optimizer = build_adamw(0.01)
    for _ in range(5):
        nlp.update(examples, sgd=optimizer)

    recalls = []
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        pipe.cfg["threshold"] = threshold
        recalls.append(nlp.evaluate(examples)["cats_macro_r"])

    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[-1]
