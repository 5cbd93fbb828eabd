"""Every tensor used once, every parameter filled once: finding what is wrong, all of it at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from spacy_deberta.checkpoints.names import rename
from spacy_deberta.errors import CheckpointError

ADVICE = "Use the config.json saved with these weights, and a file that holds the whole encoder."


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
    refuse_faults([*misplaced, *module_faults(module, found, names)], file, ADVICE)
    assign_tensors(module, found)


def refuse_faults(faults: Sequence[str], file: str, advice: str) -> None:
    """Raise all faults of a file as one error, if there are any.

    Raises:
        CheckpointError: each fault once, in the order given.
    """
    if faults:
        raise CheckpointError(f"{file}: {'; '.join(dict.fromkeys(faults))}. {advice}")


def assign_tensors(module: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Put the tensors themselves in the place of the module's parameters; set eval mode."""
    module.load_state_dict(found, strict=True, assign=True)
    module.eval()


def module_faults(
    module: nn.Module, found: Mapping[str, Tensor], names: dict[str, str]
) -> list[str]:
    """What keeps the tensors from filling the module; empty if nothing does.

    Args:
        module: with parameters in the shapes that the config asks for.
        found: tensors by the module's names.
        names: the module's names to those of the file.
    """
    wanted = module.state_dict()
    surplus = [
        f"'{rename(name, names) or name}' has no place in the model of config.json"
        for name in found
        if name not in wanted
    ]
    return [*surplus, *shape_faults(wanted, found, names), *value_faults(found, names)]


def shape_faults(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], names: dict[str, str]
) -> list[str]:
    """Tensors that are missing or of another shape, in the order wanted.

    Args:
        wanted: tensors of the right shapes, on any device.
        found: tensors by the same names.
        names: those names to the ones of the message; a name without an entry stands for itself.
    """
    faults = []
    for name, tensor in wanted.items():
        shown = rename(name, names) or name
        if name not in found:
            faults.append(f"'{shown}' is missing")
        elif found[name].shape != tensor.shape:
            shape, expected = tuple(found[name].shape), tuple(tensor.shape)
            faults.append(f"'{shown}' has shape {shape}, expected {expected} from config.json")
    return faults


def value_faults(found: Mapping[str, Tensor], names: dict[str, str]) -> list[str]:
    """Tensors with values that are no finite numbers; `names` as above."""
    return [
        f"'{rename(name, names) or name}' holds NaN or infinite values"
        for name, tensor in found.items()
        if not _is_finite(tensor)
    ]


def _is_finite(tensor: Tensor) -> bool:
    """No NaN, no infinity. The sum is fast and tells, unless large values overflow it."""
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())
