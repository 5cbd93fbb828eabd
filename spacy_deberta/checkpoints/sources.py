"""Where an encoder comes from: the embedded model, or a folder the user names."""

from __future__ import annotations

from pathlib import Path

from spacy_deberta.checkpoints.files import CONFIG_FILE
from spacy_deberta.errors import CheckpointError

EMBEDDED_FOLDER = Path(__file__).resolve().parent.parent / "models" / "embedded"


def resolve_source(source: str | None) -> Path:
    """The checkpoint folder that a user's `source` stands for.

    Args:
        source: path of a checkpoint folder; None = the embedded model.

    Raises:
        CheckpointError: nothing is there; says what was looked for and where.
    """
    if source is None:
        return EMBEDDED_FOLDER
    try:
        folder = Path(source).expanduser()
        folder.resolve().stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"source={source!r}: is no path to a checkpoint folder ({error})."
        ) from error
    if folder.is_file():
        raise CheckpointError(
            f"source={source!r}: is a file; give the path of the checkpoint folder around it."
        )
    if (folder / CONFIG_FILE).is_file():
        return folder
    if folder.is_dir():
        raise CheckpointError(
            f"source={source!r}: the folder {folder.resolve()} holds no {CONFIG_FILE}; expected a "
            f"DeBERTa checkpoint with {CONFIG_FILE}, model.safetensors and spm.model."
        )
    raise CheckpointError(
        f"source={source!r}: looked for a checkpoint folder at {folder.resolve()}, and nothing is "
        "there. Give the path of a folder with config.json, model.safetensors and spm.model, or "
        "null for the embedded model."
    )
