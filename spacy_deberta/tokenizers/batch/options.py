"""The arguments that users of `transformers` know, read into what they mean."""

from collections.abc import Collection
from dataclasses import dataclass

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.batch.truncation import (
    DO_NOT_TRUNCATE,
    LONGEST_FIRST,
    ONLY_FIRST,
    ONLY_SECOND,
    SIDES,
)

DO_NOT_PAD = "do_not_pad"
LONGEST = "longest"
MAX_LENGTH = "max_length"
PADDINGS: dict[bool | str, str] = {
    False: DO_NOT_PAD,
    True: LONGEST,
    DO_NOT_PAD: DO_NOT_PAD,
    LONGEST: LONGEST,
    MAX_LENGTH: MAX_LENGTH,
}
TRUNCATIONS: dict[bool | str | None, str] = {
    None: DO_NOT_TRUNCATE,
    False: DO_NOT_TRUNCATE,
    True: LONGEST_FIRST,
    LONGEST_FIRST: LONGEST_FIRST,
    ONLY_FIRST: ONLY_FIRST,
    ONLY_SECOND: ONLY_SECOND,
    DO_NOT_TRUNCATE: DO_NOT_TRUNCATE,
}
TENSORS = (None, "pt", "np")
NO_LIMIT = int(1e20)  # a greater model_max_length means that there is none


@dataclass(frozen=True)
class Padding:
    """How rows of different lengths become a rectangle.

    Attributes:
        strategy: "do_not_pad", "longest" (that of the batch) or "max_length".
        max_length: width for "max_length"; longer rows stay as they are.
        multiple_of: rounds widths up.
        side: where [PAD] stands.
    """

    strategy: str = DO_NOT_PAD
    max_length: int = 0
    multiple_of: int = 1
    side: str = "right"

    def widths(self, lengths: Collection[int]) -> list[int]:
        """Width of each row."""
        if self.strategy == DO_NOT_PAD:
            return list(lengths)
        width = max(lengths, default=0) if self.strategy == LONGEST else self.max_length
        width += -width % self.multiple_of
        return [max(length, width) for length in lengths]


def read_padding(
    padding: bool | str,
    max_length: int | None,
    model_max_length: float,
    multiple_of: int | None,
    side: str,
) -> Padding:
    """The meaning of `padding` and of what belongs to it.

    Raises:
        TokenizerError: an unknown value, or no length to pad to.
    """
    strategy = PADDINGS.get(padding)
    if strategy is None:
        raise _unknown("padding", padding, PADDINGS)
    check_side("padding_side", side)
    check_count("max_length", max_length, 0)
    check_count("pad_to_multiple_of", multiple_of, 1)
    width = max_length
    if strategy == MAX_LENGTH and width is None:
        if model_max_length > NO_LIMIT:
            raise TokenizerError(
                "padding='max_length': neither max_length nor model_max_length is set. Give "
                "max_length, or use padding=True for the longest of the batch."
            )
        width = int(model_max_length)
    return Padding(strategy, width or 0, multiple_of or 1, side)


def read_truncation(
    truncation: bool | str | None,
    *,
    max_length: int | None,
    model_max_length: float,
    is_padded: bool,
) -> tuple[str, int | None]:
    """The meaning of `truncation`: a strategy, and the length to cut to; None = there is none.

    `max_length` alone, with neither truncation nor padding, truncates; whoever calls warns of it.

    Raises:
        TokenizerError: an unknown value.
    """
    strategy = TRUNCATIONS.get(truncation)
    if strategy is None:
        raise _unknown("truncation", truncation, TRUNCATIONS)
    check_count("max_length", max_length, 0)
    if truncation is None and max_length is not None and not is_padded:
        strategy = LONGEST_FIRST
    if max_length is None and model_max_length <= NO_LIMIT:
        max_length = int(model_max_length)
    return strategy, max_length


def check_tensors(name: str | None) -> None:
    """Refuse a kind of tensors that is not made."""
    if name not in TENSORS:
        raise _unknown("return_tensors", name, TENSORS)


def check_side(key: str, value: str) -> None:
    """Refuse what is neither "right" nor "left"."""
    if value not in SIDES:
        raise _unknown(key, value, SIDES)


def check_count(key: str, value: int | None, least: int) -> None:
    """Refuse what is no whole number, or too small a one; None is fine."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_number and value >= least):
        raise TokenizerError(f"{key}={value!r}, expected a whole number of {least} or more.")


def _unknown(key: str, value: object, accepted: Collection[object]) -> TokenizerError:
    return TokenizerError(f"{key}={value!r}, expected one of {', '.join(map(repr, accepted))}.")
