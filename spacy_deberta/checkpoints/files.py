"""Reading and writing the files of a checkpoint folder: bytes and tensors, no model."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacy_deberta.checkpoints.h5_file import read_h5, require_h5py, write_h5_file
from spacy_deberta.checkpoints.json_file import read_object
from spacy_deberta.checkpoints.pickle_file import read_pickle
from spacy_deberta.checkpoints.safetensors_file import read_safetensors, write_safetensors
from spacy_deberta.checkpoints.shards import member, read_shards
from spacy_deberta.errors import CheckpointError

CONFIG_FILE = "config.json"
MICROSOFT_CONFIG_FILE = "model_config.json"  # of Microsoft's own training code
WEIGHTS_FILE = "model.safetensors"
H5_FILE = "tf_model.h5"
INDEX_SUFFIX = ".index.json"
WEIGHT_FILES = (  # in the order of preference
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    H5_FILE,
)
TOKENIZER_FILES = (
    "added_tokens.json",
    "bpe_encoder.bin",
    "merges.txt",
    "special_tokens_map.json",
    "spm.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)

_FORMATS = {".safetensors": "safetensors", ".bin": "bin", ".pt": "bin", ".h5": "h5"}
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_MAX_LISTED = 10  # names of files in a message


@dataclass(frozen=True, eq=False)
class TensorFile:
    """What a weight file holds, whatever its format.

    Attributes:
        tensors: float32, by PyTorch's names and in PyTorch's layout; memory-mapped where the file
            allows it. Integer buffers of old files are left out.
        file: its path, or that of its index, for messages.
        format: "safetensors", "bin" or "h5".
        model_config: settings that Microsoft's training code kept among the weights.
    """

    tensors: dict[str, Tensor]
    file: str
    format: str
    model_config: Mapping[str, Any] | None = None


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        CheckpointError: missing, too large, or not a JSON object.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no {CONFIG_FILE}; expected a checkpoint folder.")
    return read_object(path)


def read_tensors(folder: Path, *, weights: str | None = None) -> TensorFile:
    """The tensors of a checkpoint folder; half precision is widened to float32.

    Args:
        folder: of the checkpoint.
        weights: the file to read, by its name; None = the first of `WEIGHT_FILES` that is there.

    Raises:
        CheckpointError: missing or damaged file, or one that asks for more than tensors.
    """
    try:
        path = _find_weights(folder) if weights is None else member(folder, weights, "weights")
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}).") from error
    suffix = Path(path.name.removesuffix(INDEX_SUFFIX)).suffix
    if suffix not in _FORMATS:
        raise CheckpointError(
            f"{path}: is in no format that is read; expected one of {', '.join(_FORMATS)}."
        )
    sharded, model_config = path.name.endswith(INDEX_SUFFIX), None
    if suffix == ".safetensors":
        tensors = read_shards(path, read_safetensors) if sharded else read_safetensors(path)
    elif suffix == ".h5":
        tensors = read_h5(path)
    elif sharded:
        tensors = read_shards(path, lambda shard: read_pickle(shard).tensors)
    else:
        content = read_pickle(path)
        tensors, model_config = content.tensors, content.model_config
    return TensorFile(widen(tensors, str(path)), str(path), _FORMATS[suffix], model_config)


def _find_weights(folder: Path) -> Path:
    """The preferred weight file, which must be a regular one."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            return path
        if path.exists() or path.is_symlink():
            raise CheckpointError(f"{path}: is not a regular file; expected the weights there.")
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    listing = ", ".join(found[:_MAX_LISTED]) + ", ..." * (len(found) > _MAX_LISTED)
    raise CheckpointError(
        f"{folder}: holds no {WEIGHTS_FILE}, nor {', '.join(WEIGHT_FILES[1:])}; expected the "
        f"weights in one of them, found {listing or 'nothing'}."
    )


def widen(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Floating-point tensors as float32; integer buffers of old files are kept out."""
    wrong = [f"{key} ({tensor.dtype})" for key, tensor in tensors.items() if not _weight(tensor)]
    wrong = [entry for entry in wrong if "position_ids" not in entry]
    if wrong:
        raise CheckpointError(f"{name}: expected floating-point tensors, found {', '.join(wrong)}.")
    return {key: tensor.float() for key, tensor in tensors.items() if _weight(tensor)}


def _weight(tensor: Tensor) -> bool:
    return tensor.dtype in _FLOATS


def dump_config(content: Mapping[str, Any]) -> str:
    """A config.json as text; srsly would round small numbers such as layer_norm_eps to zero."""
    return json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n"


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Write config.json, replacing it as a whole."""
    text = dump_config(content)
    replace_file(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write model.safetensors, replacing it as a whole.

    A new file takes the old one's place: a model that is memory-mapped from the old file goes on
    reading it, also when a pipeline is saved over the folder it was loaded from.
    """
    replace_file(folder / WEIGHTS_FILE, lambda path: write_safetensors(path, tensors))


def write_h5(folder: Path, tensors: Mapping[str, Tensor], class_name: str) -> None:
    """Write tf_model.h5, replacing it as a whole, as TensorFlow's `save_pretrained` does.

    Args:
        folder: made if absent.
        tensors: by PyTorch's names in the original layout; written in float32.
        class_name: of the model, such as "DebertaV2ForMaskedLM".

    Raises:
        CheckpointError: TensorFlow has no such class, a tensor has no place in it, h5py is not
            installed, or the folder holds weights that would be read before these.
    """
    require_h5py(folder / H5_FILE)
    read_before = [name for name in WEIGHT_FILES if name != H5_FILE and (folder / name).exists()]
    if read_before:
        raise CheckpointError(
            f"{folder}: holds {read_before[0]}, which is read before {H5_FILE}, so that the new "
            "weights would never be. Write into another folder, or remove that file."
        )
    replace_file(folder / H5_FILE, lambda path: write_h5_file(path, tensors, class_name))


def narrow(tensors: Mapping[str, Tensor], dtype: torch.dtype, file: Path) -> dict[str, Tensor]:
    """Tensors in another precision.

    Raises:
        CheckpointError: a value is too large for it; names the tensor.
    """
    narrowed = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    for name, tensor in narrowed.items() if dtype == torch.float16 else ():
        if not tensor.isfinite().all() and tensors[name].isfinite().all():
            largest = float(tensors[name].abs().max())
            raise CheckpointError(
                f"{file}: '{name}' holds {largest:g}, more than float16 has room for "
                f"({torch.finfo(dtype).max:g}). Write it in bfloat16 or float32."
            )
    return narrowed


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Write beside the target, then move into its place; nothing is left behind on failure."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(f"{target.parent}: is a file, expected a folder to write.") from error
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    path = Path(name)
    try:
        write(path)
        path.chmod(0o644)
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)
