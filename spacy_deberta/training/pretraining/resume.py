"""Whether a run may go on from a checkpoint: what it was told then, and what it is told now."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from spacy_deberta.errors import ConfigError
from spacy_deberta.training.pretraining.settings import SECTIONS, Settings

# What changes neither the weights' meaning nor the order of samples. Of the data, contents count,
# wherever they lie.
FREE_SECTIONS = ("evaluation",)
FREE_KEYS = {
    "data.corpus",
    "data.held_out",
    "data.micro_pieces",
    "data.text",
    "data.tokenizer",
    "run.checkpoint_minutes",
    "run.checkpoint_steps",
    "run.device",
    "run.keep",
    "run.log_steps",
    "run.nan_patience",
    "run.out",
    "run.spike_sigmas",
    "run.threads",
    "run.timeout_seconds",
}
MAY_GROW = {"run.minutes", "run.steps"}


def to_json(settings: Settings) -> dict[str, Any]:
    """Settings as a checkpoint keeps them."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return content


def check_unchanged(
    before: Mapping[str, Any], now: Mapping[str, Any], forced: Collection[str] = ()
) -> None:
    """Refuse to go on with other settings or other data.

    Args:
        before: of the checkpoint: `settings` by section and key, `content`: checksums of what the
            settings "section.key" point to.
        now: the same of this run.
        forced: "section.key" that may differ all the same.

    Raises:
        ConfigError: every difference, one per line.
    """
    check_forced(forced)
    found = []
    for section in SECTIONS:
        old, new = before["settings"].get(section, {}), now["settings"][section]
        for key in sorted(old.keys() | new.keys()):
            name = f"{section}.{key}"
            if not _may_change(name, old.get(key), new.get(key)):
                found.append((name, repr(old.get(key)), repr(new.get(key))))
    for name, checksum in now["content"].items():
        old_sum = before["content"].get(name)
        if old_sum != checksum:
            found.append((name, f"content {old_sum}", f"content {checksum}"))
    lines = [f"\n  {name}: {old} then, {new} now" for name, old, new in found if name not in forced]
    if lines:
        raise ConfigError(
            f"the settings differ from those of the checkpoint:{''.join(lines)}\nUse the old ones, "
            "or another run.out to begin again, or --force section.key for each change meant."
        )


def check_forced(forced: Collection[str]) -> None:
    """Refuse to force what is no setting.

    Raises:
        ConfigError: naming it.
    """
    for name in forced:
        section, _, key = name.partition(".")
        if section not in SECTIONS or key not in SECTIONS[section].__dataclass_fields__:
            raise ConfigError(f"--force {name}: unknown; expected the section.key of a setting.")


def _may_change(name: str, old: Any, new: Any) -> bool:  # noqa: ANN401 - any setting
    if old == new or name in FREE_KEYS or name.partition(".")[0] in FREE_SECTIONS:
        return True
    return name in MAY_GROW and None not in (old, new) and new > old
