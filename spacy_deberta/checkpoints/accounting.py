"""Filling a module from named tensors: every one used once, every parameter filled once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from spacy_deberta.checkpoints.names import rename
from spacy_deberta.errors import CheckpointError


def fill_module(
    module: nn.Module,
    found: Mapping[str, Tensor],
    *,
    file: str,
    names: dict[str, str],
    misplaced: Sequence[str] = (),
) -> None:
    """Give every parameter of the module its tensor, without a copy, and set eval mode.

    Args:
        module: built on the meta device, so that nothing is drawn at random or allocated twice.
        found: tensors by the module's names.
        file: where they come from, for the message.
        names: the module's names to those of the file.
        misplaced: faults found on the way here.

    Raises:
        CheckpointError: all faults in one message: misplaced, missing, of a wrong shape, or with
            values that are no finite numbers.
    """
    faults = [*misplaced, *_faults(module, found, names)]
    if faults:
        raise CheckpointError(
            f"{file}: {'; '.join(faults)}. Use the config.json saved with these weights, and a "
            "file that holds the whole encoder."
        )
    module.load_state_dict(found, strict=True, assign=True)
    module.eval()


def _faults(module: nn.Module, found: Mapping[str, Tensor], names: dict[str, str]) -> list[str]:
    faults = []
    for ours, parameter in module.state_dict().items():
        theirs = rename(ours, names)
        if ours not in found:
            faults.append(f"'{theirs}' is missing")
        elif found[ours].shape != parameter.shape:
            shape, wanted = tuple(found[ours].shape), tuple(parameter.shape)
            faults.append(f"'{theirs}' has shape {shape}, expected {wanted} from config.json")
        elif not _is_finite(found[ours]):
            faults.append(f"'{theirs}' holds NaN or infinite values")
    return faults


def _is_finite(tensor: Tensor) -> bool:
    """No NaN, no infinity. The sum is fast and tells, unless large values overflow it."""
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())
