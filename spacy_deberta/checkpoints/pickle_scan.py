"""A look at a pickle's instructions before anything carries them out.

A pickle is a program for a small stack machine. `scan` follows it with numbers, texts and tuples
only: no function is called and nothing is imported. It learns which functions the pickle would
call, which storages it would allocate and which part of them each tensor would show, and refuses
what a state dict does not need or the file does not hold.

Source: the instruction set of `pickletools`; of it, protocol 2 as `torch.save` uses it.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from spacy_deberta.checkpoints.entries import show

_MAX_INSTRUCTIONS = 250_000  # 48 layers take 30,000
_PROTOCOL = 2
_ITEM_BYTES = {
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}
_STORAGE = re.compile(rf"torch\.(?:cuda\.)?({'|'.join(_ITEM_BYTES)})Storage")
_MAKES_TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_MAKES_PARAMETER = "torch._utils._rebuild_parameter"
_MAKES_DICTIONARY = "collections.OrderedDict"
_MORE_ARGUMENTS = 2  # of a tensor: whether it has a gradient, and its hooks
_FUNCTIONS = (*_MAKES_TENSOR, _MAKES_PARAMETER, _MAKES_DICTIONARY)


class ScanError(ValueError):
    """A pickle that does not fit its file, or itself."""


class ForbiddenError(ScanError):
    """A function or an instruction that names and tensors do not need."""


@dataclass(frozen=True)
class Storage:
    """Values that the pickle takes from the file."""

    key: str
    count: int
    item_bytes: int

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.count * self.item_bytes


@dataclass(frozen=True)
class _Function:
    name: str


class _Thing:
    """A list or a dictionary, of which the scan need not know more."""


class _OrderedThing(_Thing):
    """An ordered dictionary: the only thing that may be given attributes, such as `_metadata`."""


class _Tensor:
    """A tensor that has been checked."""


def scan(file: IO[bytes]) -> Scan:
    """Follow one pickle from where the file stands to its end.

    Raises:
        ForbiddenError: it would do more than make names and tensors.
        ScanError: it is damaged.
    """
    machine = _Machine()
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            if count > _MAX_INSTRUCTIONS:
                raise ScanError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")
            machine.step(instruction.name, argument)
        return Scan(machine.stack.pop(), list(machine.storages.values()))
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ScanError(f"its pickle is damaged: {type(error).__name__}") from error


@dataclass(frozen=True)
class Scan:
    """What a pickle makes, where that is a number, and the storages it takes."""

    result: object
    storages: list[Storage]


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)  # what stood there before each mark
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def step(self, name: str, argument: object) -> None:
        """Carry out one instruction."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ForbiddenError(f"the instruction {name}")

    def check_protocol(self, number: int) -> None:
        if number != _PROTOCOL:
            raise ForbiddenError(f"pickle protocol {number}")

    def mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_to_mark(self, _: None) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def make_tuple(self, _: None) -> None:
        values = self.pop_to_mark(None)
        self.stack.append(tuple(values))

    def pop(self, _: None) -> None:
        self.stack.pop()

    def build(self, _: None) -> None:
        if not isinstance(self.stack.pop(), _Thing) or type(self.stack[-1]) is not _OrderedThing:
            raise ForbiddenError("attributes of something that is no dictionary")

    def set_item(self, _: None) -> None:
        _check_keys([self.stack[-2]])
        del self.stack[-2:]

    def set_items(self, _: None) -> None:
        _check_keys(self.pop_to_mark(None)[::2])

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def name_function(self, argument: str) -> None:
        name = argument.replace(" ", ".")
        if name not in _FUNCTIONS and not _STORAGE.fullmatch(name):
            raise ForbiddenError(name)
        self.stack.append(_Function(name))

    def take_storage(self, _: None) -> None:
        match self.stack.pop():
            case ("storage", _Function(name), str(key), str(), int(count)) | (
                "storage",
                _Function(name),
                str(key),
                str(),
                int(count),
                None,
            ):
                pass
            case _:
                raise ScanError("its pickle asks for something that is no storage")
        kind = _STORAGE.fullmatch(name)
        if kind is None or count < 0:
            raise ScanError(f"its storage {show(key)} has {count} values of {name}")
        storage = Storage(key, count, _ITEM_BYTES[kind[1]])
        if self.storages.setdefault(key, storage) != storage:
            raise ScanError(f"its storage {show(key)} has two sizes")
        self.stack.append(storage)

    def call(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        name = function.name if isinstance(function, _Function) else ""
        match arguments:
            case (Storage() as storage, int(offset), tuple(sizes), tuple(steps), *more) if (
                name in _MAKES_TENSOR and len(more) <= _MORE_ARGUMENTS
            ):
                _check_view(storage, offset, sizes, steps)
                self.stack.append(_Tensor())
            case (_Tensor(), _, _) if name == _MAKES_PARAMETER:
                self.stack.append(_Tensor())
            case () if name == _MAKES_DICTIONARY:
                self.stack.append(_OrderedThing())
            case _:
                raise ForbiddenError(f"a call of {name or 'no function'} with unusual arguments")


def _check_keys(keys: Sequence[object]) -> None:
    """Anything else may take forever to hash."""
    if not all(isinstance(key, str | int) for key in keys):
        raise ForbiddenError("names that are no texts")


def _check_view(storage: Storage, offset: int, sizes: Sequence[Any], steps: Sequence[Any]) -> None:
    """A tensor must show values of its storage, and no value twice."""
    numbers = (offset, *sizes, *steps)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ScanError("a tensor has sizes or strides that are no numbers")
    if len(sizes) != len(steps) or 0 in sizes:
        raise ScanError(f"a tensor has sizes {show(sizes)} and strides {show(steps)}")
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if last >= storage.count or math.prod(sizes) > storage.count:
        raise ScanError(
            f"a tensor of sizes {show(sizes)}, strides {show(steps)} and offset {offset} does not "
            f"fit its storage of {storage.count} values"
        )


_VALUES = (
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINSTRING",
)
_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_LIST": _Thing(),
    "EMPTY_DICT": _Thing(),
}


def _tuple_of(count: int) -> Callable[[_Machine, None], None]:
    def step(machine: _Machine, _: None) -> None:
        values = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return step


_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": _Machine.check_protocol,
    "MARK": _Machine.mark,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _Machine.pop,
    "APPENDS": _Machine.pop_to_mark,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BUILD": _Machine.build,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name_function,
    "BINPERSID": _Machine.take_storage,
    "REDUCE": _Machine.call,
    "STOP": lambda _machine, _argument: None,
}
