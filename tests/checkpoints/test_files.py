"""config.json and weight files: which one is read, in which precision, and how they are written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spacy_deberta.checkpoints.files import (
    WEIGHT_FILES,
    narrow,
    read_config,
    read_tensors,
    write_config,
    write_h5,
    write_weights,
)
from spacy_deberta.errors import CheckpointError


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder


# --- config.json ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"a": NaN}', r"is not JSON \(NaN is no JSON number\)"),
        (b'{"a": [-Infinity]}', r"is not JSON \(-Infinity is no JSON number\)"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', r"is not JSON \(the key 'c' stands there twice\)"),
        (b'{"a": ' + b"9" * 10**5 + b"}", "is not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, r"is not JSON \(nested more than 64 deep\)"),
        (b"[" * 10**5, "is not JSON"),
        (b"[1, 2]", "found list, expected a JSON object"),
        (b'"text"', "found str, expected a JSON object"),
        (b"null", "found NoneType, expected a JSON object"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    write(tmp_path, "config.json", content)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'config.json'}: {fault}"):
        read_config(tmp_path)


def test_a_config_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**10)  # a hole: takes no space
    message = r"has 10000000000 bytes, expected at most 4194304\.$"
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    message = rf"^{tmp_path}: holds no config\.json; expected a checkpoint folder"
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    write(tmp_path, "config.json", b'\xef\xbb\xbf{"a": 1}')
    assert read_config(tmp_path) == {"a": 1}


def test_numbers_and_texts_of_a_config_survive(tmp_path: Path) -> None:
    content = {"eps": 1e-12, "share": 0.1234567890123456, "text": "naïve ▁", "none": None}
    write_config(tmp_path, content)
    assert read_config(tmp_path) == content
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


# --- weights -------------------------------------------------------------------------------------

FORMATS = dict(zip(WEIGHT_FILES, ("safetensors", "safetensors", "bin", "bin", "h5"), strict=True))
WORDS = "deberta.embeddings.word_embeddings.weight"


def tensors_of(value: float) -> dict[str, Tensor]:
    return {
        WORDS: torch.full((4, 2), float(value)),
        "deberta.encoder.LayerNorm.bias": torch.ones(3),
    }


def write_shards(folder: Path, tensors: dict[str, Tensor], suffix: str) -> Path:
    """One shard per tensor, and the index."""
    stem, places = {".safetensors": "model", ".bin": "pytorch_model"}[suffix], {}
    for number, (name, tensor) in enumerate(tensors.items(), start=1):
        places[name] = f"{stem}-{number:05}-of-{len(tensors):05}{suffix}"
        path = folder / places[name]
        if suffix == ".bin":
            torch.save({name: tensor}, path)
        else:
            save_file({name: tensor}, path)
    content = {"metadata": {"total_size": 44}, "weight_map": places}
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_as(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    """The tensors in one of the layouts that are read."""
    if name == "model.safetensors":
        save_file(tensors, folder / name)
    elif name == "pytorch_model.bin":
        torch.save(tensors, folder / name)
    elif name == "tf_model.h5":
        write_h5(folder, tensors, "DebertaV2Model")
    else:
        write_shards(folder, tensors, Path(name.removesuffix(".index.json")).suffix)


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_every_layout_gives_the_same_tensors(tmp_path: Path, name: str) -> None:
    write_as(tmp_path, name, tensors_of(0.5))
    found = read_tensors(tmp_path)
    assert found.file == str(tmp_path / name)
    assert found.format == FORMATS[name]
    assert found.model_config is None
    assert found.tensors.keys() == tensors_of(0.5).keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in tensors_of(0.5).items())


def test_safetensors_are_preferred_and_then_the_single_file(tmp_path: Path) -> None:
    for number, name in reversed(list(enumerate(WEIGHT_FILES))):
        write_as(tmp_path, name, tensors_of(number))
    for number, name in enumerate(WEIGHT_FILES):
        found = read_tensors(tmp_path)
        assert float(found.tensors[WORDS].mean()) == number
        (tmp_path / name).unlink()


def test_an_h5_file_is_not_written_where_nobody_would_read_it(tmp_path: Path) -> None:
    write_weights(tmp_path, tensors_of(0))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"holds model.safetensors, which is read before"):
        write_as(tmp_path, "tf_model.h5", tensors_of(1))
    assert sorted(tmp_path.iterdir()) == before


def test_what_half_precision_cannot_hold_is_named(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.tensor([1.0, 1e6])}
    with pytest.raises(CheckpointError, match=r"'b' holds 1e.06, more than float16 has room for"):
        narrow(tensors, torch.float16, tmp_path / "model.safetensors")
    assert narrow(tensors, torch.bfloat16, tmp_path)["b"].dtype == torch.bfloat16


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="a: is a file, expected a folder"):
        write_weights(tmp_path / "a", tensors_of(0))


def test_a_file_can_be_asked_for_by_name(tmp_path: Path) -> None:
    write_weights(tmp_path, tensors_of(0))
    torch.save(tensors_of(1), tmp_path / "pytorch_model.generator.bin")
    found = read_tensors(tmp_path, weights="pytorch_model.generator.bin")
    assert (found.format, float(found.tensors[WORDS].mean())) == ("bin", 1)
    with pytest.raises(CheckpointError, match=r"^weights: names 'x.bin', and .* no such file"):
        read_tensors(tmp_path, weights="x.bin")
    (tmp_path / "weights.msgpack").write_bytes(b"")
    message = r"weights.msgpack: is in no format that is read; expected one of \.safetensors, \.bin"
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path, weights="weights.msgpack")


def test_missing_weights_are_named_with_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "flax_model.msgpack", b"")
    message = (
        rf"^{tmp_path}: holds no model\.safetensors, nor model\.safetensors\.index\.json, "
        r"pytorch_model\.bin, pytorch_model\.bin\.index\.json, tf_model\.h5; expected the weights "
        r"in one of them, found flax_model\.msgpack\.$"
    )
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match=r"found nothing\.$"):
        read_tensors(tmp_path / "nowhere")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    tensor = torch.tensor([1.5, -0.25, 3.0])
    write_as(tmp_path, name, {"a": tensor.to(dtype)})
    read = read_tensors(tmp_path).tensors
    assert read["a"].dtype == torch.float32
    assert torch.equal(read["a"], tensor)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_tensors_that_are_no_weights_are_refused_all_at_once(tmp_path: Path, name: str) -> None:
    tensors = {
        "a": torch.ones(2, dtype=torch.int64),
        "b": torch.ones(2),
        "c": torch.ones(2, dtype=torch.bool),
        "embeddings.position_ids": torch.arange(3),
    }
    write_as(tmp_path, name, tensors)
    message = r"expected floating-point tensors, found a \(torch.int64\), c \(torch.bool\)\.$"
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path)
    del tensors["a"], tensors["c"]
    write_as(tmp_path, name, tensors)
    assert list(read_tensors(tmp_path).tensors) == ["b"]


def test_safetensors_by_tensorflow_get_their_names_and_layout_back(tmp_path: Path) -> None:
    kernel = torch.arange(6.0).reshape(2, 3)
    name = "deberta/encoder/layer_._1/attention/self/query_proj/kernel:0"
    save_file({name: kernel}, tmp_path / "model.safetensors", metadata={"format": "tf"})
    found = read_tensors(tmp_path).tensors
    assert list(found) == ["deberta.encoder.layer.1.attention.self.query_proj.weight"]
    assert torch.equal(found[next(iter(found))], kernel.t())


def test_microsofts_settings_among_the_weights_are_set_apart(tmp_path: Path) -> None:
    settings = {"hidden_size": 2, "pos_att_type": "c2p|p2c", "id2label": {0: "no", 1: "yes"}}
    torch.save({**tensors_of(0), "config": settings}, tmp_path / "pytorch_model.bin")
    found = read_tensors(tmp_path)
    assert found.model_config == settings
    assert found.tensors.keys() == tensors_of(0).keys()


def test_writing_leaves_one_file_and_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    write_weights(tmp_path, {"a": torch.ones(2, 3).t()})
    mapped = read_tensors(tmp_path).tensors
    write_weights(tmp_path, {"a": torch.zeros(3, 2)})
    assert torch.equal(mapped["a"], torch.ones(3, 2))
    shared = torch.zeros(2)
    with pytest.raises(RuntimeError):
        write_weights(tmp_path, {"a": shared, "b": shared})
    with pytest.raises(CheckpointError):
        write_h5(tmp_path, {"a": shared}, "DebertaModel")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert torch.equal(read_tensors(tmp_path).tensors["a"], torch.zeros(3, 2))
