"""`debug-pieces`: tokens against pieces, and statistics."""

import json
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_deberta.cli import app
from spacy_deberta.errors import DataError

TEXT = "Marie Curie  can't cross \u200b the river"


def run(*arguments: object, stdin: str | None = None) -> str:
    env = {"COLUMNS": "300", "TERM": "dumb"}
    result = CliRunner().invoke(app, ["debug-pieces", *map(str, arguments)], env=env, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_statistics_count_what_is_there(tiny_source: Path) -> None:
    counts = json.loads(run("--text", TEXT, "--source", tiny_source, "--json"))

    doc = spacy.blank("en").make_doc(TEXT)
    assert counts["docs"] == 1
    assert counts["tokens"] == len(doc)
    assert counts["space_tokens"] == sum(token.is_space for token in doc)
    assert sum(counts["tokens_by_pieces"]) == len(doc) - counts["space_tokens"]
    assert counts["pieces"] == counts["longest_doc"] > 7
    assert counts["bare_tokens"] == counts["tokens_by_pieces"][0]
    assert counts["windows"] == 1


def test_long_texts_are_counted_in_windows(tiny_source: Path) -> None:
    text = "a quiet river " * 20
    counts = json.loads(
        run("--text", text, "--source", tiny_source, "--json", "--window", 12, "--stride", 6)
    )
    assert counts["docs_in_windows"] == 1
    assert counts["windows"] == 1 + -(-(counts["pieces"] - 10) // 6)


def test_a_text_is_printed_by_tokens_and_pieces(tiny_source: Path) -> None:
    output = run("--text", "the river", "--text", "Xylophone", "--show", 1, "--source", tiny_source)

    lines = output.splitlines()
    assert lines[0].startswith("▁the ▁river")
    assert "docs 2" in lines[1]
    assert not any("▁X" in line for line in lines)


@pytest.mark.parametrize("name", ["x.spacy", "x.txt", "-"])
def test_files_and_stdin_are_read(tmp_path: Path, tiny_source: Path, name: str) -> None:
    texts = ["the quiet river", "one small garden"]
    (tmp_path / "x.txt").write_text("\n\n".join(texts))
    DocBin(docs=map(spacy.blank("en"), texts)).to_disk(tmp_path / "x.spacy")
    data = name if name == "-" else tmp_path / name

    counts = json.loads(run(data, "--source", tiny_source, "--json", stdin="\n".join(texts)))

    assert (counts["docs"], counts["tokens"]) == (2, 6)


def test_no_text_is_an_error(tmp_path: Path, tiny_source: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        run("--source", tiny_source)
    with pytest.raises(DataError, match="there is no such file"):
        run(tmp_path / "absent.txt", "--source", tiny_source)
