"""One tf_model.h5, as TensorFlow's DeBERTa classes write it; TensorFlow itself is not needed.

    /deberta                          a group per Keras layer, attribute weight_names
    /deberta/tf_deberta_v2_for_masked_lm/deberta/embeddings/word_embeddings/weight:0
    /cls/tf_deberta_v2_for_masked_lm/cls/predictions/bias:0
    /cls/tf_deberta_v2_for_masked_lm/deberta/embeddings/...    the embeddings a second time

This is the only place that imports h5py (extra `tf`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spacy_deberta.checkpoints import h5_names
from spacy_deberta.checkpoints.entries import MAX_TENSORS, check_names, count_values, show
from spacy_deberta.errors import CheckpointError

if TYPE_CHECKING:
    import h5py

_KERAS_VERSION = b"2.15.0"  # Keras 2 is what TensorFlow's DeBERTa classes are written for
_MAX_ATTRIBUTE_BYTES = 64_512  # of one attribute; Keras divides longer lists over several
_MAX_DEPTH = 16  # groups within groups
_COMPARED_BYTES = 2**24  # of a copy at once
_OUTER_PARTS = 2  # of a path before the weight's own name: the Keras layer and the model


def read_h5(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by PyTorch's names, in PyTorch's layout.

    Raises:
        CheckpointError: damaged, links to other files, sizes that the file does not hold, or h5py
            is not installed.
    """
    h5 = require_h5py(path)
    try:
        with h5.File(path, "r", locking=False) as file:
            found = _find_datasets(h5, file, path)
            return _read_datasets(found, path)
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # h5py raises OSError, KeyError, RuntimeError, ... for a damaged file
        raise _refusal(path, str(error) or type(error).__name__) from error


def write_h5_file(path: Path, tensors: Mapping[str, Tensor], class_name: str) -> None:
    """Write a file in float32.

    Args:
        path: of the file.
        tensors: by PyTorch's names in the original layout.
        class_name: of the model; it decides the Keras layers.

    Raises:
        CheckpointError: TensorFlow has no such class, a tensor has no place in it, or h5py is not
            installed.
    """
    layers = h5_names.keras_layers(class_name)
    placed = _place(tensors, layers, class_name)
    model = h5_names.keras_name(class_name)
    h5 = require_h5py(path)
    with h5.File(path, "w") as file:
        _write_names(file, "layer_names", list(layers))
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = _KERAS_VERSION
        for layer in layers:
            group = file.create_group(layer)
            names = {f"{model}/{name}": tensor for name, tensor in placed[layer].items()}
            for name, tensor in names.items():
                values = h5_names.turn(name, tensor.detach().cpu().float())
                group.create_dataset(name, data=values.contiguous().numpy())
            _write_names(group, "weight_names", list(names))
        _write_names(file.create_group("top_level_model_weights"), "weight_names", [])


def _place(
    tensors: Mapping[str, Tensor], layers: tuple[str, ...], class_name: str
) -> dict[str, dict[str, Tensor]]:
    """Keras layer -> TensorFlow's names -> tensors."""
    placed: dict[str, dict[str, Tensor]] = {layer: {} for layer in layers}
    homeless = []
    for name, tensor in tensors.items():
        whole = "deberta." + name if name.startswith(("embeddings.", "encoder.")) else name
        layer = whole.split(".")[0]
        if layer not in placed or "dropout" in layer:
            homeless.append(name)
        else:
            placed[layer][h5_names.tensorflow_name(whole)] = tensor
    if homeless:
        raise CheckpointError(
            f"{class_name}: TensorFlow's class has no place for {', '.join(sorted(homeless))}. "
            "Save it as safetensors instead."
        )
    if "cls" in placed:
        embeddings = placed["deberta"].items()
        placed["cls"] |= {k: v for k, v in embeddings if k.startswith("deberta/embeddings/")}
    return placed


