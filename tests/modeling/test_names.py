"""The public names, looked up when they are asked for."""

import importlib
import inspect
import subprocess
import sys

import pytest

import spacy_deberta
from spacy_deberta import modeling

NAMES = [name for name in spacy_deberta.__all__ if name.startswith("Deberta")]


def test_all_models_and_configs_are_in_the_package() -> None:
    public = {n for n in modeling.__all__ if n.startswith("Deberta")} | {"DebertaError"}
    assert set(NAMES) == public
    for name in public - {"DebertaError"}:
        assert getattr(spacy_deberta, name) is getattr(modeling, name)


def test_the_names_for_type_checkers_are_the_public_ones() -> None:
    source = inspect.getsource(spacy_deberta)
    block = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    names = [line.strip(" ,") for line in block.splitlines() if line.endswith(",")]
    assert names == [name for name in NAMES if name != "DebertaError"]


def test_names_are_listed_before_they_are_looked_up() -> None:
    assert set(NAMES) <= set(dir(spacy_deberta))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'spacy_deberta' has no attribute 'BertModel'"):
        importlib.import_module("spacy_deberta").BertModel  # noqa: B018 - the lookup is the test


def test_a_config_needs_no_torch() -> None:
    code = "import sys, spacy_deberta; spacy_deberta.DebertaConfig; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
