"""`evaluate-lm`: models and controls, for people and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from spacy_deberta.cli import app
from spacy_deberta.errors import CheckpointError, ConfigError, DataError
from spacy_deberta.modeling import DebertaV2ForMaskedLM
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, tiny_config, write_checkpoint

N_SETS = 3


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate-lm", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


def run_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: UnigramTokenizer) -> Path:
    made: Path = tmp_path_factory.mktemp("masked-lm")
    torch.manual_seed(0)
    DebertaV2ForMaskedLM(tiny_config()).save_pretrained(made)
    tiny_tokenizer.save(made)
    return made


@pytest.fixture
def blimp(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {
            "sentence_good": "the old river crossed the village",
            "sentence_bad": f"the old {word} the village crossed",
            "UID": f"set-{number}",
            "linguistics_term": "agreement" if number else "s-selection",
        }
        for number in range(N_SETS)
        for word in ("river", "station", "garden")
    ]
    file.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    return file


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join([*TEXTS[:2] * 5, "the garden. " * 30]), encoding="utf-8")
    return file


def test_everything_is_printed(folder: Path, blimp: Path, text: Path) -> None:
    printed = run(folder, "--blimp", blimp, "--text", text)
    assert f"model: {folder} (emd head, " in printed
    assert "minimal pairs: 9 in 3 sets, " in printed
    assert "scores of full sentences" in printed
    for row in ("% right", "mean over sets", "ties", "  agreement", "  argument structure"):
        assert row in printed
    assert "pll-word-l2r" in printed
    assert "15 % of the words hidden" in printed
    assert "bits per character" in printed


def test_json_has_every_set_and_what_is_needed_to_repeat_it(
    folder: Path, blimp: Path, text: Path
) -> None:
    report = run_json(folder, "--blimp", blimp, "--text", text, "--limit", 2, "--limit-lines", 3)
    assert report["mask_decoder"] == "emd"
    assert report["dtype"] == "float32"
    assert {"version", "torch", "weights", "tokenizer", "threads", "device"} <= report.keys()
    pairs = report["blimp"]
    assert (pairs["n_pairs"], pairs["limit"]) == (2 * N_SETS, 2)
    assert pairs["variants"].keys() == {"pll", "pll_word_l2r"}
    for variant in pairs["variants"].values():
        assert [score["n_pairs"] for score in variant["sets"]] == [2] * N_SETS
        assert variant["fields"].keys() == {"agreement", "argument_structure"}
    characters = len(TEXTS[0]) * 2 + len(TEXTS[1])
    assert (report["text"]["n_characters"], report["text"]["limit_lines"]) == (characters, 3)
    assert report["text"]["bits_per_character"]["pll_word_l2r"] > 0


def test_a_run_is_repeated_by_its_options(folder: Path, blimp: Path, text: Path) -> None:
    options = (folder, "--blimp", blimp, "--text", text, "--threads", torch.get_num_threads())
    first, again = run_json(*options), run_json(*options)
    for report in (first, again):
        del report["blimp"]["seconds"], report["text"]["seconds"]
    assert first == again


def test_batches_and_precision_change_little(folder: Path, text: Path) -> None:
    expected = run_json(folder, "--text", text)["text"]
    small = run_json(folder, "--text", text, "--batch-pieces", 30)["text"]
    half = run_json(folder, "--text", text, "--dtype", "bfloat16")
    assert half["dtype"] == "bfloat16"
    for name, value in expected["bits_per_character"].items():
        assert small["bits_per_character"][name] == pytest.approx(value, rel=1e-5)
        assert half["text"]["bits_per_character"][name] == pytest.approx(value, rel=0.02)


def test_random_weights_have_the_shape_and_a_seed(folder: Path, text: Path) -> None:
    trained = run_json(folder, "--text", text)
    first, again, other = (
        run_json(f"random:{folder}", "--text", text, "--seed", seed) for seed in (1, 1, 2)
    )
    assert first["control"] == "random"
    assert first["parameters"] == trained["parameters"]
    assert first["weights"] == again["weights"] != other["weights"]
    assert first["weights"] != trained["weights"]


def test_unigram_counts_in_a_text(folder: Path, blimp: Path, text: Path, tmp_path: Path) -> None:
    report = run_json(f"unigram:{folder}", "--blimp", blimp, "--text", text)
    assert report["control"] == "unigram"
    assert list(report["counted"]) == [str(text)]
    river = report["blimp"]["variants"]["pll"]
    assert river["n_ties"] == N_SETS  # the pair that differs in its order alone
    other = tmp_path / "other.txt"
    other.write_text("station garden station", encoding="utf-8")
    counted = run_json(f"unigram:{folder}", "--text", text, "--counts", other, "--counts", text)
    assert list(counted["counted"]) == [str(other), str(text)]
    assert counted["text"]["masked_nats"] != report["text"]["masked_nats"]
    assert "(piece frequencies)" in run(f"unigram:{folder}", "--text", text)


def test_what_is_missing_is_named(
    folder: Path, blimp: Path, tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="found neither --blimp nor --text"):
        run(folder)
    with pytest.raises(DataError, match="no text to count pieces in; expected a file, with --cou"):
        run(f"unigram:{folder}", "--blimp", blimp)
    bare = write_checkpoint(tmp_path / "bare", tiny_tokenizer)
    with pytest.raises(CheckpointError, match="holds no masked-LM head"):
        run(bare, "--blimp", blimp)


def test_the_embedded_model_prefers_what_is_english(tmp_path: Path) -> None:
    """It, and the controls of its shape, need no MODEL but their name."""
    file = tmp_path / "pairs.jsonl"
    pairs = [
        ("She has two dogs.", "She has two dog."),
        ("The children are playing.", "The children is playing."),
        ("He likes himself.", "He likes herself."),
        ("Those books were old.", "Those book were old."),
    ]
    lines = [{"good": g, "bad": b, "uid": "all", "term": "all"} for g, b in pairs]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    report = run_json("--blimp", file)
    assert report["model"] == "embedded"
    assert report["blimp"]["variants"]["pll_word_l2r"]["accuracy"] == 1.0
    assert run_json("random", "--blimp", file)["parameters"] == report["parameters"]
