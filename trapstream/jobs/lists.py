"""The three forms of a list: text, a JSON list, JSONL. A file in, a stream of items out; an error names its line."""

import codecs
import json  # names that are not UTF-8 hold surrogates, which orjson refuses, and an error has its line
import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader, TextIOWrapper
from pathlib import PurePosixPath
from typing import NamedTuple

from trapstream.jobs.manifest import MOST_LINE_BYTES, SourceError, as_bytes

_NOT_BLANK = re.compile(r"[^ \t\r\n]")
_ONE = "a JSON list of strings or of [path, meta] pairs"
_OBJECT = 'an object with "file" or "uri" (and "meta" if you like), all strings'


class Item(NamedTuple):
    """One entry of a list."""

    location: bytes
    """Path or URL, as it was written."""
    file: str | None = None
    """The name in the result, where the list gives one."""
    meta: str | None = None
    is_uri: bool = False
    """`location` is percent-encoded already."""


Where = Callable[[], str]
"""Says where in which list, for a message; asked only when there is one."""
Parser = Callable[[BufferedReader, str], Iterator[Item]]


def form_of(stream: BufferedReader, name: str) -> Parser:
    """The parser for a list: by the suffix of its name, else by its first character. SourceError for no list."""
    first = stream.peek(4096)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{name} is written in UTF-16: save it as UTF-8")
    if b"\0" in first:
        raise SourceError(f"{name} is neither an image by its name nor a list: it holds zero bytes")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".csv":
        raise SourceError(f"{name}: CSV is no list here; give one path a line (.txt), a JSON list or JSONL")
    start = first.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    by_suffix = {".txt": parse_text, ".json": parse_json, ".jsonl": parse_jsonl, ".ndjson": parse_jsonl}
    by_start = {b"[": parse_json, b"{": parse_jsonl}
    return by_suffix.get(suffix) or by_start.get(start, parse_text)


def parse_text(stream: BufferedReader, name: str) -> Iterator[Item]:
    """One path or URL a line; blank lines are left out, every other byte of a line belongs to the name."""
    for number, line in _lines(stream, name):
        yield _item(line, partial(_line, name, number))


def parse_jsonl(stream: BufferedReader, name: str) -> Iterator[Item]:
    """One object a line, with `file`, `uri`, `meta`: strings; `file` or `uri` must be there."""
    for number, line in _lines(stream, name):
        where = partial(_line, name, number)
        try:
            value = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{where()}: not JSON ({error}); expected {_OBJECT}") from None
        if not isinstance(value, dict):
            raise SourceError(f"{where()}: expected {_OBJECT}, found {_kind(value)}")
        file, uri, meta = value.get("file"), value.get("uri"), value.get("meta")
        for key, field in (("file", file), ("uri", uri), ("meta", meta)):
            if field is not None and not isinstance(field, str):
                raise SourceError(f'{where()}: "{key}" must be a string, found {_kind(field)}')
        if uri is not None:
            yield _item(_bytes(uri, where), where, file, meta, is_uri=True)
        elif file is not None:
            yield _item(_bytes(file, where), where, None, meta)
        else:
            raise SourceError(f"{where()}: expected {_OBJECT}")


def parse_json(stream: BufferedReader, name: str) -> Iterator[Item]:
    """A list of strings, or of [path, meta] pairs. Its text is in memory meanwhile: text and JSONL are not."""
    text = _Text(stream, name)
    if text.next() != "[":
        raise text.error(f"expected {_ONE}")
    text.at += 1
    if text.next() != "]":
        while True:
            value = text.element()
            yield _from_json(value, text)
            sign = text.next()
            if sign not in (",", "]"):
                raise text.error("expected , or ] after an entry" if sign else "the list does not end: ] is missing")
            if sign == "]":
                break
            text.at += 1
            text.next()
    text.at += 1
    if text.next():
        raise text.error("expected nothing after the list")


