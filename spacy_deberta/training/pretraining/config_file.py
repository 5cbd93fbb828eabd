"""Config files: ini sections with JSON values, read into frozen dataclasses by their types."""

from __future__ import annotations

import configparser
import difflib
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from spacy_deberta.errors import ConfigError

Overrides = Mapping[str, Sequence[str]]
Sections = dict[str, dict[str, Any]]

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


@dataclass(frozen=True)
class _Raw:
    """A value from the command line: JSON if that fits the key's type, else plain text."""

    text: str


class _WrongTypeError(Exception):
    """A value is not of the type of its key."""


def expect(good: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: naming key, value and what would be good.
    """
    if not good:
        raise ConfigError(f"{key}={value!r}: expected {expected}.")


def read_sections(path: Path, overrides: Overrides, known: Mapping[str, type[Any]]) -> Sections:
    """Values by section and key.

    A section [a.b] is the key b of section a: an object of free keys.

    Raises:
        ConfigError: the file cannot be read, or a section or key is unknown.
    """
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), default_section=""
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys keep their case
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ConfigError(f"{path}: is not a config file ({error}).") from error
    found: Sections = {}
    for section in parser.sections():
        for key, text in parser[section].items():
            _put(found, f"{section}.{key}", _parse(text, f"{path}: {section}.{key}"), known)
        if not parser[section]:
            _put(found, section, None, known)
    for name, texts in overrides.items():
        raw = [_Raw(text) for text in texts]
        many = len(raw) > 1 and _is_list(name, known)
        _put(found, name, raw if many else raw[-1], known)
    return found


def parse_overrides(arguments: Sequence[str]) -> dict[str, list[str]]:
    """`--section.key value` and `--section.key=value` from a command line.

    Raises:
        ConfigError: something else, or a key without a value.
    """
    found: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or "." not in name:
            raise ConfigError(f"{name}: expected --section.key value, as in --run.steps 1000.")
        if not equals:
            if not rest:
                raise ConfigError(f"{name}: has no value; expected --section.key value.")
            value = rest.pop(0)
        found.setdefault(name.removeprefix("--"), []).append(value)
    return found


def build_section(kind: type[Any], section: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any of the sections
    """One section's dataclass.

    Raises:
        ConfigError: a value of the wrong type, or a key that must be given and is not.
    """
    hints = get_type_hints(kind)
    for entry in fields(kind):
        needed = entry.default is MISSING and entry.default_factory is MISSING
        if needed and entry.name not in values:
            raise ConfigError(f"{section}.{entry.name}: is missing; expected a value.")
    converted = {}
    for key, value in values.items():
        try:
            converted[key] = _convert(value, hints[key])
        except _WrongTypeError:
            shown = value.text if isinstance(value, _Raw) else value
            wanted = _describe(hints[key])
            raise ConfigError(f"{section}.{key}={shown!r}: expected {wanted}.") from None
    return kind(**converted)


def _put(found: Sections, name: str, value: object, known: Mapping[str, type[Any]]) -> None:
    """Store a value; a name of three parts is a key inside an object."""
    section, _, key = name.partition(".")
    key, _, inner = key.partition(".")
    if section not in known:
        raise ConfigError(f"[{section}]: unknown section; {_suggest(section, list(known))}")
    if not key:
        return
    hints = get_type_hints(known[section])
    if key not in hints or (inner and get_origin(hints[key]) is not Mapping):
        wrong = f"{section}.{key}" if key not in hints else name
        raise ConfigError(f"{wrong}: unknown key; {_suggest(key, list(hints))}")
    values = found.setdefault(section, {})
    if inner:
        values.setdefault(key, {})[inner] = _free(value)
    elif get_origin(hints[key]) is Mapping and value is None:
        values.setdefault(key, {})
    else:
        values[key] = value


def _is_list(name: str, known: Mapping[str, type[Any]]) -> bool:
    section, _, key = name.partition(".")
    hint = get_type_hints(known[section]).get(key) if section in known else None
    return get_args(hint)[-1:] == (Ellipsis,)


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Expected one of: {', '.join(known)}."


def _parse(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}={text!r}: expected JSON ({error}); a string stands in double quotes."
        ) from error


def _free(value: object) -> object:
    """A value of a free key: whatever JSON says, else text."""
    if not isinstance(value, _Raw):
        return value
    try:
        return json.loads(value.text)
    except ValueError:
        return value.text


def _convert(value: object, wanted: Any) -> object:  # noqa: ANN401 - a type
    """A JSON value as a field's type; a raw one is first tried as JSON, then as text."""
    if not isinstance(value, _Raw):
        return _converted(value, wanted)
    try:
        return _converted(json.loads(value.text), wanted)
    except (ValueError, _WrongTypeError):
        return _converted(value.text, wanted)


def _converted(value: object, wanted: Any) -> object:  # noqa: ANN401 - a type
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not types.NoneType]
        return None if value is None else _converted(value, kinds[0])
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _WrongTypeError
        return dict(value)
    if origin is tuple:
        return _tuple(value, inner)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise _WrongTypeError
    return value


def _tuple(value: object, inner: tuple[Any, ...]) -> tuple[object, ...]:
    """A list as a tuple, of any length or of a fixed one; a lone string is a list of one."""
    many = inner[-1] is Ellipsis
    if many and isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not (many or len(value) == len(inner)):
        raise _WrongTypeError
    kinds = [inner[0]] * len(value) if many else inner
    return tuple(_convert(part, kind) for part, kind in zip(value, kinds, strict=True))


def _describe(wanted: Any) -> str:  # noqa: ANN401 - a type
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return f"{_describe(inner[0])} or null"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list, each entry {_describe(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_describe, inner))}]"
    return _WORDS.get(wanted, "an object of keys")
