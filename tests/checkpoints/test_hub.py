"""Names on the hub: only what is needed is fetched, once, and the cache serves without a network.

The hub is tests/checkpoints/hub_server.py, on the loopback interface of a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from spacy_deberta.checkpoints.files import read_tensors

SINGLE = {
    "config.json": b"{}",
    "pytorch_model.bin": b"not asked for",
    "tf_model.h5": b"not asked for",
    "flax_model.msgpack": b"not asked for",
    "README.md": b"not asked for",
    "modeling.py": b"not asked for",
    "spm.model": b"pieces",
    "tokenizer_config.json": b"{}",
}
SHARDS = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
ALONE = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
GENERATOR = "pytorch_model.generator.bin"


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repositories")
    single = write_all(root / "o" / "single" / "main", SINGLE)
    save_file({"a": torch.ones(2)}, single / "model.safetensors")
    write_all(root / "o" / "single" / "old", {"config.json": b"{}", "pytorch_model.bin": b"old"})
    sharded = write_all(root / "o" / "sharded" / "main", {"config.json": b"{}"})
    for name, shard in SHARDS.items():
        save_file({name: torch.ones(2)}, sharded / shard)
    save_file({"c": torch.ones(2)}, sharded / "other-00001-of-00002.safetensors")
    index = json.dumps({"weight_map": SHARDS}).encode()
    write_all(sharded, {"model.safetensors.index.json": index})
    generator = {"config.json": b"{}", "pytorch_model.bin": b"large", GENERATOR: b"small"}
    write_all(root / "o" / "generator" / "main", generator)
    write_all(root / "o" / "tokenizer" / "main", SINGLE)
    write_all(root / "o" / "flax" / "main", {"config.json": b"{}", "flax_model.msgpack": b""})
    hostile = json.dumps({"weight_map": {"a": "../../x.safetensors"}}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": hostile}
    write_all(root / "o" / "hostile" / "main", files)
    return root


def run(repositories: Path, home: Path, calls: list[dict[str, Any]], **settings: str) -> Any:
    """The reports of `resolve_source` in a process with these settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-m", "tests.checkpoints.hub_server", str(repositories)]
    done = subprocess.run(
        [*command, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**kept, **ALONE, "HF_HOME": str(home), **settings},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ONLINE = [
    {"source": "o/single"},
    {"source": "o/single"},
    {"source": "o/single", "revision": "old"},
    {"source": "o/sharded"},
    {"source": "o/generator", "prefer": GENERATOR},
    {"source": "o/flax"},
    {"source": "o/hostile"},
    {"source": "o/missing"},
    {"source": "o/single", "revision": "gone"},
    {"source": "o/tokenizer", "tokenizer": True},
]
OFFLINE = [
    {"source": "o/single"},
    {"source": "o/single", "revision": "old"},
    {"source": "o/sharded"},
    {"source": "o/missing"},
    {"source": "o/flax"},
    {"source": "o/tokenizer", "tokenizer": True},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(repositories: Path, home: Path) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = run(repositories, home, ONLINE)
    return reports


@pytest.fixture(scope="module")
def offline(repositories: Path, home: Path, online: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert online
    reports: list[dict[str, Any]] = run(repositories, home, OFFLINE, HF_HUB_OFFLINE="1")
    return reports


def names_in(report: dict[str, Any]) -> list[str]:
    return sorted(path.name for path in Path(report["folder"]).iterdir())


def test_only_the_needed_files_are_fetched(online: list[dict[str, Any]], home: Path) -> None:
    expected = ["config.json", "model.safetensors", "spm.model", "tokenizer_config.json"]
    assert names_in(online[0]) == expected
    assert home in Path(online[0]["folder"]).parents
    fetched = [asked for asked in online[0]["asked"] if "/resolve/" in asked]
    assert {asked.rsplit("/", 1)[-1] for asked in fetched} == set(expected)


def test_a_second_call_downloads_nothing(online: list[dict[str, Any]]) -> None:
    assert online[1]["folder"] == online[0]["folder"]
    assert not any("GET" in asked and "/resolve/" in asked for asked in online[1]["asked"])


def test_a_revision_has_its_own_folder(online: list[dict[str, Any]]) -> None:
    assert names_in(online[2]) == ["config.json", "pytorch_model.bin"]
    assert online[2]["folder"] != online[0]["folder"]


def test_a_tokenizer_is_fetched_without_weights(
    online: list[dict[str, Any]], offline: list[dict[str, Any]]
) -> None:
    assert names_in(online[-1]) == ["config.json", "spm.model", "tokenizer_config.json"]
    assert offline[-1] == {"folder": online[-1]["folder"], "error": None, "asked": []}


def test_all_shards_and_no_other_file_are_fetched(online: list[dict[str, Any]]) -> None:
    index = "model.safetensors.index.json"
    assert names_in(online[3]) == sorted(["config.json", index, *SHARDS.values()])
    found = read_tensors(Path(online[3]["folder"]))
    assert sorted(found.tensors) == ["a", "b"]


def test_a_preferred_file_is_fetched_instead_of_the_usual_one(online: list[dict[str, Any]]) -> None:
    assert names_in(online[4]) == ["config.json", GENERATOR]


def test_a_checkpoint_without_readable_weights_is_refused(online: list[dict[str, Any]]) -> None:
    assert "hold none of model.safetensors, model.safetensors.index.json" in online[5]["error"]


def test_an_index_that_names_files_outside_is_refused(online: list[dict[str, Any]]) -> None:
    assert "model.safetensors.index.json: names '../../x.safetensors'" in online[6]["error"]
    assert not any(asked.endswith("/x.safetensors") for asked in online[6]["asked"])


def test_what_is_not_on_the_hub_is_named_with_the_places(
    online: list[dict[str, Any]], home: Path
) -> None:
    for report, call in zip(online[7:9], ONLINE[7:9], strict=True):
        assert report["error"].startswith(
            f"source={call['source']!r}: looked for a checkpoint folder of this name, and for "
            "config.json at http://127.0.0.1:"
        )
        assert f"in the cache {home / 'hub'} (" in report["error"]
        assert "\n" not in report["error"]
    assert "at revision 'gone'" in online[8]["error"]


def test_offline_mode_serves_the_cache_and_asks_nothing(
    online: list[dict[str, Any]], offline: list[dict[str, Any]]
) -> None:
    assert [report["asked"] for report in offline] == [[]] * len(offline)
    expected = [online[0]["folder"], online[2]["folder"], online[3]["folder"]]
    assert [report["folder"] for report in offline[:3]] == expected
    assert "(HF_HUB_OFFLINE is set)" in offline[3]["error"]
    assert "hold none of model.safetensors" in offline[4]["error"]
