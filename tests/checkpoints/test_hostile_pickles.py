"""Hostile PyTorch files: payloads that never run, pickles and archives that lie.

The rest of the hostile files: test_hostile_files.py.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_deberta.checkpoints.files import read_tensors
from spacy_deberta.errors import CheckpointError
from tests.checkpoints.broken import (
    BIN,
    GIB,
    ORDERED,
    PROTOCOL,
    REBUILD,
    SAFE,
    Payload,
    number,
    numbers,
    old_format,
    refusal,
    state,
    storage,
    tensor,
    text,
    zipped,
)

# --- pickles -------------------------------------------------------------------------------------


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """What a payload would make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code from a model folder was executed"


def payload_files(canary: Path) -> dict[str, bytes]:
    """The same payload in every place of every format."""
    payload = {"a": torch.ones(4), "x": Payload(canary)}
    files = {f"plain-{protocol}": pickle.dumps(payload, protocol) for protocol in range(6)}
    for name, new in (("zip", True), ("old", False)):
        for protocol in (2, 4):
            file = io.BytesIO()
            torch.save(payload, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
            files[f"{name}-{protocol}"] = file.getvalue()
    command = f"touch {canary}"
    call = b"cposix\nsystem\n" + b"(" + text(command) + b"tR"
    files["as-a-name"] = zipped(state(call + tensor(4, [4], [1])))
    files["as-a-size"] = zipped(
        state(text("a") + REBUILD + b"(" + storage(4) + number(0) + call + numbers([1]) + b"tR")
    )
    files["as-attributes"] = zipped(PROTOCOL + ORDERED + b")R" + call + b"b.")
    files["before-the-end"] = zipped(PROTOCOL + call + b"0}.")
    files["instance"] = zipped(PROTOCOL + b"(" + text(command) + b"iposix\nsystem\n.")
    files["first-of-old"] = PROTOCOL + call + b"."
    files["keys-of-old"] = old_format(state(text("a") + tensor(4, [4], [1])))[:-47] + call
    return files


@pytest.mark.parametrize("name", sorted(payload_files(Path("x"))))
@pytest.mark.parametrize("file", [BIN, "model.bin", SAFE, "tf_model.h5"])
def test_payloads_are_never_executed(tmp_path: Path, canary: Path, name: str, file: str) -> None:
    refusal(tmp_path, file, payload_files(canary)[name])


def test_the_payload_would_work(tmp_path: Path) -> None:
    """Else the tests above show nothing."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


def test_a_payload_is_named_with_what_to_do(tmp_path: Path, canary: Path) -> None:
    torch.save({"x": Payload(canary)}, tmp_path / BIN)
    message = (
        rf"^{tmp_path / BIN}: needs '\w+\.mkdir', expected names and tensors only; "
        r"nothing in it was run\. Load it where you trust its author, save model\.state_dict\(\) "
        r"with safetensors, and use that\.$"
    )
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path)


def test_a_payload_in_a_shard_is_never_executed(tmp_path: Path, canary: Path) -> None:
    shard = "pytorch_model-00001-of-00001.bin"
    torch.save({"a": Payload(canary)}, tmp_path / shard)
    index = {"weight_map": {"a": shard}}
    (tmp_path / f"{BIN}.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"{shard}: needs "):
        read_tensors(tmp_path)


GOOD = text("a") + tensor(4, [4], [1])
LYING_PICKLES = {
    "storage-larger-than-the-file": state(text("a") + tensor(2**31 - 1, [4], [1])),
    "negative-storage": state(text("a") + tensor(-4, [4], [1])),
    "sizes-outside": state(text("a") + tensor(4, [5], [1])),
    "sizes-overflow": state(text("a") + tensor(4, [2**30, 2**30, 2**30], [1, 1, 1])),
    "values-many-times": state(text("a") + tensor(4, [2**30, 4], [0, 1])),
    "strides-outside": state(text("a") + tensor(4, [2, 2], [3, 1])),
    "negative-strides": state(text("a") + tensor(4, [4], [-1])),
    "offset-outside": state(text("a") + tensor(4, [4], [1], offset=1)),
    "no-values": state(text("a") + tensor(4, [0], [1])),
    "fewer-strides": state(text("a") + tensor(4, [2, 2], [1])),
    "a-size-that-is-true": state(
        text("a") + REBUILD + b"(" + storage(4) + number(0) + b"\x88\x85" + numbers([1]) + b"tR"
    ),
    "sizes-in-a-list": state(
        text("a") + REBUILD + b"(" + storage(4) + number(0) + b"](K\x04e" + numbers([1]) + b"tR"
    ),
    "another-record": state(text("a") + tensor(4, [4], [1]).replace(text("0"), text("1"))),
    "two-sizes": state(GOOD + text("b") + tensor(3, [3], [1])),
    "a-view-of-a-storage": state(
        text("a") + tensor(4, [4], [1]).replace(number(4) + b"tQ", number(4) + numbers([0]) + b"tQ")
    ),
    "attributes-of-a-tensor": state(GOOD + storage(4) + b"\x85b"),
    "no-storage": PROTOCOL + text("x") + b"Q.",
    "empty-stack": PROTOCOL + b"t.",
    "no-end": state(GOOD)[:-1],
    "nothing": b"",
    "protocol-4": b"\x80\x04}.",
    "noise": bytes(range(256)),
    "a-call-without-end": PROTOCOL + ORDERED + (b")R" + ORDERED) * 300_000 + b".",
}


@pytest.mark.parametrize("pickled", LYING_PICKLES.values(), ids=LYING_PICKLES)
@pytest.mark.parametrize("wrap", [zipped, old_format])
def test_pickles_that_ask_for_what_is_not_there_are_refused(
    tmp_path: Path, pickled: bytes, wrap: Any
) -> None:
    before = peak_memory()
    refusal(tmp_path, BIN, wrap(pickled))
    assert peak_memory() - before < GIB


def peak_memory() -> int:
    """Bytes of address space this process has asked for at most."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmPeak:")[1].split()[0]) * 1024


