"""A tokenizer.json: its vocabulary and what it says about texts. Nothing in it is run.

The file describes a whole pipeline. We read what decides ids in one of DeBERTa's tokenizers, and
let SentencePiece or byte-level BPE do the rest as they do it for the original files.
"""

import base64
import binascii
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.byte_pair_files import VocabAndMerges
from spacy_deberta.tokenizers.files import read_object
from spacy_deberta.tokenizers.model_file import MAX_MODEL_BYTES, Vocabulary, write_model

T = TypeVar("T")

UNIGRAM, BYTE_PAIR = "Unigram", "BPE"


class NormalizationWarning(UserWarning):
    """A tokenizer.json lacks the rules by which its checkpoint normalizes texts."""


@dataclass(frozen=True)
class TokenizerJson:
    """The content of a tokenizer.json.

    Attributes:
        path: of the file.
        content: all of it.
        kind: "Unigram" or "BPE".
        added: what it says of pieces that are looked for in texts.
        steps: types of its steps of normalization and of splitting, with what they say.
    """

    path: Path
    content: dict[str, Any]
    kind: str
    added: list[Any]
    steps: dict[str, dict[str, Any]]

    def model(self) -> bytes:
        """A SentencePiece model of the same pieces, scores and rules.

        Warns:
            NormalizationWarning: there are no rules; NFKC is taken.
        """
        return _parse(self.path, self._model)

    def vocab_and_merges(self) -> VocabAndMerges:
        """Piece to number, and merges."""
        if set(self.steps) != {"ByteLevel"}:
            raise TokenizerError(
                f"{self.path}: reads texts by {', '.join(self.steps) or 'nothing'}, expected "
                "ByteLevel alone, as DeBERTa v1 does. Use vocab.json and merges.txt."
            )
        return _parse(self.path, self._vocab_and_merges)

    def _model(self) -> bytes:
        vocab = self.content["model"]["vocab"]
        rules = None
        if "Precompiled" in self.steps:
            encoded = self.steps["Precompiled"]["precompiled_charsmap"]
            rules = base64.b64decode(encoded, validate=True)
        else:
            warnings.warn(
                f"{self.path}: has no rules of normalization (transformers 5 leaves them out); "
                "texts are normalized by NFKC. Add the checkpoint's spm.model to the folder.",
                NormalizationWarning,
                stacklevel=5,
            )
        pieces, scores = [piece for piece, _ in vocab], [float(score) for _, score in vocab]
        return write_model(Vocabulary(pieces, scores, rules))

    def _vocab_and_merges(self) -> VocabAndMerges:
        model = self.content["model"]
        pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        return dict(model["vocab"]), [(str(first), str(second)) for first, second in pairs]


def read_tokenizer_json(path: Path) -> TokenizerJson:
    """Read the file.

    Raises:
        TokenizerError: it is malformed, or is no unigram model and no BPE.
    """
    content = read_object(path, MAX_MODEL_BYTES)

    def parse() -> TokenizerJson:
        kind = content["model"]["type"]
        if kind not in (UNIGRAM, BYTE_PAIR):
            raise TokenizerError(
                f"{path}: holds a {kind!r} model, expected {UNIGRAM!r} (DeBERTa v2 and v3) or "
                f"{BYTE_PAIR!r} (v1). Use the file saved with the checkpoint."
            )
        steps = [*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))]
        by_type = {str(step["type"]): step for step in steps}
        return TokenizerJson(path, content, kind, list(content.get("added_tokens") or []), by_type)

    return _parse(path, parse)


def _steps(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A step, or the steps of a sequence; one level, a sequence in a sequence is a step itself."""
    if step is None:
        return
    inner = step.get("normalizers", step.get("pretokenizers"))
    yield from [step] if inner is None else inner


def _parse(path: Path, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(
            f"{path}: malformed ({str(error)[:200]!r} is wrong or missing). Use the file saved "
            "with the checkpoint."
        ) from error
