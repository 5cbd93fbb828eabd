"""tf_model.h5: read as TensorFlow writes it, written as TensorFlow reads it, refused if it lies."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from spacy_deberta.checkpoints import h5_file
from spacy_deberta.checkpoints.files import read_tensors, write_h5
from spacy_deberta.errors import CheckpointError

RECORDED = Path(__file__).parents[1] / "reference" / "tensorflow-2.19.1"
CASES = sorted(path.name for path in RECORDED.iterdir())
FILE = "tf_model.h5"
WORDS = "deberta.embeddings.word_embeddings.weight"


def class_of(case: str) -> str:
    config = json.loads((RECORDED / case / "config.json").read_text(encoding="utf-8"))
    (name,) = config["architectures"]
    return str(name)


def walk(file: h5py.File) -> dict[str, Any]:
    """Every group and dataset of a file."""
    found: dict[str, Any] = {}
    file.visititems(found.__setitem__)
    return found


def texts(values: Any) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else text for text in values.tolist()]


# --- against TensorFlow's own files --------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_file_by_tensorflow_is_read_whole(case: str) -> None:
    tensors = read_tensors(RECORDED / case).tensors
    with h5py.File(RECORDED / case / FILE) as file:
        paths = [name for name, entry in walk(file).items() if isinstance(entry, h5py.Dataset)]
        copies = [path for path in paths if path.startswith("cls/") and "/deberta/" in path]
        sizes = {path: file[path].size for path in paths if path not in copies}
    assert sum(tensor.numel() for tensor in tensors.values()) == sum(sizes.values())
    assert len(tensors) == len(sizes)
    assert bool(copies) == ("masked-lm" in case)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert all(name.split(".")[-1] in ("weight", "bias", "q_bias", "v_bias") for name in tensors)
    assert tensors[WORDS].shape[0] == 40


@pytest.mark.parametrize("case", CASES)
def test_a_file_by_us_has_what_tensorflow_wrote(tmp_path: Path, case: str) -> None:
    """Group by group, with the names in the attributes that TensorFlow reads."""
    write_h5(tmp_path, read_tensors(RECORDED / case).tensors, class_of(case))
    with h5py.File(RECORDED / case / FILE) as theirs, h5py.File(tmp_path / FILE) as ours:
        expected, found = walk(theirs), walk(ours)
        assert found.keys() == expected.keys()
        assert texts(ours.attrs["layer_names"]) == texts(theirs.attrs["layer_names"])
        assert ours.attrs["backend"] == theirs.attrs["backend"] == "tensorflow"
        assert ours.attrs["keras_version"].split(".")[0] == "2"
        for name, entry in expected.items():
            if isinstance(entry, h5py.Dataset):
                assert np.array_equal(found[name][()], entry[()]), name
                assert found[name].dtype == entry.dtype
            for key, values in entry.attrs.items():
                assert sorted(texts(found[name].attrs[key])) == sorted(texts(values)), (name, key)


@pytest.mark.parametrize("case", CASES)
def test_files_go_round_bit_for_bit(tmp_path: Path, case: str) -> None:
    tensors = read_tensors(RECORDED / case).tensors
    write_h5(tmp_path, tensors, "TF" + class_of(case))
    again = read_tensors(tmp_path).tensors
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_an_encoder_gets_the_prefix_that_tensorflow_gives_it(tmp_path: Path) -> None:
    write_h5(tmp_path, {WORDS.removeprefix("deberta."): torch.ones(2, 3).half()}, "DebertaModel")
    with h5py.File(tmp_path / FILE) as file:
        dataset = file["deberta/tf_deberta_model/deberta/embeddings/word_embeddings/weight:0"]
        assert dataset.dtype == np.float32
    assert list(read_tensors(tmp_path).tensors) == [WORDS]


def test_names_beyond_one_attribute_are_divided_as_keras_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 2000
    monkeypatch.setattr(h5_file, "_MAX_ATTRIBUTE_BYTES", limit)
    tensors = {f"encoder.layer.{n}.attention.output.dense.bias": torch.ones(1) for n in range(40)}
    write_h5(tmp_path, tensors, "DebertaV2ForSequenceClassification")
    with h5py.File(tmp_path / FILE) as file:
        attributes = file["deberta"].attrs
        assert sorted(attributes) == [f"weight_names{part}" for part in range(len(attributes))]
        assert all(values.nbytes <= limit for values in attributes.values())
        names = [name for key in sorted(attributes) for name in texts(attributes[key])]
        assert len(set(names)) == 40
        assert all(name in file["deberta"] for name in names)
    assert len(read_tensors(tmp_path).tensors) == 40


def test_tensors_without_a_place_in_tensorflow_are_named(tmp_path: Path) -> None:
    tensors = {WORDS: torch.ones(2, 3), "lm_predictions.lm_head.bias": torch.ones(2)}
    message = (
        r"^DebertaV2ForMaskedLM: TensorFlow's class has no place for "
        r"lm_predictions\.lm_head\.bias\. Save it as safetensors instead\.$"
    )
    with pytest.raises(CheckpointError, match=message):
        write_h5(tmp_path, tensors, "DebertaV2ForMaskedLM")
    assert list(tmp_path.iterdir()) == []


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    message = r"TensorFlow checkpoints need h5py; install it with pip install 'spacy-deberta\[tf\]'"
    with pytest.raises(CheckpointError, match=message):
        read_tensors(RECORDED / CASES[0])
    with pytest.raises(CheckpointError, match=message):
        write_h5(tmp_path, {}, "DebertaModel")


# --- hostile files -------------------------------------------------------------------------------

PLACE = "deberta/tf_deberta_model/deberta/embeddings/word_embeddings/weight:0"
COPY = "cls/tf_deberta_model/deberta/embeddings/word_embeddings/weight:0"
ONES = np.ones((4, 2), np.float32)


def external(file: h5py.File) -> None:
    file[PLACE] = h5py.ExternalLink("other.h5", "/a")


def external_values(file: h5py.File) -> None:
    file.create_dataset(PLACE, (4, 2), "f4", external=[("/etc/passwd", 0, 32)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4, 2))
    file.create_virtual_dataset(PLACE, layout)


def unallocated(file: h5py.File) -> None:
    file.create_dataset(PLACE, (2**20, 2**20), "f4")


def copies_that_differ(file: h5py.File) -> None:
    file[PLACE], file[COPY] = ONES, ONES + 1


def copies_of_other_shapes(file: h5py.File) -> None:
    file[PLACE], file[COPY] = ONES, ONES[:2]


def circle(file: h5py.File) -> None:
    file[PLACE] = ONES
    file["deberta/again"] = file["/"]


def many_names_of_one(file: h5py.File) -> None:
    file[PLACE] = np.ones((1000, 1000), np.float32)
    for number in range(20):
        file[f"deberta/model/deberta/a{number}/bias:0"] = file[PLACE]


def two_names_of_one(file: h5py.File) -> None:
    file["deberta/model/deberta/a/kernel:0"] = ONES
    file["deberta/model/deberta/a/weight:0"] = ONES


def set_to(values: object, **how: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset(PLACE, data=values, **how) and None


def at(place: str) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset(place, data=ONES) and None


HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "a link to another file": (external, r"is a link \(ExternalLink\)"),
    "a soft link": (
        lambda file: file.__setitem__(PLACE, h5py.SoftLink("/etc")),
        r"is a link \(SoftLink\)",
    ),
    "values in another file": (external_values, "keeps its values in another file"),
    "virtual values": (virtual, "keeps its values in another file"),
    "values that are not there": (unallocated, "its values are missing"),
    "compressed": (set_to(np.zeros(10**6, np.float32), compression="gzip"), "is compressed"),
    "chunks": (set_to(ONES, chunks=(2, 2)), "is compressed"),
    "texts": (set_to("a text"), "has the type"),
    "objects": (set_to(np.array([b"a"], dtype=h5py.string_dtype())), "has the type"),
    "a compound": (set_to(np.zeros(2, dtype=[("a", "f4"), ("b", "f4")])), "has the type"),
    "nothing": (set_to(h5py.Empty("f4")), "has the type"),
    "no values": (set_to(np.zeros((0, 4), np.float32)), "has shape"),
    "integers": (set_to(np.ones(4, np.int32)), "expected floating-point tensors"),
    "complex numbers": (set_to(np.ones(4, np.complex64)), "has the type"),
    "copies that differ": (copies_that_differ, "differs from"),
    "copies of other shapes": (copies_of_other_shapes, "differs from"),
    "a circle": (circle, "is there twice, or too deep"),
    "groups without end": (at("a/" * 40 + "b"), "is there twice, or too deep"),
    "more values than bytes": (many_names_of_one, "its tensors have more than its"),
    "one tensor twice": (two_names_of_one, "is there twice, under TensorFlow's two names"),
    "a weight at the top": (at("weight:0"), "is in no layer of a model"),
    "a type": (lambda file: file.__setitem__("a", np.dtype("f4")), "is a Datatype"),
    "a long name": (at("a/b/" + "x" * 600), "is no name of a tensor"),
}


@pytest.mark.parametrize(("write", "fault"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(
    tmp_path: Path, write: Callable[[h5py.File], None], fault: str
) -> None:
    with h5py.File(tmp_path / FILE, "w") as file:
        write(file)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / FILE}: .*{fault}"):
        read_tensors(tmp_path)


def test_a_hundred_thousand_entries_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h5_file, "MAX_TENSORS", 20)
    with h5py.File(tmp_path / FILE, "w") as file:
        for number in range(50):
            file.create_group(f"a/{number}")
    with pytest.raises(CheckpointError, match="has more than 40 entries"):
        read_tensors(tmp_path)


def test_copies_that_are_equal_are_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / FILE, "w") as file:
        file[PLACE] = file[COPY] = ONES
    assert list(read_tensors(tmp_path).tensors) == [WORDS]


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / FILE, "w") as file:
        file.create_dataset(PLACE, data=ONES.astype(">f4"))
    assert torch.equal(read_tensors(tmp_path).tensors[WORDS], torch.ones(4, 2))


def test_what_is_no_h5_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"PK\3\4" * 100, b"\0" * 4096):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is not a readable TensorFlow checkpoint \("):
            read_tensors(tmp_path)


FUZZ = """
import random, sys
from pathlib import Path
from spacy_deberta.checkpoints.files import read_tensors
from spacy_deberta.errors import CheckpointError

source, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
rng = random.Random(0)
for number in range(int(sys.argv[3])):
    content = bytearray(source)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        start = rng.randrange(len(content) - 8)
        large = (2**40).to_bytes(8, "little")
        patch = rng.choice([rng.randbytes(1), b"\\xff" * 8, bytes(8), large])
        content[start : start + len(patch)] = patch
    if number % 5 == 0:
        content = content[: rng.randrange(len(content))]
    (folder / "tf_model.h5").write_bytes(content)
    try:
        read_tensors(folder)
    except CheckpointError:
        pass
"""


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """In a process of its own, which must survive: HDF5 is a large library in C."""
    source = RECORDED / "v2-masked-lm" / FILE
    command = [sys.executable, "-c", FUZZ, str(source), str(tmp_path), "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
