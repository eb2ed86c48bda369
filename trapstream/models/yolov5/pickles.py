"""Reads the pickle of a checkpoint as plain values. Nothing of it is executed, and no class of it is ever looked up.

This is no unpickler with a filter: it is a small reader of the opcodes that torch.save uses. A class becomes a Record
that does nothing; a tensor becomes a note of where its bytes are. The opcodes are documented in Python's own
`pickletools`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from trapstream.models.yolov5 import CheckpointError, pickled
from trapstream.models.yolov5.pickled import Name, Record

_OPS = 4_000_000
"""Steps of the pickle, at most. YOLOv5x6 with its optimiser has some 700,000."""
_KEY = (str, int, float, bytes, type(None))


def read(content: bytes) -> Any:
    """The value that the pickle describes. Raises CheckpointError: what it names, or what is wrong with it."""
    machine = _Machine()
    try:
        for number, (op, argument, _) in enumerate(pickletools.genops(content)):
            if number >= _OPS:
                raise CheckpointError(f"the pickle in the file has more than {_OPS:,} steps, which no checkpoint has")
            step = _STEPS.get(op.name)
            if step is None:
                raise CheckpointError(f"the pickle in the file uses {op.name}, which torch.save does not")
            step(machine, argument)
        (value,) = machine.stack
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise CheckpointError(f"the pickle in the file is damaged: {error}") from error
    return value


class _Mark:
    """The start of a group on the stack."""


class _Machine:
    """The stack and the memo of one pickle. ValueError, LookupError, TypeError where the pickle makes no sense."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self, kind: type[Any]) -> Any:
        """Takes the top of the stack, which is of that type."""
        value = self.stack.pop()
        if type(value) is not kind:
            raise TypeError(f"a {kind.__name__} is missing")
        return value

    def top(self, kind: type[Any]) -> Any:
        """The top of the stack, which is of that type and stays."""
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def group(self) -> list[Any]:
        """Takes what stands above the last mark, and the mark."""
        index = len(self.stack) - 1
        while type(self.stack[index]) is not _Mark:
            if index == 0:
                raise ValueError("a mark is missing")
            index -= 1
        values = self.stack[index + 1 :]
        del self.stack[index:]
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        """Takes so many values."""
        if len(self.stack) < count:
            raise ValueError("a tuple of what is not there")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _remember(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _name_from_stack(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(str), machine.pop(str)
    _push(machine, pickled.named(f"{module}.{name}"))


def _reduce(machine: _Machine, _: Any) -> None:
    args = machine.pop(tuple)
    _push(machine, pickled.called(machine.pop(Name), args))


def _new(machine: _Machine, _: Any) -> None:
    args = machine.pop(tuple)
    _push(machine, pickled.made(machine.pop(Name), args))


def _build(machine: _Machine, _: Any) -> None:
    """Gives an object its attributes. Those of a dictionary (torch's `_metadata`) tell nothing and are dropped."""
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, Record) and isinstance(state, dict):
        target.state.update(state)
    elif not isinstance(target, Record | dict):
        raise TypeError("attributes for what can have none")


def _extend(machine: _Machine, _: Any) -> None:
    values = machine.group()
    machine.top(list).extend(values)


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    machine.top(list).append(value)


def _set_items(machine: _Machine, _: Any) -> None:
    values = machine.group()
    _fill(machine.top(dict), values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine.top(dict), [key, value])


def _fill(target: dict[Any, Any], values: list[Any]) -> None:
    """Fills a dictionary. Keys are plain: the hash of a tuple in a tuple in a tuple could exhaust the C stack."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, _KEY):
            raise TypeError("a key that no checkpoint has")
        target[key] = value


_LITERALS = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda *_: None),
    **dict.fromkeys(_LITERALS, _push),
    "NONE": lambda machine, _: _push(machine, None),
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "MARK": lambda machine, _: _push(machine, _Mark()),
    "POP": lambda machine, _: machine.last(1),
    "POP_MARK": lambda machine, _: machine.group(),
    "DUP": lambda machine, _: _push(machine, machine.stack[-1]),
    "BINGET": lambda machine, index: _push(machine, machine.memo[index]),
    "LONG_BINGET": lambda machine, index: _push(machine, machine.memo[index]),
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": lambda machine, _: _remember(machine, len(machine.memo)),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "EMPTY_SET": lambda machine, _: _push(machine, []),
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "EMPTY_TUPLE": lambda machine, _: _push(machine, ()),
    "TUPLE": lambda machine, _: _push(machine, tuple(machine.group())),
    "TUPLE1": lambda machine, _: _push(machine, machine.last(1)),
    "TUPLE2": lambda machine, _: _push(machine, machine.last(2)),
    "TUPLE3": lambda machine, _: _push(machine, machine.last(3)),
    "FROZENSET": lambda machine, _: _push(machine, machine.group()),
    "APPEND": _append,
    "APPENDS": _extend,
    "ADDITEMS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": lambda machine, text: _push(machine, pickled.named(text.replace(" ", ".", 1))),
    "STACK_GLOBAL": _name_from_stack,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _build,
    "BINPERSID": lambda machine, _: _push(machine, pickled.storage(machine.pop(tuple))),
}
"""Opcode to what it does. Those that are not here are refused."""
