"""`python -m pipelines`: files, standard streams, exit status, resuming."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.lines import Fields, count_done, read_lines
from spacy_deberta.errors import InputError, OptionError
from tests.pipelines.conftest import Written

LINES = [
    {"text": "Angela Merkel lives in Berlin.", "id": 1},
    {"text": "good film", "id": 2, "nested": {"a": [1, None]}},
    {"text": "Zürich 😀 ½", "id": 3},
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return source, tmp_path / "out.jsonl"


def arguments(written: Written, files: tuple[Path, Path], *more: str) -> list[str]:
    model = str(written("text-classification"))
    paths = ["-i", str(files[0]), "-o", str(files[1])]
    return ["text-classification", "--model", model, *paths, "--device", "cpu", *more]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_input_line_has_an_output_line_in_order(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(written, files)) == 0
    found = read(files[1])
    assert [{k: v for k, v in line.items() if k != "prediction"} for line in found] == LINES
    assert {line["prediction"]["label"] for line in found} <= {"negative", "neutral", "positive"}
    assert capsys.readouterr().err == ""


def test_failures_have_an_error_in_their_place_and_status_3(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with files[0].open("a") as file:
        file.write('not json\n\n{"text": null}\n{"other": "a"}\n[1]\n"plain"\n{"text": "last"}\n')
    assert main(arguments(written, files)) == 3
    kinds = ["error" if "error" in line else "prediction" for line in read(files[1])]
    assert kinds == ["prediction"] * 3 + ["error"] * 4 + ["prediction"] * 2
    messages = [line["error"]["message"] for line in read(files[1]) if "error" in line]
    assert messages[0].startswith("line 4: is not JSON")
    assert "expected a text" in messages[1]
    assert messages[2] == "line 7: found the keys other, expected text, text_pair."
    assert "line 8: found list" in messages[3]
    assert "4 input(s) failed" in capsys.readouterr().err


def test_on_error_raise_stops_and_skip_leaves_out(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[0].write_text('{"text": "a"}\n{"text": 7}\n{"text": "b"}\n')
    assert main(arguments(written, files, "--on-error", "raise")) == 3
    assert "error: input 1" in capsys.readouterr().err
    assert len(read(files[1])) == 1
    assert main(arguments(written, files, "--on-error", "skip", "--force")) == 0
    assert [line["text"] for line in read(files[1])] == ["a", "b"]


def test_options_fields_and_shapes(written: Written, files: tuple[Path, Path]) -> None:
    more = ["--top-k", "2", "-O", "function_to_apply=sigmoid", "--hf-compat"]
    assert main(arguments(written, files, *more)) == 0
    assert [len(line["prediction"]) for line in read(files[1])] == [2, 2, 2]
    files[0].write_text('{"body": "good film"}\n')
    assert main(arguments(written, files, "--text-field", "body", "--force")) == 0
    files[0].write_text("good film\r\n\nlast")
    assert main(arguments(written, files, "--lines", "--force")) == 0
    assert [line["text"] for line in read(files[1])] == ["good film", "", "last"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--topk", "2"], "No such option"),
        (["-O", "topk"], "expected NAME=VALUE"),
        (["-O", "top_kk=2"], "Did you mean 'top_k'?"),
        (["-O", "top_k=0"], "top_k=0"),
        (["--on-error", "stop"], "on-error='stop'"),
        (["--device", "cuda:7"], "device='cuda:7'"),
        (["--threads", "0"], "--threads"),
        (["--batch-pieces", "0"], "batch_pieces=0"),
    ],
)
def test_wrong_use_is_status_1(
    written: Written,
    files: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main(arguments(written, files, *more)) == 1
    assert message in capsys.readouterr().err
    assert not files[1].exists()


def test_an_unknown_task_and_missing_files_are_status_1(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nre"]) == 1
    assert "Did you mean 'ner'?" in capsys.readouterr().err
    absent = files[0].with_name("absent.jsonl")
    assert main(arguments(written, (absent, files[1]))) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(arguments(written, (files[0], files[0]), "--force")) == 1
    assert "is the input" in capsys.readouterr().err
    assert len(read(files[0])) == 3
    assert main([]) == 1


def test_a_model_that_cannot_be_loaded_is_status_2(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments_ = arguments(written, files)
    arguments_[2] = str(tmp_path / "nothing")
    assert main(arguments_) == 2
    assert "nothing is there" in capsys.readouterr().err
    arguments_[2] = str(written("token-classification"))
    assert main([*arguments_, "--force"]) == 2
    assert "it can do feature-extraction, token-classification" in capsys.readouterr().err
    assert not files[1].exists()


def test_an_output_that_is_there_is_never_overwritten_unasked(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text("precious\n")
    assert main(arguments(written, files)) == 1
    assert "--force" in capsys.readouterr().err
    assert main(arguments(written, files, "--resume")) == 1
    assert "line 1: is no result" in capsys.readouterr().err
    assert files[1].read_text() == "precious\n"


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_resuming_gives_what_one_run_gives(
    written: Written, files: tuple[Path, Path], kept: int
) -> None:
    assert main(arguments(written, files)) == 0
    whole = files[1].read_text()
    done = whole.splitlines(keepends=True)
    files[1].write_text("".join(done[:kept]) + '{"text": "cut in the mi')
    assert main(arguments(written, files, "--resume")) == 0
    assert files[1].read_text() == whole


def test_resuming_reports_failures_of_earlier_runs(
    written: Written, files: tuple[Path, Path]
) -> None:
    files[0].write_text('{"text": 1}\n{"text": "a"}\n')
    assert main(arguments(written, files)) == 3
    files[1].write_text(files[1].read_text().splitlines(keepends=True)[0])
    assert main(arguments(written, files, "--resume")) == 3
    assert len(read(files[1])) == 2


def test_resuming_numbers_failures_as_one_run_does(
    written: Written, files: tuple[Path, Path]
) -> None:
    files[0].write_text('{"text": "a"}\n{"text": null}\n')
    assert main(arguments(written, files)) == 3
    whole = files[1].read_text()
    files[1].write_text(whole.splitlines(keepends=True)[0])
    assert main(arguments(written, files, "--resume")) == 3
    assert files[1].read_text() == whole


def test_an_interrupted_run_says_how_to_go_on(
    written: Written,
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(job: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.job.run_job", interrupted)
    assert main(arguments(written, files)) == 130
    assert "--resume goes on" in capsys.readouterr().err


def test_counting_what_is_done_cuts_an_unfinished_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert count_done(path) == (0, 0)
    path.write_text('{"prediction": 1}\n{"error": 1}\n{"pred')
    assert count_done(path) == (2, 1)
    assert path.read_text() == '{"prediction": 1}\n{"error": 1}\n'


def test_awkward_lines_are_told_by_number() -> None:
    text = '{"text": "a"}\n' + "[" * 100_000 + '\n{"text": "\\ud800"}\n7\n'
    found = [raw for raw, _ in read_lines(io.StringIO(text), Fields("text", ("text",)))]
    assert found[0] == "a"
    assert isinstance(found[1], InputError)
    assert found[2] == "\ud800"
    assert isinstance(found[3], InputError)


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.lines.MOST_CHARACTERS", 10)
    with pytest.raises(OptionError, match="more than 10 characters"):
        list(read_lines(io.StringIO("x" * 30), Fields("text", (), plain=True)))


def test_a_report_shows_inputs_and_failures(written: Written, files: tuple[Path, Path]) -> None:
    with files[0].open("a") as file:
        file.write('{"text": "<script>alert(1)</script>"}\n{"text": null}\n')
    page = files[0].with_name("report.html")
    assert main(arguments(written, files, "--html", str(page))) == 3
    shown = page.read_text(encoding="utf-8")
    assert "Angela Merkel lives in Berlin." in shown
    assert "<script>alert" not in shown


def test_a_report_marks_the_text_that_was_read(written: Written, tmp_path: Path) -> None:
    source, target, page = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "r.html"))
    model = str(written("token-classification"))
    common = ["ner", "-m", model, "-i", str(source), "-o", str(target), "--html", str(page)]
    common += ["--device", "cpu", "--force", "-O"]
    source.write_text('{"text": "another", "body": "Angela Merkel"}\n')
    assert main([*common, 'ignore_labels=["PER","LOC"]', "--text-field", "body"]) == 0
    assert ">Angela Merkel</p>" in page.read_text(encoding="utf-8")
    source.write_text('{"text": ["Angela", "Merkel"]}\n')
    assert main([*common, 'ignore_labels=["PER","LOC"]', "-O", "pretokenized=true"]) == 0
    assert ">Angela Merkel</p>" in page.read_text(encoding="utf-8")


def test_pairs_may_have_a_field_of_another_name(written: Written, files: tuple[Path, Path]) -> None:
    files[0].write_text('{"premise": "good", "text_pair": "bad"}\n')
    assert main(arguments(written, files, "--text-field", "premise")) == 0
    assert read(files[1])[0]["prediction"]["label"]


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    written: Written, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(written, files, "--html", str(files[0] / "r.html"))) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not files[1].exists()


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    assert "token-classification  (ner)" in capsys.readouterr().out


def test_pipes_between_processes(written: Written) -> None:
    """stdin to stdout; a reader that has enough ends the command quietly."""
    model = str(written("text-classification"))
    command = [sys.executable, "-m", "pipelines", "textcat", "-m", model, "-i", "-", "-o", "-"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    text = "".join(json.dumps(line) + "\n" for line in LINES * 2000)
    script = 'exec 3>&1; set -o pipefail; "$@" | head -n 1; echo "status ${PIPESTATUS[0]}"'
    found = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        input=text,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    first, status = found.stdout.splitlines()
    assert json.loads(first)["id"] == 1
    assert (status, found.stderr) == ("status 0", "")
