"""pipeline.json: what a saved pipeline has beside model and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacy_deberta.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from spacy_deberta.modeling import DebertaPreTrainedModel, DebertaTokenizer

SETTINGS_FILE = "pipeline.json"
FORMAT = 1
MOST_BYTES = 16 << 20

_KEYS: dict[str, type] = {
    "format": int,
    "task": str,
    "options": dict,
    "max_length": int,
    "hf_compat": bool,
    "dtype": str,
    "calibration": dict,
}


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a saved pipeline; empty where a folder is a checkpoint only.

    Raises:
        CheckpointError: the file is damaged, of another format, or of an unknown shape.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}). Save the pipeline again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: format={found!r}, expected {FORMAT}. Save it again.")
    for key, value in content.items():
        if key not in _KEYS or not isinstance(value, _KEYS[key]):
            raise CheckpointError(
                f"{path}: {key}={value!r}, expected only {', '.join(_KEYS)}, each of its type."
            )
    return content


def save_pipeline(
    folder: Path,
    model: DebertaPreTrainedModel,
    tokenizer: DebertaTokenizer,
    settings: Mapping[str, Any],
) -> None:
    """Write pipeline.json, the model in its own precision, and its tokenizer.

    Raises:
        OptionError: an option has no form in JSON; nothing is written.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    content = {"format": FORMAT, **settings, "dtype": dtype}
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"an option cannot be saved ({error}). Give it in calls instead of the constructor."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, dtype=model.dtype)
    tokenizer.save_pretrained(folder)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")