def _write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    """A list of names as an attribute, in parts where one attribute would be too long."""
    values = np.asarray([name.encode() for name in names])
    if values.nbytes <= _MAX_ATTRIBUTE_BYTES:
        group.attrs[key] = values
        return
    parts = -(-values.nbytes // (_MAX_ATTRIBUTE_BYTES - values.itemsize))
    for number, part in enumerate(np.array_split(values, parts)):
        group.attrs[f"{key}{number}"] = part


def _find_datasets(h5: ModuleType, file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """TensorFlow's name -> dataset, all checked, copies compared and left out."""
    datasets: dict[str, h5py.Dataset] = {}
    total = 0
    for place, dataset in _walk(h5, file, path):
        parts = place.split("/")[_OUTER_PARTS:]
        if not parts:
            raise _refusal(path, f"{show(place)} is in no layer of a model")
        _check_dataset(dataset, place, path)
        name = "/".join(parts)
        if name in datasets:
            _compare(dataset, datasets[name], place, path)
            continue
        datasets[name] = dataset
        total += dataset.nbytes
        if total > path.stat().st_size:
            raise _refusal(path, f"its tensors have more than its {path.stat().st_size} bytes")
    check_names(datasets, str(path))
    return datasets


def _walk(h5: ModuleType, file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset with its path. Only what lies in the file itself, and no group twice."""
    groups, seen = [("", file)], 0
    known = set()
    while groups:
        prefix, group = groups.pop()
        address = h5.h5o.get_info(group.id).addr
        if address in known or prefix.count("/") > _MAX_DEPTH:
            raise _refusal(path, f"its group {show(prefix)} is there twice, or too deep")
        known.add(address)
        for name in group:
            seen += 1
            if seen > 2 * MAX_TENSORS:
                raise _refusal(path, f"it has more than {2 * MAX_TENSORS} entries")
            place = prefix + name
            link = group.get(name, getlink=True)
            if not isinstance(link, h5.HardLink):
                raise _refusal(path, f"{show(place)} is a link ({type(link).__name__})")
            entry = group[name]
            if isinstance(entry, h5.Group):
                groups.append((place + "/", entry))
            elif isinstance(entry, h5.Dataset):
                yield place, entry
            else:
                raise _refusal(path, f"{show(place)} is a {type(entry).__name__}")


def _check_dataset(dataset: h5py.Dataset, place: str, path: Path) -> None:
    """Its bytes must lie in the file as they are: not elsewhere, not compressed, not missing."""
    if dataset.shape is None or dataset.dtype.kind not in "fiub":
        raise _refusal(path, f"{show(place)} has the type {show(dataset.dtype)}")
    size = count_values(dataset.shape, place, str(path)) * dataset.dtype.itemsize
    if dataset.external or dataset.is_virtual:
        raise _refusal(path, f"{show(place)} keeps its values in another file")
    if dataset.chunks is not None or dataset.id.get_storage_size() != size:
        raise _refusal(path, f"{show(place)} is compressed, or its values are missing")
    offset = dataset.id.get_offset()
    if offset is None or offset + size > path.stat().st_size:
        raise _refusal(path, f"{show(place)} has {size} bytes, more than the file holds")


def _compare(copy: h5py.Dataset, original: h5py.Dataset, place: str, path: Path) -> None:
    """A second dataset of one name must be the same; the masked-LM head has such copies."""
    if copy == original:
        return
    same = copy.shape == original.shape and copy.dtype == original.dtype
    rows = max(1, _COMPARED_BYTES * len(original) // original.nbytes)
    for start in range(0, len(original) if same else 0, rows):
        part = slice(start, start + rows)
        same = same and np.array_equal(copy[part], original[part], equal_nan=True)
    if not same:
        raise _refusal(path, f"{show(place)} differs from {show(original.name)}")


def _read_datasets(datasets: dict[str, h5py.Dataset], path: Path) -> dict[str, Tensor]:
    fused = h5_names.has_fused(datasets)
    tensors: dict[str, Tensor] = {}
    for name, dataset in datasets.items():
        ours = h5_names.torch_name(name, fused=fused)
        if ours in tensors:
            raise _refusal(path, f"{show(ours)} is there twice, under TensorFlow's two names")
        values = dataset[()]
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        tensors[ours] = h5_names.turn(name, torch.from_numpy(native))
    return tensors


def require_h5py(path: Path) -> ModuleType:
    """The library, or a CheckpointError that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"{path}: TensorFlow checkpoints need h5py; install it with pip install "
            "'spacy-deberta[tf]'."
        ) from error
    return h5py


def _refusal(path: Path, fault: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: is not a readable TensorFlow checkpoint ({fault}). Save it again with "
        "TensorFlow's save_pretrained."
    )
