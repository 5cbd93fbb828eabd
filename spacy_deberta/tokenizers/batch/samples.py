"""What users give a tokenizer: a text or a batch, second texts, texts already in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spacy_deberta.errors import TokenizerError

Text = str | Sequence[str]  # a text, or its words


@dataclass(frozen=True)
class Samples:
    """Texts to encode.

    Attributes:
        texts: for each sample one text, or the two of a pair.
        is_batch: whether a list was given, be it of one.
    """

    texts: list[tuple[Text, ...]]
    is_batch: bool


def read_samples(text: Any, text_pair: Any, *, in_words: bool) -> Samples:
    """Sort out what was given.

    Args:
        text: a text; a list of texts; a list of pairs (a list or tuple of two). With `in_words`: a
            list of words, or a list of those.
        text_pair: the second text, or as many as there are texts.
        in_words: texts are lists of words.

    Raises:
        TokenizerError: something is no text, or texts and pairs do not match.
    """
    is_batch = _is_list(text) and (not in_words or (len(text) > 0 and _is_list(text[0])))
    if not is_batch:
        texts: list[tuple[Text, ...]] = [(text,) if text_pair is None else (text, text_pair)]
    elif text_pair is None:
        texts = [tuple(t) if _is_pair(t, in_words=in_words) else (t,) for t in text]
    elif not _is_list(text_pair) or len(text_pair) != len(text):
        found = f"{len(text_pair)}" if _is_list(text_pair) else f"one {type(text_pair).__name__}"
        raise TokenizerError(
            f"text_pair: {found} for {len(text)} text(s); give a list with one for each text."
        )
    else:
        texts = list(zip(text, text_pair, strict=True))
    for number, sample in enumerate(texts):
        for part in sample:
            _check_text(part, number, in_words=in_words)
    return Samples(texts, is_batch)


def _is_list(value: object) -> bool:
    if isinstance(value, str | bytes | bytearray):
        return False
    return isinstance(value, list | tuple | Sequence)


def _is_pair(value: Any, *, in_words: bool) -> bool:
    """Whether one sample of a batch is a text and a second one."""
    if not _is_list(value) or len(value) != 2:  # noqa: PLR2004 - a pair
        return False
    return all(map(_is_list, value)) if in_words else True


def _check_text(text: object, number: int, *, in_words: bool) -> None:
    """Refuse what is neither a string nor, with `in_words`, a list of strings."""
    if not in_words:
        if not isinstance(text, str):
            hint = " For words, pass is_split_into_words=True." if _is_list(text) else ""
            found = type(text).__name__
            raise TokenizerError(f"text {number}: found a {found}, expected a string.{hint}")
        return
    if not isinstance(text, Sequence) or isinstance(text, str | bytes):
        raise TokenizerError(
            f"text {number}: found a {type(text).__name__}, expected a list of words "
            "(is_split_into_words=True)."
        )
    for place, word in enumerate(text):
        if not isinstance(word, str):
            found = type(word).__name__
            raise TokenizerError(f"text {number}: word {place} is a {found}, expected a string.")
