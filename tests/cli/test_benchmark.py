"""`python -m spacy_deberta benchmark`: the numbers it gives, and what it refuses."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from spacy_deberta.checkpoints import load_encoder
from spacy_deberta.cli import app, main, measure
from spacy_deberta.errors import CheckpointError, ConfigError, DebertaError, PathError
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import write_checkpoint

ONCE = ("--repeats", "1")
FEW = ("--cells", "1x4,2x8")
PEER = ("--peer", "transformers")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short_source(tmp_path: Path, tiny_tokenizer: UnigramTokenizer) -> Path:
    """A checkpoint that knows 64 absolute positions."""
    return write_checkpoint(tmp_path / "short", tiny_tokenizer, position_biased_input=True)


class FakeModel(nn.Module):
    """What AutoModel would give: our encoder over rectangles, and something added to it."""

    def __init__(self, folder: str, added: float) -> None:
        super().__init__()
        self.encoder = load_encoder(Path(folder))
        self.added = added

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        assert attention_mask.dtype == torch.int64  # with a convolution it subtracts the mask
        output = self.encoder.rectangle(input_ids, attention_mask.bool())
        return SimpleNamespace(last_hidden_state=output.last_hidden_state + self.added)


@pytest.fixture
def fake_transformers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a transformers in the place of the one that may be installed."""

    def install(*, added: float = 0.0, error: Exception | None = None) -> None:
        def from_pretrained(folder: str, *, torch_dtype: torch.dtype) -> FakeModel:
            assert torch_dtype == torch.float32
            if error is not None:
                raise error
            return FakeModel(folder, added)

        module: Any = ModuleType("transformers")
        module.__version__ = "0.0.fake"
        module.AutoModel = SimpleNamespace(from_pretrained=from_pretrained)
        monkeypatch.setitem(sys.modules, "transformers", module)

    return install


