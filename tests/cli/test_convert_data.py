"""`python -m spacy_deberta convert-data`, called as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_deberta.cli import main

DATA = "".join(f"Ada{number}\tB-person\nwrote\tO\nX{number}\tI-movie\n\t\n" for number in range(20))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my.iob"
    path.write_text(DATA, encoding="utf-8")
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line inside this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["spacy-deberta", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def labels_of(path: Path) -> set[str]:
    docs = DocBin().from_disk(path).get_docs(Vocab())
    return {ent.label_ for doc in docs for ent in doc.ents}


def test_one_file_is_converted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: Path
) -> None:
    target = source.parent / "all.spacy"
    assert call(monkeypatch, "convert-data", source, target) == 0
    assert labels_of(target) == {"person", "movie"}
    printed = capsys.readouterr().out
    assert "20 sentences, 60 tokens, entities: person 20, movie 20" in printed
    assert "20 entities start with I-" in printed


def test_split_and_map_write_the_three_parts(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    target = source.parent / "parts"
    options = ["--split", "70/10/20", "--seed", "1", "--map", "person=PERSON, movie="]
    assert call(monkeypatch, "convert-data", source, target, "--format", "iob", *options) == 0
    assert sorted(path.name for path in target.iterdir()) == [
        "dev.spacy",
        "test.spacy",
        "train.spacy",
    ]
    assert labels_of(target / "train.spacy") == {"PERSON"}


def test_squad_becomes_texts_with_questions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "questions.jsonl"
    answered = {"text": ["Ada"], "answer_start": [0]}
    path.write_text(
        "\n".join(
            json.dumps({"id": str(n), "question": "Who?", "context": f"Ada {n // 2}", "answers": a})
            for n, a in enumerate([answered, {"text": [], "answer_start": []}] * 10)
        )
    )
    target = tmp_path / "parts"
    options = ["--format", "squad", "--split", "50/50"]
    assert call(monkeypatch, "convert-data", path, target, *options) == 0
    assert "5 texts, 10 questions, 5 without an answer" in capsys.readouterr().out
    docs = list(DocBin().from_disk(target / "train.spacy").get_docs(Vocab()))
    assert [len(doc.spans["qa"]) for doc in docs] == [1] * 5
    assert [len(doc.user_data["._.", "qa", None, None]) for doc in docs] == [2] * 5


def test_choices_become_texts_with_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text(json.dumps({"context": "It is", "choices": ["hot", "cold"], "label": 1}))
    target = tmp_path / "choices.spacy"
    assert call(monkeypatch, "convert-data", path, target, "--format", "choice") == 0
    assert "1 questions" in capsys.readouterr().out
    (doc,) = DocBin().from_disk(target).get_docs(Vocab())
    assert doc.cats == {"0": 0.0, "1": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["out.spacy", "--format", "squad", "--map", "a=b"], "only --format iob has labels"),
        (["out.txt"], "must end in .spacy"),
        (["out", "--split", "a/b"], "--split 'a/b': expected whole percentages"),
        (["out", "--split", "70/10"], "split 70/10: expected two or three"),
        (["out.spacy", "--map", "person"], "--map 'person': expected old=new pairs"),
        (["out.spacy", "--map", "place=LOC"], "['place'] do not occur"),
    ],
)
def test_bad_options_end_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: Path,
    options: list[str],
    message: str,
) -> None:
    target = source.parent / options[0]
    assert call(monkeypatch, "convert-data", source, target, *options[1:]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1
    assert not target.exists()


def test_a_bad_line_ends_the_program_with_one_line_and_code_2(tmp_path: Path) -> None:
    bad = tmp_path / "bad.iob"
    bad.write_text("Ada\tB-person\nwrote\n")
    command = [sys.executable, "-m", "spacy_deberta", "convert-data", str(bad), "out.spacy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {bad}, line 2: found one column 'wrote', expected a token and its tag.\n"
    )


def test_help_imports_neither_torch_nor_spacy(tmp_path: Path) -> None:
    code = (
        "import sys; from spacy_deberta.cli import app\n"
        "try: app(['--help'])\n"
        "finally: print([name for name in ('torch', 'spacy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "convert-data" in done.stdout
    assert done.stdout.strip().endswith("[]")