@pytest.mark.parametrize("wrap", [zipped, old_format])
def test_the_good_pickle_is_read(tmp_path: Path, wrap: Any) -> None:
    """Else the tests above show nothing."""
    (tmp_path / BIN).write_bytes(wrap(state(GOOD), b"\0\0\x80?" * 4))
    assert torch.equal(read_tensors(tmp_path).tensors["a"], torch.ones(4))


def nested(depth: int) -> bytes:
    """A tuple of two of a tuple of two ...: short to write, endless to hash or to print."""
    return b")" + b"".join(b"q\0" + b"h\0\x86" for _ in range(depth))


BOMBS = {
    "as-a-name": state(nested(60) + b"K\1"),
    "as-settings": state(text("config") + b"}(" + text("a") + nested(60) + b"u"),
    "as-a-value": state(text("a") + nested(60)),
    "as-a-size": state(
        text("a") + REBUILD + b"(" + storage(4) + number(0) + nested(60) + nested(60) + b"tR"
    ),
    "as-a-storage": state(text("a") + nested(60) + b"Q"),
    "as-all": PROTOCOL + nested(60) + b".",
}


@pytest.mark.parametrize("pickled", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("wrap", [zipped, old_format])
def test_nested_pickles_take_no_time(tmp_path: Path, pickled: bytes, wrap: Any) -> None:
    refusal(tmp_path, BIN, wrap(pickled))


def test_tensors_that_show_the_same_bytes_again_and_again_are_refused(tmp_path: Path) -> None:
    """Half precision is copied when it is widened: sharing may not multiply that."""
    half = tensor(2**15, [2**15], [1]).replace(b"FloatStorage", b"HalfStorage")
    many = b"".join(text(f"a{place}") + half for place in range(500))
    content = zipped(state(many), b"\0" * 2**16)
    assert "show the same bytes many times" in refusal(tmp_path, BIN, content)


CONTENTS: dict[str, Any] = {
    "a list": [torch.ones(2)],
    "an optimizer's state": {"state": {0: torch.ones(2)}},
    "a number": {"a": torch.ones(2), "step": 7},
    "settings that are no dictionary": {"a": torch.ones(2), "config": [1]},
    "a sparse tensor": {"a": torch.eye(3).to_sparse()},
    "a tensor without values": {"a": torch.ones(2, device="meta")},
    "complex numbers": {"a": torch.ones(2, dtype=torch.complex64)},
    "a module": torch.nn.Linear(2, 2),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("new", [True, False])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: Any, new: bool) -> None:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    message = refusal(tmp_path, BIN, file.getvalue())
    assert "expected names and tensors only" in message


# --- archives ------------------------------------------------------------------------------------


def archive_of(names: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def test_archives_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    good = state(GOOD)
    packed = zipped(good, b"\0" * 10**7, zipfile.ZIP_DEFLATED)
    assert "is compressed or too large" in refusal(tmp_path, BIN, packed)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped(good, copies=2)
    assert "is there twice" in refusal(tmp_path, BIN, twice)
    assert "there is no data.pkl" in refusal(tmp_path, BIN, archive_of(["x/version"]))
    assert "has 10 bytes, expected 16" in refusal(tmp_path, BIN, zipped(good, b"\0" * 10))
    large = PROTOCOL + text("x" * 5 * 2**20) + b"."
    assert "its data.pkl has " in refusal(tmp_path, BIN, zipped(large))
    assert "the end of the archive is missing" in refusal(tmp_path, BIN, zipped(good)[:-30])
    many = archive_of([f"a/data/{place:0100}" for place in range(20_000)])
    assert "its list of records has " in refusal(tmp_path, BIN, many)
