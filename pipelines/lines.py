"""Files of one JSON object per line: inputs in, the same objects with predictions out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from pipelines.inputs import describe
from pipelines.records import Failed, Record
from spacy_deberta.errors import InputError, OptionError
from spacy_deberta.json_text import parse_json

STANDARD = "-"
MOST_CHARACTERS = 64 << 20  # of a line

PREDICTION, ERROR = "prediction", "error"

_ESCAPED = "backslashreplace"  # what happens to lone surrogates


@dataclass(frozen=True)
class Fields:
    """Where an object's input lies.

    Attributes:
        text: name of the text's key.
        names: keys that make the input, "text" for the text's; none = the whole object.
        plain: lines are texts, not JSON.
    """

    text: str
    names: tuple[str, ...]
    plain: bool = False


def read_lines(file: IO[str], fields: Fields) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Input and object of each line; a line that cannot be read has an error as its input.

    Blank lines are skipped, unless lines are plain texts.
    """
    for number, line in enumerate(_capped(file), 1):
        if fields.plain:
            text = line.removesuffix("\n").removesuffix("\r")
            yield text, {fields.text: text}
        elif line.strip():
            yield _read_line(line, number, fields)


def write_line(file: IO[str], given: dict[str, Any], result: Any) -> None:
    """One line: the object, and its prediction or error instead of any that it had."""
    if isinstance(result, Failed):
        name, shown = ERROR, result.to_dict()
    else:
        name, shown = PREDICTION, result.to_dict() if isinstance(result, Record) else result
    kept = {key: value for key, value in given.items() if key not in (PREDICTION, ERROR)}
    file.write(_dump({**kept, name: shown}) + "\n")
    file.flush()


def count_done(path: Path) -> tuple[int, int]:
    """How many lines an earlier run has written, and how many of them are errors.

    A last line without its end, which an interrupted run leaves, is cut off.

    Raises:
        OptionError: the file holds something else than results.
    """
    if not path.exists():
        return 0, 0
    done = failed = size = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            if not isinstance(found, dict) or not found.keys() & {PREDICTION, ERROR}:
                raise OptionError(
                    f"--resume: {path}, line {done + 1}: is no result of this command. Name "
                    "another file, or use --force to replace it."
                )
            done, failed, size = done + 1, failed + (ERROR in found), size + len(line)
    with path.open("r+b") as file:
        file.truncate(size)
    return done, failed


@contextmanager
def open_input(name: str) -> Iterator[IO[str]]:
    """A file of lines, or standard input for "-"; bytes that are not UTF-8 become U+FFFD.

    Raises:
        OptionError: it cannot be read.
    """
    if name == STANDARD:
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")  # type: ignore[union-attr]
        yield sys.stdin
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(
                Path(name).open(encoding="utf-8-sig", errors="replace", newline="\n")
            )
        except OSError as error:
            raise OptionError(f"-i {name}: cannot be read ({error.strerror}).") from error
        yield file


@contextmanager
def open_output(name: str, *, append: bool, force: bool) -> Iterator[IO[str]]:
    """A file for results, or standard output for "-".

    Raises:
        OptionError: it is there already, or cannot be written.
    """
    if name == STANDARD:
        sys.stdout.reconfigure(encoding="utf-8", errors=_ESCAPED)  # type: ignore[union-attr]
        yield sys.stdout
        return
    mode = "a" if append else "w" if force else "x"
    with ExitStack() as stack:
        try:
            file = stack.enter_context(
                Path(name).open(mode, encoding="utf-8", errors=_ESCAPED, newline="\n")
            )
        except FileExistsError:
            refuse_existing(name)
        except OSError as error:
            raise OptionError(f"-o {name}: cannot be written ({error.strerror}).") from error
        yield file


def refuse_existing(name: str) -> NoReturn:
    """Raise an OptionError about an output that is there already."""
    raise OptionError(
        f"-o {name}: is there already. Use --resume to go on with it, or --force to replace it."
    )


def _read_line(line: str, number: int, fields: Fields) -> tuple[Any, dict[str, Any]]:
    try:
        found = parse_json(line)
    except (ValueError, RecursionError) as error:
        wrong = InputError(f"line {number}: is not JSON ({error}).")
        return wrong, {"line": number, "source": line.rstrip("\r\n")}
    if isinstance(found, str):
        return found, {fields.text: found}
    if not isinstance(found, dict):
        wrong = InputError(f"line {number}: found {describe(found)}, expected an object.")
        return wrong, {"line": number, "source": line.rstrip("\r\n")}
    return _pick(found, number, fields), found


def _pick(given: dict[str, Any], number: int, fields: Fields) -> Any:
    """The input in an object."""
    if not fields.names:
        return given
    places = {name: fields.text if name == "text" else name for name in fields.names}
    chosen = {name: given[place] for name, place in places.items() if place in given}
    if chosen.keys() == {"text"}:
        return chosen["text"]
    if not chosen:
        keys = ", ".join(map(str, list(given)[:8])) or "none"
        wanted = ", ".join(places.values())
        return InputError(f"line {number}: found the keys {keys}, expected {wanted}.")
    return chosen


def _capped(file: IO[str]) -> Iterable[str]:
    """Lines, of bounded length."""
    while line := file.readline(MOST_CHARACTERS):
        if len(line) >= MOST_CHARACTERS and not line.endswith("\n"):
            raise OptionError(f"-i: a line has more than {MOST_CHARACTERS} characters.")
        yield line


def _dump(value: Any) -> str:
    """JSON on one line; lone surrogates escaped, so that any reader takes it."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text
