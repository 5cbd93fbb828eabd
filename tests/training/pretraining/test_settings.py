"""Config files of pre-training: what is read, what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining.config_file import parse_overrides
from spacy_deberta.training.pretraining.settings import SECTIONS, Settings, read_settings

SHIPPED = sorted((Path(__file__).parents[3] / "configs").glob("pretrain_*.cfg"))
WHOLE = '[data]\ntext = ["a.txt"]\n\n[run]\nout = "o"\nsteps = 3\n'


def settings_of(folder: Path, text: str, *arguments: str) -> Settings:
    path = folder / "run.cfg"
    path.write_text(text, encoding="utf-8")
    return read_settings(path, parse_overrides(arguments))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_config_can_be_read_and_shows_every_setting(path: Path) -> None:
    settings = read_settings(path, parse_overrides(["--data.text", "a.txt"]))
    assert settings.data.text == ("a.txt",)
    text = path.read_text(encoding="utf-8")
    for name, kind in SECTIONS.items():
        part = text.split(f"[{name}]\n")[1].split("\n[")[0]
        keys = {
            line.split(" = ")[0] for line in part.splitlines() if " = " in line and line[0] != "#"
        }
        wanted = set(kind.__dataclass_fields__) - {"shape"}
        if name == "objective" and settings.objective.kind == "mlm":
            wanted = {"kind"}
        assert keys == wanted


def test_there_are_configs() -> None:
    assert [path.stem for path in SHIPPED] == ["pretrain_mlm", "pretrain_v3"]


def test_values_are_json_and_the_rest_has_defaults(tmp_path: Path) -> None:
    text = WHOLE + "\n[batches]\n# a comment\nwindows = [[0.5, 16], [0.5, 32]]\nmask_to = 0.2\n"
    settings = settings_of(tmp_path, text)
    assert settings.batches.windows == ((0.5, 16), (0.5, 32))
    assert settings.batches.mask_to == 0.2
    assert settings.batches.mask_from == 0.3
    assert settings.run.steps == 3


def test_a_section_in_a_section_is_an_object_of_free_keys(tmp_path: Path) -> None:
    text = WHOLE + '[model.shape]\nhidden_size = 16\npos_att_type = ["c2p"]\n'
    settings = settings_of(tmp_path, text, "--model.shape.hidden_act", "relu")
    expected = {"hidden_size": 16, "pos_att_type": ["c2p"], "hidden_act": "relu"}
    assert settings.model.shape == expected


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--run.steps", "7"], "run.steps", 7),
        (["--run.steps=7"], "run.steps", 7),
        (["--run.steps", "7", "--run.steps", "9"], "run.steps", 9),
        (["--run.out", "8"], "run.out", "8"),
        (["--run.out", '"8"'], "run.out", "8"),
        (["--run.bf16", "false"], "run.bf16", False),
        (["--optimizer.learn_rate", "1"], "optimizer.learn_rate", 1.0),
        (["--data.text", "b.txt"], "data.text", ("b.txt",)),
        (["--data.text", "b.txt", "--data.text", "c.txt"], "data.text", ("b.txt", "c.txt")),
        (["--data.text", '["b.txt", "c.txt"]'], "data.text", ("b.txt", "c.txt")),
        (["--data.tokenizer", "null"], "data.tokenizer", None),
        (["--optimizer.betas", "[0.8, 0.9]"], "optimizer.betas", (0.8, 0.9)),
    ],
)
def test_the_command_line_takes_json_or_plain_text(
    tmp_path: Path, arguments: list[str], key: str, value: Any
) -> None:
    settings = settings_of(tmp_path, WHOLE, *arguments)
    section, name = key.split(".")
    found = getattr(getattr(settings, section), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modelx]\ninit = 1\n", r"\[modelx\]: unknown section; did you mean 'model'"),
        ("[run]\nstep = 1\n", r"run\.step: unknown key; did you mean 'steps'"),
        ("[run.steps]\nx = 1\n", r"run\.steps\.x: unknown key"),
        ("[model]\ninit = random\n", r"model\.init='random': expected JSON"),
        ('[data]\ntext = ["a"]\n', r"run\.out: is missing"),
        (WHOLE + 'ema = "x"\n', r"run\.cfg: run\.ema='x': expected a number"),
        (WHOLE + "seed = true\n", r"run\.seed=True: expected an integer"),
        (WHOLE + "minutes = 2\n", r"run\.steps=3, run\.minutes=2\.0: expected one of the two"),
        (WHOLE + 'device = "tpu"\n', r"run\.device='tpu': expected one of auto, cpu, cuda"),
        (WHOLE + "[data]\n", "is not a config file"),
        (WHOLE + "[batches]\nwindows = [[0.5, 16]]\n", r"batches\.windows=.*adding up to 1"),
        (WHOLE + "[batches]\nwindows = [16]\n", r"expected a list, each entry \[a number, an int"),
        (WHOLE + "[batches]\nmask_to = 1.5\n", r"batches\.mask_to=1\.5: expected between 0 and 1"),
        (WHOLE + "[optimizer]\nlearn_rate = NaN\n", r"optimizer\.learn_rate=nan: expected above"),
        (WHOLE + "[model]\nshape = 3\n", r"model\.shape=3: expected an object of keys"),
        ('[run]\nout = "o"\nsteps = 1\n', r"data\.text=\[\]: expected at least one text file"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(tmp_path, text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run.steps"], r"--run\.steps: has no value"),
        (["steps", "3"], "steps: expected --section.key value"),
        (["--run.stebs", "3"], r"run\.stebs: unknown key; did you mean 'steps'"),
        (["--run.steps", "many"], r"run\.steps='many': expected an integer or null"),
    ],
)
def test_what_cannot_be_meant_on_the_command_line_either(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(tmp_path, WHOLE, *arguments)


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.cfg: is not a config file"):
        read_settings(tmp_path / "absent.cfg")
