"""Which folder a `source` stands for, and what is said when there is none."""

import sys
from pathlib import Path

import pytest

from spacy_deberta.checkpoints import EMBEDDED_FOLDER, resolve_source, resolve_tokenizer_source
from spacy_deberta.errors import CheckpointError


def test_none_is_the_embedded_model() -> None:
    assert resolve_source(None) == EMBEDDED_FOLDER
    assert EMBEDDED_FOLDER.parts[-4:] == ("spacy_deberta", "models", "embedded", "deberta")


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
        "there. Give the path of a folder with config.json, weights and tokenizer, a name on the "
        'hub such as "microsoft/deberta-v3-base", or null for the embedded model.'
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
    "source", ["x" * 300, "a\0b", "~nobody-of-this-name/x", "line\nbreak", "a/b/c"]
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


def test_only_the_hub_has_revisions(tiny_source: Path) -> None:
    for source, place in ((None, "the embedded model"), (str(tiny_source), "the folder")):
        with pytest.raises(CheckpointError, match=rf"^revision='main': {place}.* has no revisions"):
            resolve_source(source, revision="main")


def test_a_folder_goes_before_a_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        resolve_source("owner/name")
    (tmp_path / "owner" / "name" / "config.json").write_text("{}", encoding="utf-8")
    assert resolve_source("owner/name") == Path("owner/name")


def test_a_name_on_the_hub_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = (
        r"^source='microsoft/deberta-v3-base': no checkpoint folder is there, and names on the hub "
        r"need huggingface_hub; install it with pip install 'spacy-deberta\[hub\]', or give"
    )
    with pytest.raises(CheckpointError, match=message):
        resolve_source("microsoft/deberta-v3-base")


def test_a_tokenizer_needs_no_config_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_tokenizer_source(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert resolve_tokenizer_source(f"~/{tmp_path.name}") == tmp_path
    assert resolve_tokenizer_source(None) == EMBEDDED_FOLDER


@pytest.mark.parametrize("source", ["x" * 300, "a\0b", "a/b/c"])
def test_a_tokenizer_is_looked_for_like_a_checkpoint(source: str) -> None:
    with pytest.raises(CheckpointError, match=r"source="):
        resolve_tokenizer_source(source)


def test_a_folder_with_a_tokenizer_has_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"the folder {tmp_path} has no revisions"):
        resolve_tokenizer_source(str(tmp_path), revision="main")
