"""Encoders from checkpoint folders and back, with every tensor accounted for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spacy_deberta.checkpoints.accounting import fill_module
from spacy_deberta.checkpoints.files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    dump_config,
    parse_config,
    read_config,
    read_weights,
    widen,
    write_config,
    write_weights,
)
from spacy_deberta.checkpoints.names import (
    BESIDE_ENCODER,
    ENCODER_NAMES,
    MASKED_LM_NAMES,
    inverted,
    rename,
)
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError
from spacy_deberta.heads import MaskedLMHead

PREFIX = "deberta."

_LENGTH = struct.Struct("<Q")  # bytes of the config in front of the weights in one blob


def load_encoder(folder: Path, *, attention: str = "auto") -> DebertaEncoder:
    """The encoder of a checkpoint folder, in float32, in eval mode.

    Heads in the file are left aside; every parameter of the encoder must be there in its shape.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not fit config.json.
        ConfigError: config.json holds a value that cannot work.
    """
    config = DebertaConfig.from_dict(read_config(folder), str(folder / CONFIG_FILE))
    weights = read_weights(folder)
    return _build(config, weights, str(folder / WEIGHTS_FILE), attention)


def load_masked_lm_head(folder: Path, encoder: DebertaEncoder) -> MaskedLMHead:
    """The masked-LM head that was trained with this folder's encoder, in eval mode.

    Raises:
        CheckpointError: the file holds no such head.
    """
    weights = read_weights(folder)
    found = {
        ours: weights[name]
        for name in weights
        if (ours := rename(name, MASKED_LM_NAMES)) is not None
    }
    file = str(folder / WEIGHTS_FILE)
    if not found:
        raise CheckpointError(
            f"{file}: holds no masked-LM head; expected '{next(iter(MASKED_LM_NAMES))}' and the "
            "tensors beside it. Use a checkpoint saved together with its head."
        )
    with torch.device("meta"):
        head = MaskedLMHead(encoder.config)
    fill_module(head, found, file=file, names=inverted(MASKED_LM_NAMES))
    return head


def save_encoder(
    encoder: DebertaEncoder,
    folder: Path,
    *,
    head: MaskedLMHead | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write config.json and model.safetensors in the original layout.

    Args:
        encoder: the encoder.
        folder: made if absent; the two files are replaced as a whole.
        head: a masked-LM head to write beside it.
        dtype: precision of the file.
    """
    tensors = {PREFIX + name: tensor for name, tensor in encoder_tensors(encoder).items()}
    if head is not None:
        names = inverted(MASKED_LM_NAMES)
        tensors |= {names[ours]: tensor for ours, tensor in head.state_dict().items()}
    write_config(folder, encoder.config.to_dict())
    write_weights(folder, {name: tensor.to(dtype) for name, tensor in tensors.items()})


def encoder_to_bytes(encoder: DebertaEncoder) -> bytes:
    """Config and weights in one blob: length of the config, config, safetensors."""
    config = dump_config(encoder.config.to_dict()).encode("utf-8")
    tensors = {n: t.detach().cpu().contiguous() for n, t in encoder_tensors(encoder).items()}
    weights: bytes = safetensors.torch.save(tensors)
    return _LENGTH.pack(len(config)) + config + weights


def encoder_from_bytes(data: bytes, *, attention: str = "auto") -> DebertaEncoder:
    """The encoder that `encoder_to_bytes` wrote.

    Raises:
        CheckpointError: the bytes are cut or damaged.
    """
    if len(data) < _LENGTH.size:
        raise CheckpointError(f"encoder bytes: found {len(data)} bytes, expected a whole encoder.")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > len(data):
        raise CheckpointError(
            f"encoder bytes: the config should end at byte {end}, found {len(data)} bytes in all."
        )
    config = parse_config(data[_LENGTH.size : end], "encoder bytes")
    try:
        weights = safetensors.torch.load(data[end:])
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"encoder bytes: damaged weights ({error}).") from error
    name = "encoder bytes"
    return _build(DebertaConfig.from_dict(config, name), widen(weights, name), name, attention)


def encoder_tensors(encoder: DebertaEncoder) -> dict[str, Tensor]:
    """The encoder's tensors under the file's names, without the prefix."""
    names = inverted(ENCODER_NAMES)
    renamed = {ours: rename(ours, names) for ours in encoder.state_dict()}
    return {str(renamed[ours]): tensor for ours, tensor in encoder.state_dict().items()}


def _build(
    config: DebertaConfig, weights: Mapping[str, Tensor], file: str, attention: str
) -> DebertaEncoder:
    """Build on the meta device, so that nothing is drawn at random or allocated twice."""
    with torch.device("meta"):
        encoder = DebertaEncoder(config, attention)
    wanted = encoder.state_dict()
    found: dict[str, Tensor] = {}
    misplaced = []
    for name, tensor in sorted(weights.items()):
        bare = name.removeprefix(PREFIX)
        ours = rename(bare, ENCODER_NAMES)
        if ours in found:
            misplaced.append(f"'{bare}' is there twice, with and without '{PREFIX}'")
        elif ours is not None and ours in wanted:
            found[ours] = tensor
        elif not BESIDE_ENCODER.match(bare):
            misplaced.append(f"'{name}' has no place in the encoder of config.json")
    fill_module(encoder, found, file=file, names=inverted(ENCODER_NAMES), misplaced=misplaced)
    return encoder
