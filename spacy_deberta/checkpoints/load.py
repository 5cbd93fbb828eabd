"""Modules filled from checkpoints, and checkpoints written from modules."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from spacy_deberta.checkpoints.accounting import (
    ADVICE,
    assign_tensors,
    module_faults,
    refuse_faults,
    value_faults,
)
from spacy_deberta.checkpoints.checkpoint import (
    Checkpoint,
    config_of,
    open_checkpoint,
    sort_tensors,
)
from spacy_deberta.checkpoints.files import (
    WEIGHTS_FILE,
    dump_config,
    narrow,
    widen,
    write_config,
    write_weights,
)
from spacy_deberta.checkpoints.json_file import parse_object
from spacy_deberta.checkpoints.layouts import file_names, to_file
from spacy_deberta.checkpoints.names import HEAD_NAMES, HEAD_TITLES, inverted
from spacy_deberta.checkpoints.parts import DISCRIMINATOR, choose_part
from spacy_deberta.checkpoints.unfilled import unfilled
from spacy_deberta.config import DebertaConfig
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.errors import CheckpointError
from spacy_deberta.heads import MaskedLMHead

ENCODER = "encoder"
PREFIX = "deberta."

_LENGTH = struct.Struct("<Q")  # bytes of the config in front of the weights in one blob


def load_encoder(folder: Path, *, attention: str = "auto") -> DebertaEncoder:
    """The encoder of a checkpoint folder, in float32, in eval mode.

    Heads in the file are left aside; every parameter of the encoder must be there in its shape.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors do not fit config.json.
        ConfigError: config.json holds a value that cannot work.
    """
    return build_encoder(open_checkpoint(folder), attention=attention)


def load_masked_lm_head(folder: Path, encoder: DebertaEncoder) -> MaskedLMHead:
    """The masked-LM head that was trained with this folder's encoder, in eval mode.

    Raises:
        CheckpointError: the file holds no such head.
    """
    with unfilled():
        head = MaskedLMHead(encoder.config)
    fill_head(head, open_checkpoint(folder), "mlm")
    return head


def build_encoder(checkpoint: Checkpoint, *, attention: str = "auto") -> DebertaEncoder:
    """The encoder of a checkpoint, in eval mode.

    Built on the meta device, so that nothing is drawn at random or allocated twice.

    Raises:
        CheckpointError: all faults of the file.
    """
    with unfilled():
        encoder = DebertaEncoder(checkpoint.config, attention)
    fill_modules({ENCODER: encoder}, checkpoint)
    return encoder


def fill_head(module: nn.Module, checkpoint: Checkpoint, kind: str) -> None:
    """Fill one head, in eval mode.

    Args:
        module: the head; on the meta device nothing is allocated twice.
        checkpoint: the tensors.
        kind: of the head, as in `names.HEAD_NAMES`.

    Raises:
        CheckpointError: the head is not there, or not whole, or of another shape; says which tasks
            the file can do.
    """
    fill_modules({kind: module}, checkpoint)


def fill_modules(modules: Mapping[str, nn.Module], checkpoint: Checkpoint) -> None:
    """Fill an encoder and heads, all or none of them, in eval mode.

    Args:
        modules: by "encoder" or kind of head.
        checkpoint: the tensors.

    Raises:
        CheckpointError: everything that is missing, too many, of a wrong shape or not finite.
    """
    absent = [kind for kind in modules if kind not in (ENCODER, *checkpoint.heads)]
    if absent:
        expected = [f"{HEAD_TITLES[kind]} ('{next(iter(HEAD_NAMES[kind]))}')" for kind in absent]
        raise CheckpointError(
            f"{checkpoint.file}: holds no {' and no '.join(expected)}; this file can do: "
            f"{', '.join(checkpoint.tasks)}. Use a checkpoint saved together with its head."
        )
    faults = []
    for kind, module in modules.items():
        faults += _faults(kind, module, checkpoint)
    refuse_faults(faults, checkpoint.file, ADVICE)
    for kind, module in modules.items():
        assign_tensors(module, _tensors(kind, checkpoint))


def damaged_values(checkpoint: Checkpoint) -> list[str]:
    """Tensors of the encoder and of all heads with values that are no finite numbers."""
    faults = value_faults(checkpoint.encoder, file_names(checkpoint.config))
    for kind, found in checkpoint.heads.items():
        faults += value_faults(found, inverted(HEAD_NAMES[kind]))
    return list(dict.fromkeys(faults))


def _faults(kind: str, module: nn.Module, checkpoint: Checkpoint) -> list[str]:
    if kind != ENCODER:
        return module_faults(module, checkpoint.heads[kind], inverted(HEAD_NAMES[kind]))
    names = file_names(checkpoint.config)
    if not checkpoint.faults:
        return module_faults(module, checkpoint.encoder, names)
    return [*checkpoint.faults, *value_faults(checkpoint.encoder, names)]


def _tensors(kind: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    return checkpoint.encoder if kind == ENCODER else checkpoint.heads[kind]


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
    heads = {} if head is None else {"mlm": head.state_dict()}
    tensors = state_tensors(encoder.config, encoder.state_dict(), heads)
    narrowed = narrow(tensors, dtype, folder / WEIGHTS_FILE)
    write_config(folder, encoder.config.to_dict())
    write_weights(folder, narrowed)


def state_tensors(
    config: DebertaConfig,
    encoder: Mapping[str, Tensor],
    heads: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """A model's tensors under the names and in the layout of released files.

    Args:
        config: decides the layout.
        encoder: all tensors of an encoder by our names.
        heads: by kind of head: all its tensors by our names.

    Returns:
        The encoder's names carry the prefix "deberta." if there is a head.
    """
    found = to_file(encoder, config)
    for kind in heads.keys() & {"mask_decoder"}:
        found |= _head_tensors(kind, heads[kind])
    prefix = PREFIX if heads else ""
    tensors = {prefix + name: tensor for name, tensor in found.items()}
    for kind, state in heads.items():
        if kind != "mask_decoder":
            tensors |= _head_tensors(kind, state)
    return tensors


def _head_tensors(kind: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = inverted(HEAD_NAMES[kind])
    return {names[ours]: tensor for ours, tensor in state.items()}


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
    name = "encoder bytes"
    if len(data) < _LENGTH.size:
        raise CheckpointError(f"{name}: found {len(data)} bytes, expected a whole encoder.")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > len(data):
        raise CheckpointError(
            f"{name}: the config should end at byte {end}, found {len(data)} bytes in all."
        )
    content = parse_object(data[_LENGTH.size : end], name)
    try:
        weights = safetensors.torch.load(data[end:])
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{name}: damaged weights ({error}).") from error
    part = choose_part(widen(weights, name), DISCRIMINATOR)
    config = config_of(content, part, name)
    return build_encoder(sort_tensors(part, config, file=name, format="bytes"), attention=attention)


def encoder_tensors(encoder: DebertaEncoder) -> dict[str, Tensor]:
    """The encoder's tensors under the file's names, without the prefix."""
    return to_file(encoder.state_dict(), encoder.config)
