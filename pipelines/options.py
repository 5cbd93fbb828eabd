"""Options of a task: one frozen dataclass each, made by the constructor, changed by calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from spacy_deberta.errors import OptionError

SHORTEST = 3  # pieces of a row: two special ones, and one of the text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of the options of all tasks.

    A task's own class checks its values in `__post_init__` and raises OptionError there.

    Attributes:
        aliases: other names, such as those of `transformers` -> names here.
        given: names that were given in the call itself, for shapes of `transformers` that depend
            on it.
        batch_size: most rows of a batch in this call; None = the pipeline's own.
    """

    aliases: ClassVar[Mapping[str, str]] = {}

    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    batch_size: int | None = field(default=None, compare=False, repr=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All options, in the order of their definition."""
        return tuple(f.name for f in fields(cls) if f.compare)

    @classmethod
    def rename(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under the names of this class.

        Raises:
            OptionError: an unknown name, or one given twice.
        """
        known = cls.names()
        found: dict[str, Any] = {}
        for given, value in values.items():
            name = cls.aliases.get(given, given)
            if name not in known:
                raise OptionError(_unknown(cls, given))
            if name in found:
                raise OptionError(f"{given}={value!r}: {name} is given twice; give it once.")
            found[name] = value
        return found

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Options from what a constructor was given; the others have their defaults.

        Raises:
            OptionError: an unknown name, or a value that cannot work.
        """
        return cls(**cls.rename(values))

    @classmethod
    def restore(cls, saved: Mapping[str, Any], values: Mapping[str, Any]) -> Self:
        """Options from pipeline.json, whose lists were tuples, and from a constructor."""
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in cls.rename(saved).items()
        }
        return cls(**kept | cls.rename(values))

    def override(self, values: Mapping[str, Any]) -> Self:
        """A new object with what a call was given.

        Raises:
            OptionError: an unknown name, or a value that cannot work.
        """
        found = self.rename(values)
        return replace(self, **found, given=frozenset(found)) if found else self

    def to_dict(self) -> dict[str, Any]:
        """All values that are not defaults, for pipeline.json."""
        default = type(self)()
        return {
            name: getattr(self, name)
            for name in self.names()
            if getattr(self, name) != getattr(default, name)
        }


def check_choice(name: str, value: object, accepted: tuple[object, ...]) -> None:
    """Refuse a value that is not one of those accepted.

    Raises:
        OptionError: with all of them.
    """
    if not any(value is one or (type(value) is type(one) and value == one) for one in accepted):
        raise OptionError(f"{name}={value!r}, expected one of {', '.join(map(repr, accepted))}.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number, or too small a one.

    Raises:
        OptionError: with the least that is accepted.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name}={value!r}, expected a whole number of {least} or more.")


def check_share(name: str, value: object) -> None:
    """Refuse what is no number from 0 to 1.

    Raises:
        OptionError: naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise OptionError(f"{name}={value!r}, expected a number from 0 to 1.")


def check_overlap(value: object) -> None:
    """Refuse what is no share of a window that the next one can have, too.

    Raises:
        OptionError: also for 1, with which windows would never move on.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise OptionError(f"overlap={value!r}, expected a number from 0 to less than 1.")


def check_lengths(name: str, given: Mapping[str, Any] | None) -> None:
    """Refuse a max_length among a tokenizer's options that leaves no room for text.

    Raises:
        OptionError: naming the option.
    """
    value = (given or {}).get("max_length")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or value < SHORTEST
    ):
        raise OptionError(
            f"{name}: max_length={value!r}, expected a whole number of pieces, {SHORTEST} or more."
        )


def check_texts(name: str, value: object) -> None:
    """Refuse what is no collection of texts; a lone text is none.

    Raises:
        OptionError: naming the option.
    """
    given = value if isinstance(value, Collection) and not isinstance(value, str) else (None,)
    if not all(isinstance(one, str) for one in given):
        raise OptionError(f"{name}={value!r}, expected a list of texts.")


def check_mapping(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse what is no dict of known keys; None is none.

    Raises:
        OptionError: with those that are known.
    """
    if value is None:
        return
    if not isinstance(value, Mapping) or not set(value) <= set(known):
        raise OptionError(f"{name}={value!r}, expected a dict of {', '.join(known)}.")


def nearest(name: str, known: tuple[str, ...]) -> str:
    """The end of a message about an unknown name: the known ones, and which was meant."""
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"expected one of {', '.join(known) or 'none'}.{hint}"


def _unknown(cls: type[Options], name: str) -> str:
    known = (*cls.names(), *cls.aliases)
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown option {name!r}; this task has {', '.join(cls.names()) or 'none'}.{hint}"
