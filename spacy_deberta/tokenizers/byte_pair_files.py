"""The vocabulary of DeBERTa v1 in Microsoft's own file, bpe_encoder.bin."""

from pathlib import Path
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.model_file import MAX_MODEL_BYTES
from spacy_deberta.tokenizers.special import MASK, SPECIAL

ENCODER_FILE = "bpe_encoder.bin"
KEYS = ("dict_map", "vocab", "encoder")

VocabAndMerges = tuple[dict[str, int], list[tuple[str, str]]]


def read_encoder_file(path: Path) -> VocabAndMerges:
    """Piece to number, and merges, of a bpe_encoder.bin.

    The file is a dict saved by torch: `encoder` numbers GPT-2's pieces, `dict_map` lists those
    numbers, as strings, in the order of the model's own, `vocab` holds the merges. It is read as
    plain data; a file that needs more than that is refused.

    Raises:
        TokenizerError: the file is something else.
    """
    content = _load(path)
    try:
        names = {number: piece for piece, number in content["encoder"].items()}
        order = [str(symbol) for symbol, _ in content["dict_map"]]
        merges = [(str(first), str(second)) for first, second in content["vocab"]]
        pieces = [names[int(name)] if name.isdecimal() else name for name in order]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(
            f"{path}: malformed ({error!r}); expected a dict of {', '.join(KEYS)}, as in "
            "Microsoft's releases. Download it again."
        ) from error
    unique = dict.fromkeys([*SPECIAL[:4], *pieces, MASK])
    return {piece: number for number, piece in enumerate(unique)}, merges


def _load(path: Path) -> dict[str, Any]:
    import torch

    size = path.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise TokenizerError(
            f"{path}: {size} bytes, expected {MAX_MODEL_BYTES} at most. Download it again."
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader of a damaged file stumbles over
        reason = str(error).strip().partition("\n")[0][:200]
        raise TokenizerError(
            f"{path}: cannot be read as plain data ({reason}). Nothing in it was run. Use "
            "vocab.json and merges.txt, or Microsoft's own file."
        ) from error
    return content