def run(*arguments: object) -> str:
    """What the command prints on stdout; our own errors pass through."""
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments), *ONCE])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def report(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_json_has_the_machine_and_every_cell(tiny_source: Path) -> None:
    found = report(tiny_source, *FEW, "--threads", 1)
    assert found["checkpoint"] == str(tiny_source / "model.safetensors")
    assert (found["dtype"], found["device"], found["repeats"]) == ("float32", "cpu", 1)
    assert list(found["machine"]) == ["processor", "cores", "memory", "threads", "torch"]
    assert (found["machine"]["threads"], found["machine"]["torch"]) == ("1", torch.__version__)
    assert found["cut"] == {}
    assert [cell["name"] for cell in found["cells"]] == ["1x4", "2x8"]
    assert [cell["pieces"] for cell in found["cells"]] == [4, 16]
    for cell in found["cells"]:
        times, rates = cell["milliseconds"], cell["pieces_per_second"]
        assert times.keys() == rates.keys() == {"ours", "plain"}
        assert rates["ours"] == pytest.approx(1000 * cell["pieces"] / times["ours"])
        assert cell["ratio"] == {"plain": pytest.approx(times["plain"] / times["ours"])}
        assert 0 <= cell["difference"]["plain"] < 1e-5


def test_the_table_says_the_same_in_words(tiny_source: Path) -> None:
    printed = run(tiny_source, *FEW)
    assert printed.startswith(f"{tiny_source / 'model.safetensors'}, float32 on cpu\nprocessor ")
    assert f"torch {torch.__version__}\n" in printed
    header, first, second = (
        line.split() for line in printed.splitlines() if line.startswith((" cell", " 1x4", " 2x8"))
    )
    assert header == ["cell", "ms", "pieces/s", "ms", "pieces/s", "/", "ours"]
    assert (len(first), len(second)) == (6, 6)
    assert "relative to the largest value: plain " in printed
    assert "cut to" not in printed


def test_finished_cells_are_told_beside_the_output(tiny_source: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark", str(tiny_source), *FEW, *ONCE])
    assert result.stderr == "measured 1x4\nmeasured 2x8\n"


def test_the_embedded_model_is_measured_where_none_is_named() -> None:
    assert "embedded" in report("--cells", "1x4")["checkpoint"]


def test_mixed_is_32_sentences_of_4_to_47_pieces(tiny_source: Path) -> None:
    (cell,) = measure.parse_cells("mixed")
    assert (len(cell.lengths), max(cell.lengths)) == (32, 47)
    assert min(cell.lengths) >= 4
    (found,) = report(tiny_source, "--cells", "mixed")["cells"]
    assert (found["name"], found["pieces"]) == ("mixed", sum(cell.lengths))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precisions_differ_and_are_measured_all_the_same(
    tiny_source: Path, dtype: str
) -> None:
    found = report(tiny_source, *FEW, "--dtype", dtype)
    assert found["dtype"] == dtype
    assert all(0 < cell["difference"]["plain"] < 0.1 for cell in found["cells"])


def test_sequences_are_cut_to_the_positions_of_the_checkpoint(short_source: Path) -> None:
    found = report(short_source, "--cells", "1x16,2x64,2x80,2x512")
    assert [cell["name"] for cell in found["cells"]] == ["1x16", "2x64"]
    assert found["cut"] == {"2x80": "2x64", "2x512": "2x64"}
    printed = run(short_source, "--cells", "1x16,2x80")
    assert "cut to the positions of this checkpoint: 2x80 to 2x64\n" in printed


def test_mixed_lengths_are_cut_one_by_one() -> None:
    (cell,) = measure.parse_cells("mixed")
    short = cell.cut(16)
    assert short.name == "mixedx16"
    assert short.lengths == tuple(min(length, 16) for length in cell.lengths)


def test_without_absolute_positions_nothing_is_cut_but_for_a_peer(
    tiny_source: Path, fake_transformers: Callable[..., None]
) -> None:
    assert report(tiny_source, "--cells", "1x80")["cut"] == {}
    fake_transformers()
    assert report(tiny_source, "--cells", "1x80", *PEER)["cut"] == {"1x80": "1x64"}


def test_transformers_is_measured_when_asked(
    tiny_source: Path, fake_transformers: Callable[..., None]
) -> None:
    fake_transformers(added=1e-5)
    found = report(tiny_source, "--cells", "1x4,mixed", *PEER)
    assert found["machine"]["transformers"] == "0.0.fake"
    for cell in found["cells"]:
        assert list(cell["milliseconds"]) == ["ours", "plain", "transformers"]
        assert list(cell["ratio"]) == ["plain", "transformers"]
        assert 1e-6 < cell["difference"]["transformers"] < 1e-4
    printed = run(tiny_source, *FEW, *PEER)
    assert "formers" in printed
    assert "…" not in printed  # three encoders fit into 80 columns


@pytest.mark.parametrize("added", [0.01, float("nan")])
def test_other_outputs_end_the_command_before_any_time(
    tiny_source: Path,
    fake_transformers: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    added: float,
) -> None:
    fake_transformers(added=added)
    monkeypatch.delattr(measure, "_time")
    with pytest.raises(PathError, match=r"ours and transformers differ by .* in cell 1x4, expect"):
        run(tiny_source, *FEW, *PEER)


def test_half_precisions_may_differ_but_not_by_no_number(
    tiny_source: Path, fake_transformers: Callable[..., None]
) -> None:
    half = ("--dtype", "bfloat16")
    fake_transformers(added=0.5)
    assert report(tiny_source, *FEW, *PEER, *half)["cells"]
    fake_transformers(added=float("nan"))
    with pytest.raises(PathError, match="differ by nan"):
        run(tiny_source, *FEW, *PEER, *half)


def test_a_missing_transformers_is_named_with_what_to_do(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"--peer transformers: .*pip install transformers"):
        run(tiny_source, *PEER)


def test_what_transformers_refuses_is_passed_on_in_one_line(
    tiny_source: Path, fake_transformers: Callable[..., None]
) -> None:
    fake_transformers(error=KeyError("model_type\nand a long story"))
    with pytest.raises(CheckpointError, match=r"transformers 0\.0\.fake cannot load it") as caught:
        run(tiny_source, *PEER)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loads", [(), PEER])
def test_transformers_is_imported_only_when_asked(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch, loads: tuple[str, ...]
) -> None:
    asked = []

    def import_module(name: str) -> ModuleType:
        asked.append(name)
        raise ImportError(name)

    monkeypatch.setattr(measure, "importlib", SimpleNamespace(import_module=import_module))
    if loads:
        with pytest.raises(ConfigError):
            run(tiny_source, *FEW, *loads)
    else:
        run(tiny_source, *FEW)
    assert asked == (["transformers"] if loads else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dtype int8", "--dtype 'int8': expected one of: float32, bfloat16, float16."),
        ("--device tpu", "--device 'tpu': expected one of: cpu, cuda."),
        ("--peer onnx", "--peer 'onnx': expected one of: transformers."),
        ("--repeats 0", "--repeats 0: expected at least 1."),
        ("--threads 0", "--threads 0: expected 1 to "),
        ("--threads 100000", "--threads 100000: expected 1 to "),
        ("--cells 0x3", "--cells: found '0x3', expected sequences x pieces"),
        ("--cells 3x0", "--cells: found '3x0'"),
        ("--cells 8", "--cells: found '8'"),
        ("--cells 1x4,", "--cells: found ''"),
        ("--cells 1x-4", "--cells: found '1x-4'"),
        ("--cells 1x9999999999", "--cells: found '1x9999999999'"),
        ("--cells 4096x32", "--cells: 4096x32 is too large; expected at most 65,536 pieces"),
        ("--cells 1x65536", "--cells: 1x65536 is too large"),
        ("--device cuda", "finds no GPU. Use --device cpu"),
        ("absent", "source='absent': looked for a checkpoint folder"),
    ],
)
def test_bad_options_end_with_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["spacy-deberta", "benchmark", *options.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr().err
    assert caught.value.code == 2
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_too_little_memory_is_an_error_of_ours(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(measure, "_rows", refuse)
    with pytest.raises(ConfigError, match="there is not enough memory for the largest of them"):
        run(tiny_source)


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(measure, "_rows", refuse)
    with pytest.raises(RuntimeError, match="a fault of ours") as caught:
        run(tiny_source)
    assert not isinstance(caught.value, DebertaError)


@pytest.mark.gpu
def test_a_gpu_is_measured_and_named(tiny_source: Path) -> None:
    found = report(tiny_source, *FEW, "--device", "cuda", "--dtype", "bfloat16")
    assert found["device"] == "cuda"
    assert found["machine"]["gpu"] == torch.cuda.get_device_name()
