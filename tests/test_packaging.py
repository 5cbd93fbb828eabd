"""What is shipped: entry points, public names, configs, light imports."""

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from spacy.util import load_config, load_model_from_config

ROOT = Path(__file__).parent.parent
# those of pre-training are read by tests/training/pretraining/test_settings.py
CONFIGS = sorted(set((ROOT / "configs").glob("*.cfg")) - set((ROOT / "configs").glob("pretrain_*")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS = [
    (group, name, target)
    for group, table in PROJECT["entry-points"].items()
    for name, target in table.items()
]


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_entry_point_is_installed_and_loads(group: str, name: str, target: str) -> None:
    (point,) = entry_points(group=group, name=name)
    assert point.value == target
    assert callable(point.load())


@pytest.mark.parametrize("package", ["spacy_deberta", "pipelines"])
def test_public_names_exist_and_are_sorted(package: str) -> None:
    module = importlib.import_module(package)
    public = module.__all__
    assert sorted(public) == public
    assert all(hasattr(module, name) for name in public)


@pytest.mark.parametrize("package", ["spacy_deberta", "pipelines"])
def test_packages_ship_their_types(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_pipelines_start_with_a_registry_of_tasks() -> None:
    import pipelines

    assert list(pipelines.available_tasks()) == sorted(pipelines.available_tasks())


@pytest.mark.parametrize("code", ["import spacy_deberta", "import pipelines"])
def test_importing_a_package_loads_neither_torch_nor_spacy(code: str) -> None:
    assert modules_after(code, "torch", "spacy") == []


def modules_after(code: str, *names: str) -> list[str]:
    """Which of these modules a fresh interpreter has loaded after the code."""
    code = f"import sys; {code}; print(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_builds_and_is_complete(path: Path) -> None:
    """As `spacy init fill-config` does it: nothing to add, nothing unknown."""
    config = load_config(path)
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.pipe_names == config["nlp"]["pipeline"]
    assert nlp.config == config
