"""Reads result files: our own as a stream, an entry a line; any other layout of the format as a whole."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trapstream.core.errors import BadMessage
from trapstream.results.entry import Entry
from trapstream.results.ledger import Account, account
from trapstream.results.write import IMAGES_LINE

_TYPICAL = 0.2  # what MegaDetector's tools take for a model they do not know


@dataclass(frozen=True)
class ResultFile:
    """A result file, opened: its head is read, its entries can be."""

    path: Path
    info: dict[str, Any]
    detection_categories: dict[str, str]
    streams: bool
    """Whether an entry stands on each line, so that memory does not grow with the file."""

    def entries(self) -> Iterator[Entry]:
        """The entries in the order of the file. BadMessage, with the line, where it is not what it should be."""
        return _stream(self.path) if self.streams else iter(_whole(self.path).images)

    @property
    def account(self) -> dict[str, Any]:
        """What the file says of its own job; empty for a file of another program."""
        custom = self.info.get("custom_metadata")
        own = custom.get("trapstream") if isinstance(custom, dict) else None
        return own if isinstance(own, dict) else {}

    @property
    def typical_threshold(self) -> float:
        """The confidence from which the file's model calls it a detection."""
        metadata = self.info.get("detector_metadata")
        found = metadata.get("typical_detection_threshold") if isinstance(metadata, dict) else None
        return float(found) if isinstance(found, int | float) else _TYPICAL


class _File(msgspec.Struct):
    info: dict[str, Any]
    detection_categories: dict[str, str]
    images: list[Entry]


def open_result(path: Path) -> ResultFile:
    """Reads the head of a result file. BadMessage if it is none; OSError as the disk gives it."""
    with path.open("rb") as file:
        first = [file.readline() for _ in range(4)]
    if first[0] == b"{\n" and first[3] == IMAGES_LINE + b"\n":
        try:
            head = msgspec.json.decode(b"".join(first) + b"]}", type=_File)
        except msgspec.DecodeError as error:
            raise BadMessage(f"{path}: {error}") from None
        return ResultFile(path, head.info, head.detection_categories, streams=True)
    whole = _whole(path)
    return ResultFile(path, whole.info, whole.detection_categories, streams=False)


def verify(path: Path, manifest: Callable[[], Iterable[str]]) -> Account:
    """The account of the file at `path` against its manifest.

    `manifest` gives the names of the images from the first on, and may be called twice. BadMessage if the file is no
    result file, or damaged; OSError as the disk gives it.
    """
    result = open_result(path)
    return account(manifest, result.entries(), result.typical_threshold)


def _stream(path: Path) -> Iterator[Entry]:
    decode = msgspec.json.Decoder(Entry).decode
    with path.open("rb") as file:
        for _ in range(4):
            file.readline()
        more = True  # the line before ended in a comma
        for number, line in enumerate(file, 5):
            if line == b"]\n" or not line.endswith(b"\n"):
                break
            if not more:
                raise BadMessage(f"{path}, line {number}: an entry after the last one")
            if line == b"\n":  # a file of no image has an empty line here
                continue
            more = line.endswith(b",\n")
            try:
                yield decode(line[:-2] if more else line)
            except msgspec.DecodeError as error:
                raise BadMessage(f"{path}, line {number}: {error}") from None
        else:
            line = b""
        if line != b"]\n" or file.read() != b"}\n":
            raise BadMessage(f"{path} is cut off")


def _whole(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise BadMessage(f"{path} is not a result file: {error}") from None