def _from_json(value: object, text: "_Text") -> Item:
    meta: object = None
    if isinstance(value, list) and len(value) == 2:
        value, meta = value
    if not isinstance(value, str) or not (meta is None or isinstance(meta, str)):
        raise text.error(f"expected a string or a pair of strings [path, meta], found {_kind(value)}")
    return _item(_bytes(value, text.where), text.where, None, meta)


def _line(name: str, number: int) -> str:
    return f"{name}, line {number}"


def _lines(stream: BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    written = _ended_by_carriage_returns(stream) if _has_no_line_feeds(stream) else _ended_by_line_feeds(stream)
    for number, raw in enumerate(written, 1):
        if len(raw) > MOST_LINE_BYTES + 1:
            raise SourceError(f"{_line(name, number)}: longer than {MOST_LINE_BYTES} bytes")
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if line.strip():
            yield number, line


def _has_no_line_feeds(stream: BufferedReader) -> bool:
    """Whether the list was written by an old program of the Macintosh or of Excel there."""
    first = stream.peek(4096)
    return b"\r" in first[:-1] and b"\n" not in first


def _ended_by_line_feeds(stream: BufferedReader) -> Iterator[bytes]:
    while line := stream.readline(MOST_LINE_BYTES + 2):
        yield line


def _ended_by_carriage_returns(stream: BufferedReader) -> Iterator[bytes]:
    text = TextIOWrapper(stream, encoding="latin-1", newline="\r")  # every byte is a letter, and comes back
    try:
        while line := text.readline(MOST_LINE_BYTES + 2):
            yield line.encode("latin-1")
    finally:
        text.detach()


def _item(
    location: bytes, where: Where, file: str | None = None, meta: str | None = None, is_uri: bool = False
) -> Item:
    if not location or file == "":
        raise SourceError(f"{where()}: the path is empty")
    if b"\0" in location:
        raise SourceError(f"{where()}: a path cannot hold a zero byte")
    for text in (file, meta):
        if text is not None and len(_bytes(text, where)) > MOST_LINE_BYTES:
            raise SourceError(f"{where()}: longer than {MOST_LINE_BYTES} bytes")
    try:
        (meta or "").encode()
    except UnicodeEncodeError:
        raise SourceError(f"{where()}: the meta string is not valid Unicode") from None
    return Item(location, file, meta, is_uri)


def _bytes(text: str, where: Where) -> bytes:
    try:
        return as_bytes(text)
    except UnicodeEncodeError:
        raise SourceError(f"{where()}: not valid Unicode") from None


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    return names.get(type(value), "a list" if isinstance(value, list) else "a string")


class _Text:
    """A JSON text with a position in it that has a line number."""

    def __init__(self, stream: BufferedReader, name: str) -> None:
        self.at, self._name = 0, name
        data = stream.read()
        try:
            self._text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{_line(name, 1 + data.count(10, 0, error.start))}: not UTF-8") from None
        self._scan = json.JSONDecoder().raw_decode

    def next(self) -> str:
        """The next character that is not blank, not taken; "" at the end."""
        found = _NOT_BLANK.search(self._text, self.at)
        self.at = found.start() if found else len(self._text)
        return found[0] if found else ""

    def element(self) -> object:
        """The JSON value that begins here."""
        try:
            value, end = self._scan(self._text, self.at)
        except RecursionError:
            raise self.error("nested too deep") from None
        except json.JSONDecodeError as error:
            raise self.error(f"not JSON ({error.msg}); expected {_ONE}") from None
        if end - self.at > MOST_LINE_BYTES:
            raise self.error(f"longer than {MOST_LINE_BYTES} bytes")
        self.at = end
        return value

    def where(self) -> str:
        """List and line, for a message."""
        return _line(self._name, 1 + self._text.count("\n", 0, self.at))

    def error(self, text: str) -> SourceError:
        """An error at this position."""
        return SourceError(f"{self.where()}: {text}")
