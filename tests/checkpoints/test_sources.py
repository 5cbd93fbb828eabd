"""Which folder a `source` stands for, and what is said when there is none."""

from pathlib import Path

import pytest

from spacy_deberta.checkpoints import EMBEDDED_FOLDER, resolve_source
from spacy_deberta.errors import CheckpointError


def test_none_is_the_embedded_model() -> None:
    assert resolve_source(None) == EMBEDDED_FOLDER
    assert EMBEDDED_FOLDER.parts[-3:] == ("spacy_deberta", "models", "embedded")


def test_a_checkpoint_folder_is_itself(tiny_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_source(str(tiny_source)) == tiny_source
    monkeypatch.chdir(tiny_source.parent)
    assert resolve_source(tiny_source.name) == Path(tiny_source.name)
    monkeypatch.setenv("HOME", str(tiny_source.parent))
    assert resolve_source(f"~/{tiny_source.name}") == tiny_source


def test_a_path_where_nothing_is(tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    with pytest.raises(CheckpointError) as caught:
        resolve_source(str(missing))
    assert str(caught.value) == (
        f"source={str(missing)!r}: looked for a checkpoint folder at {missing}, and nothing is "
        "there. Give the path of a folder with config.json, model.safetensors and spm.model, or "
        "null for the embedded model."
    )


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    message = rf"the folder {tmp_path} holds no config\.json; expected a DeBERTa checkpoint with"
    with pytest.raises(CheckpointError, match=message):
        resolve_source(str(tmp_path))


def test_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="nothing is there"):
        resolve_source(str(tmp_path / "link"))


@pytest.mark.parametrize(
    "source", ["x" * 300, "a\0b", "~nobody-of-this-name/x", "line\nbreak", "microsoft/deberta-v3"]
)
def test_odd_paths_give_one_clear_message(source: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        resolve_source(source)
    assert str(caught.value).startswith(f"source={source!r}: ")
    assert "checkpoint folder" in str(caught.value)


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is a file"):
        resolve_source(str(file))


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"^source="):
        resolve_source(str(tmp_path / "a"))
