"""JSON that has no typed struct: for people, for HTTP bodies and for files of others. Pure.

The typed values of the wire (`trapstream/core/messages.py`) and of the result file go through msgspec, which checks
their types while it reads. Everything else goes through here, so that numbers, errors and encoding are the same.
"""

from typing import Any

import orjson


def encode(value: object) -> bytes:
    """`value` as compact JSON in UTF-8. TypeError for what has no form in JSON; NaN and infinity become null."""
    return orjson.dumps(value)


def encode_indented(value: object) -> str:
    """`value` as JSON for people to read: two spaces an indent, without a line break at the end."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def raw(text: bytes) -> Any:
    """A text that is JSON already, as a value that `encode` puts in as it is."""
    return orjson.Fragment(text)


def decode(text: bytes | str) -> Any:
    """The value of a JSON text in UTF-8. ValueError with the place where it is none; NaN and Infinity are none."""
    return orjson.loads(text)
