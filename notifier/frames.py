"""Server-sent events as bytes, by the HTML standard, section 9.2. Pure."""

import msgspec

from notifier import results, resume
from notifier.results import Result
from trapstream.core.messages import JobStatus

HELLO = b": results as they come\nretry: 2000\n\n"
"""What a stream begins with: the milliseconds after which a browser comes again."""

_encoder = msgspec.json.Encoder()


def result(partition: int, found: Result) -> bytes:
    """The event of a result."""
    return _frame("result", results.shown(found), resume.event_id(partition, found.offset))


def end(status: JobStatus) -> bytes:
    """The event after the last one: how the job ended."""
    told = {"job": status.job, "state": status.state, "total": status.total, "counts": status.counts}
    return _frame("end", _encoder.encode(told), resume.END)


def gap(job: str, why: str) -> bytes:
    """The event that says that results may be missing before the next one."""
    return _frame("gap", _encoder.encode({"job": job, "error": why}), None)


def error(text: str) -> bytes:
    """The event with which a stream ends that may not go on."""
    return _frame("refused", _encoder.encode({"error": text}), None)


def heartbeat(partition: int, place: int) -> bytes:
    """A comment, and the id of what was looked at last: who comes again need not begin further back."""
    told = f"id: {resume.event_id(partition, place - 1)}\n" if place > 0 else ""
    return f": still here\n{told}\n".encode()


def _frame(event: str, data: bytes, number: str | None) -> bytes:
    identity = f"id: {number}\n" if number is not None else ""
    return f"event: {event}\n{identity}data: ".encode() + data + b"\n\n"
