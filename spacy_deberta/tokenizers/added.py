"""Which pieces a model folder says are looked for in texts: from the four files that may say so.

added_tokens.json        piece -> number
tokenizer_config.json    added_tokens_decoder: number -> piece with flags; special pieces
special_tokens_map.json  special pieces, by name or with flags
tokenizer.json           added_tokens, where that file is the vocabulary
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece
from spacy_deberta.tokenizers.files import (
    ADDED_FILE,
    SETTINGS_FILE,
    SPECIAL_FILE,
    SPECIAL_KEYS,
    read_object,
)
from spacy_deberta.tokenizers.special import MAX_ADDED

FLAGS = ("special", "lstrip", "rstrip", "single_word")
ADDITIONAL_KEYS = ("additional_special_tokens", "extra_special_tokens")


class AddedFiles:
    """What the files of one folder say.

    Args:
        folder: with any of the files.
        settings: the content of tokenizer_config.json.
        listed: `added_tokens` of a tokenizer.json that is the vocabulary.
        defaults: flags of pieces for which the files give none.

    Raises:
        TokenizerError: a file is malformed, or two of them contradict each other.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        listed: Iterable[Any] = (),
        defaults: Mapping[str, dict[str, bool]] | None = None,
    ) -> None:
        self._folder = folder
        self._defaults = defaults or {}
        self._flags: dict[str, dict[str, bool]] = {}
        self.numbers: dict[str, int] = {}
        try:
            for entry in listed:
                self._take(entry["content"], entry["id"], entry)
            for piece, number in read_object(folder / ADDED_FILE).items():
                self._take(piece, number, {})
            for number, entry in settings.get("added_tokens_decoder", {}).items():
                self._take(entry["content"], int(number), entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, TokenizerError):
                raise
            raise TokenizerError(
                f"{folder}: added pieces are malformed ({error!r}); expected piece to number in "
                f"{ADDED_FILE} and number to an object with 'content' in {SETTINGS_FILE}."
            ) from error
        for name, content in (
            (SPECIAL_FILE, read_object(folder / SPECIAL_FILE)),
            (SETTINGS_FILE, settings),
        ):
            self._take_special(content, folder / name)

    def pieces(self, known: Mapping[str, int]) -> dict[str, AddedPiece]:
        """All pieces to look for.

        Args:
            known: numbers of the vocabulary's own pieces, for those that no file gives one.
        """
        numbers = {**{p: known[p] for p in self._flags if p in known}, **self.numbers}
        without = [piece for piece in self._flags if piece not in numbers]
        if without:
            raise TokenizerError(
                f"{self._folder}: no number is given for the special piece {without[0]!r}. Add it "
                f"to {ADDED_FILE}, or remove it from {SPECIAL_FILE} and {SETTINGS_FILE}."
            )
        return {
            piece: AddedPiece(number, **self._flags.get(piece, self._defaults.get(piece, {})))
            for piece, number in numbers.items()
        }

    def unnumbered(self) -> bool:
        """Whether some piece has flags and no number."""
        return any(piece not in self.numbers for piece in self._flags)

    def _take(self, piece: str, number: int, flags: Mapping[str, Any]) -> None:
        if type(piece) is not str or type(number) is not int:
            raise TypeError(f"piece {piece!r} has number {number!r}")
        known = self.numbers.setdefault(piece, number)
        if known != number:
            raise TokenizerError(
                f"{self._folder}: {piece!r} is number {number} in one file and {known} in "
                f"another ({ADDED_FILE}, {SETTINGS_FILE}). Keep the checkpoint's own files."
            )
        if len(self.numbers) > MAX_ADDED:
            raise TokenizerError(
                f"{self._folder}: more than {MAX_ADDED} added pieces. Use the checkpoint's own "
                "files."
            )
        if flags:
            self._flags[piece] = {flag: flags.get(flag) is True for flag in FLAGS}

    def _take_special(self, content: Mapping[str, Any], path: Path) -> None:
        """Take the five special pieces, which must be DeBERTa's, and additional ones."""
        for key, expected in SPECIAL_KEYS.items():
            value = content.get(key)
            piece = value.get("content") if isinstance(value, dict) else value
            if value is not None and piece != expected:
                raise TokenizerError(
                    f"{path}: {key}={piece!r}, expected {expected!r}. Use the file saved with the "
                    "checkpoint."
                )
            if isinstance(value, dict):
                self._add_flags(expected, value)
        for key in ADDITIONAL_KEYS:
            values = content.get(key) or []
            for value in values.values() if isinstance(values, dict) else values:
                entry = value if isinstance(value, dict) else {"content": value}
                if type(entry.get("content")) is not str:
                    raise TokenizerError(
                        f"{path}: {key} holds {value!r}, expected strings or objects with "
                        "'content'. Use the file saved with the checkpoint."
                    )
                self._add_flags(entry["content"], entry)

    def _add_flags(self, piece: str, entry: Mapping[str, Any]) -> None:
        """Flags from where a piece is called special; those of `added_tokens_decoder` go first."""
        flags = {flag: entry.get(flag) is True for flag in FLAGS}
        self._flags[piece] = {**self._flags.get(piece, flags), "special": True}
