"""What the pickle of a checkpoint describes, as values that do nothing: objects, storages and tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trapstream.models.yolov5 import CheckpointError
from trapstream.models.yolov5.pickled_names import CLASSES, FUNCTIONS, STORAGES, plain, refusal

_SIDES = 8
_SIZE = 1 << 40


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names."""

    text: str


@dataclass
class Record:
    """An object of the pickle: whose class it names, and the attributes that it had. It does nothing."""

    kind: str
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """The bytes of one or more tensors: a member of the zip."""

    key: str
    kind: str
    """float16, bfloat16, ... as in `names.STORAGES`."""
    count: int
    """Numbers in it."""


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, within its bounds; offset and strides count numbers. A stride of 0 makes it larger."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def named(text: str) -> Name:
    """A name that a checkpoint may have. Any other is refused with a CheckpointError that says it."""
    text = plain(text)
    if text not in CLASSES and text not in FUNCTIONS and text not in STORAGES:
        raise CheckpointError(refusal(text))
    return Name(text)


def made(name: Name, args: tuple[Any, ...]) -> Record:
    """An object of a class."""
    if name.text not in CLASSES:
        raise CheckpointError(f"the pickle in the file makes a {name.text}, which is no class; nothing of it was run")
    return Record(name.text, args)


def called(name: Name, args: tuple[Any, ...]) -> Any:
    """What a function would have made of these arguments."""
    if name.text not in FUNCTIONS:
        raise CheckpointError(f"the pickle in the file calls {name.text}, which is no function; nothing of it was run")
    match name.text.rpartition(".")[2]:
        case "OrderedDict" | "defaultdict":
            return {}  # its items follow
        case "_rebuild_tensor_v2":
            storage, offset, shape, strides = args[:4]
            return tensor(storage, offset, shape, strides)
        case "_rebuild_parameter" if isinstance(args[0], Tensor):
            return args[0]
        case _:
            return Record(name.text, args)


def storage(persistent: tuple[Any, ...]) -> Storage:
    """What torch.save keeps outside the pickle: ("storage", class, key, device, count)."""
    what, kind, key, _, count = persistent
    if what != "storage" or type(kind) is not Name or kind.text not in STORAGES:
        raise TypeError("an outside object that is no storage")
    if type(key) is not str or type(count) is not int or not 0 <= count < _SIZE:
        raise TypeError("a storage without key or size")
    return Storage(key, STORAGES[kind.text], count)


def tensor(of: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A tensor, if it can be one. TypeError or ValueError where it cannot."""
    if type(of) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise TypeError("a tensor without storage, shape or strides")
    if len(shape) != len(strides) or len(shape) > _SIDES:
        raise ValueError("a tensor whose shape and strides do not fit")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < _SIZE:
            raise ValueError("a tensor with a side that is no size")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= of.count:
        raise ValueError("a tensor that reaches beyond its storage")
    return Tensor(of, offset, shape, strides)
